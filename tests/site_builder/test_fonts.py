"""The fonts of the built page: subset to what is used, with correct ranges and licences."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont
from playwright.sync_api import Page

from conftest import StaticSite
from site_builder import disk_cache, fonts
from site_builder.fonts import SIGNS, unicode_range
from site_builder.third_party import NOTICES

STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
FACE = re.compile(r"@font-face\{(.*?)\}")
FALLS_BACK = {  # on purpose: our faces lack them, and every system has them
    "Unfrozen Text": " ",
    "Unfrozen UI": "\u202f→↕≈≤≥⁰¹²³⁴⁵⁶⁷⁸⁹⁻₀∞▲▼✓✗",
    "Unfrozen Mono": "→←∇₀≈≤≥─│┌┐└┘├┤┬┴┼▶◀",
    "Unfrozen Math": "\u2061",  # a function is applied here: nothing to draw
}
SHOWN = """() => {
  const shown = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (element.closest("script, style")) continue;
    const { fontFamily, fontStyle, fontWeight } = getComputedStyle(element);
    const families = fontFamily.split(",").map((name) => name.trim().replaceAll('"', ""));
    const key = JSON.stringify([families, fontStyle, Number(fontWeight)]);
    shown[key] = (shown[key] ?? "") + walker.currentNode.data;
  }
  return Object.entries(shown).map(([key, text]) => [...JSON.parse(key), [...new Set(text)]]);
}"""


@dataclass(frozen=True)
class FontFace:
    """One `@font-face` of the built style sheet, and the file it names."""

    family: str
    style: str
    weights: tuple[int, ...]
    characters: frozenset[int]
    path: Path

    @property
    def font(self) -> TTFont:
        return TTFont(self.path)


def font_faces(site: Path) -> Iterator[FontFace]:
    """Every face of the site, from its style sheet as a browser reads it."""
    (sheet,) = STYLE.findall((site / "index.html").read_text())
    for rule in FACE.findall(sheet):
        given = dict(line.split(":", 1) for line in rule.split(";"))
        file = re.search(r"url\([\"']?(.*?)[\"']?\)", given["src"])
        assert file, rule
        yield FontFace(
            given["font-family"].strip("\"'"),
            given["font-style"],
            tuple(map(int, given["font-weight"].split())),
            frozenset(codes(given["unicode-range"])),
            site / file[1],
        )


def codes(ranges: str) -> Iterator[int]:
    """The code points of a `unicode-range`."""
    for run in ranges.split(","):
        first, _, last = run.strip().removeprefix("U+").partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


def test_runs_of_characters_are_written_as_css_writes_them() -> None:
    assert unicode_range({0x41, 0x42, 0x43, 0xB7}) == "U+41-43, U+B7"
    assert list(codes("U+41-43, U+B7")) == [0x41, 0x42, 0x43, 0xB7]


def test_a_face_promises_the_characters_it_holds_and_no_other(site: Path) -> None:
    for face in font_faces(site):
        there = frozenset(face.font.getBestCmap())
        if face.family == SIGNS:
            assert face.characters < there, face.path.name
        else:
            assert face.characters == there, face.path.name


def test_exponents_beside_text_are_drawn_larger_than_those_of_formulas(site: Path) -> None:
    (sheet,) = STYLE.findall((site / "index.html").read_text())
    adjusted = [rule for rule in FACE.findall(sheet) if "size-adjust" in rule]
    (given,) = (dict(line.split(":", 1) for line in rule.split(";")) for rule in adjusted)
    assert given["font-family"].strip("\"'") == SIGNS
    assert {*codes(given["unicode-range"])} == {*map(ord, fonts.EXPONENTS)}
    assert int(given["size-adjust"].rstrip("%")) >= 125


@pytest.mark.slow
def test_a_face_is_cut_to_the_same_bytes_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fonts.subset_face(fonts.FACES[1])
    monkeypatch.setattr(disk_cache, "CACHE", tmp_path)
    assert fonts.subset_face.__wrapped__(fonts.FACES[1]) == before


def test_no_character_of_a_family_stands_in_two_files(site: Path) -> None:
    seen: dict[tuple[str, str, int], str] = {}
    for face in font_faces(site):
        for code in face.characters:
            key = (face.family, face.style, code)
            assert key not in seen, f"{chr(code)!r} in {seen.get(key)} and {face.path.name}"
            seen[key] = face.path.name


def test_everything_a_keyboard_types_is_in_the_first_file_of_a_face(site: Path) -> None:
    first = [f for f in font_faces(site) if re.fullmatch(r"(text|ui|mono)-\w{8}", f.path.stem)]
    assert len(first) == 3
    for face in first:
        assert set(range(0x20, 0x7F)) <= face.characters, face.path.name


def test_a_face_serves_the_weights_it_says(site: Path) -> None:
    for face in font_faces(site):
        if "fvar" in face.font:
            (axis,) = face.font["fvar"].axes
            assert (axis.axisTag, axis.minValue, axis.maxValue) == ("wght", *face.weights)
        else:
            assert face.weights == (400,), face.path.name


def test_cut_fonts_say_whose_they_are_and_bear_no_reserved_name(site: Path) -> None:
    for face in font_faces(site):
        names = {record.nameID: str(record) for record in face.font["name"].names}
        assert not {1, 3, 4, 6, 16} & set(names), face.path.name
        assert "Source" not in face.family
        assert names[13] == "SIL Open Font License, Version 1.1"
    text = (site / NOTICES).read_text(encoding="utf-8")
    owners = ("Adobe", "Inter Project", "JetBrains Mono Project", "STIX Fonts Project")
    assert not [owner for owner in owners if f"{owner}" not in text]
    assert "PERMISSION & CONDITIONS" in text


def test_every_character_of_the_page_has_its_face(
    page: Page, static_site: StaticSite, site: Path
) -> None:
    held: dict[tuple[str, str], set[int]] = {}
    for face in font_faces(site):
        held.setdefault((face.family, face.style), set()).update(face.characters)
    page.goto(static_site.url)
    for families, style, weight, characters in page.evaluate(SHOWN):
        own = [name for name in families if name.startswith("Unfrozen")]
        codes_held: set[int] = set()
        for name in own:
            codes_held |= held.get((name, style), held[name, "normal"])
        lost = {c for c in characters if c not in "\n\t\r" and ord(c) not in codes_held}
        assert lost <= set(FALLS_BACK[own[0]]), f"{own[0]} {style} {weight} lacks {lost}"


def test_a_first_visit_fetches_no_file_for_rare_letters(
    page: Page, static_site: StaticSite
) -> None:
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url.rpartition("/")[2]))
    page.goto(static_site.url)
    page.evaluate("document.fonts.ready.then(() => true)")
    assert [name for name in fetched if name.startswith("text-")]
    rare = [name for name in fetched if "-more-" in name]
    assert not rare, f"{rare}: put the letters that the page needs into site_builder.fonts.COMMON"
