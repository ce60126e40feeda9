"""Fonts, cut when the site is built to the characters and weights that the page uses.

A face comes in slices. The first holds what English, code and formulas are written with; the others
hold the rest of the same file, and a browser fetches them when a reader types one of their letters.
The `unicode-range` of a slice is read off the slice, so it cannot promise what is not there. Cut
files carry no name of their own ("Source" is a reserved one), only whose they are and the licence.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

from site_builder.errors import SiteError

MODULES = Path(__file__).resolve().parents[2] / "node_modules"
LICENCE = "SIL Open Font License, Version 1.1"
LICENCE_URL = "https://openfontlicense.org"
PRELOADED = ("text", "text-italic")

_ASCII = "".join(map(chr, range(0x20, 0x7F)))
NAMES = "äöüéèç"  # letters of names in the bibliography
WRITTEN = _ASCII + NAMES + "\u00a0±·×÷–—‘’“”„…′−°½µ§«»‹›•€↑↓"
GREEK = "".join(map(chr, (*range(0x391, 0x3A2), *range(0x3A3, 0x3AA), *range(0x3B1, 0x3CA))))
# Upright letters too: a browser asks for them before it slants them into variables.
_LATIN = "".join(map(chr, (*range(0x41, 0x5B), *range(0x61, 0x7B))))
_LATIN_VARIABLES = _LATIN + "ℎ" + "".join(map(chr, range(0x1D434, 0x1D468)))
_GREEK_VARIABLES = "".join(map(chr, range(0x1D6E2, 0x1D71C)))
FORMULAS = (
    " \u00a0\u202f0123456789+−×·⋅∗/=≈<>≤≥()[]{}|‖,.;:!%…⋯′→←∂∇∈∑√∞∼∝⏞⏟⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄₅₆₇₈₉"
    f"{_LATIN_VARIABLES}αβγδεηθκλμξπρσφψωΔΣΨ𝛼𝛽𝛾𝛿𝜀𝜂𝜃𝜆𝜇𝜉𝜋𝜎𝜏𝜙𝜓𝜔ℒ"
)
FURTHER_FORMULAS = (
    f"{_ASCII}{GREEK}{_GREEK_VARIABLES}ϑϒϕϖϱϵ±∉∋∌∏∥∫≠≡≪≫↑↓↕↦⌈⌉⌊⌋⟨⟩ˆ\u0302ˉ\u0304˜\u0303ℝ𝔼▲▼▶◀"
)
REST = ""
ELSEWHERE = "¹²³"  # faces for text have only these three superscripts; ten of one kind look better


@dataclass(frozen=True, slots=True)
class Face:
    """One `font-family` in one style, its weights from the lightest to the boldest.

    `slices` are triples: a suffix to the name, a file below node_modules, and which characters to
    take of those that earlier slices left (`REST`: all of them).
    """

    name: str
    family: str
    weights: tuple[int, int]
    features: tuple[str, ...]
    slices: tuple[tuple[str, str, str], ...]
    style: str = "normal"


_SHAPING = ("kern", "mark", "ccmp", "locl")
_SERIF = "@fontsource-variable/source-serif-4/files/source-serif-4-latin-wght-normal.woff2"
_ITALIC = "@fontsource-variable/source-serif-4/files/source-serif-4-latin-wght-italic.woff2"
_SANS = "@fontsource-variable/inter/files/inter-{}-wght-normal.woff2"
_MONO = "@fontsource-variable/jetbrains-mono/files/jetbrains-mono-{}-wght-normal.woff2"
_MATH = "@fontsource/stix-two-math/files/stix-two-math-latin-400-normal.woff2"


def _letters(latin: str, *greek: str) -> tuple[tuple[str, str, str], ...]:
    """Slices of a face for text: what is written here, the rest, and Greek from its own file."""
    further = [("-greek", file, GREEK) for file in greek]
    return ("", latin, WRITTEN), ("-more", latin, REST), *further


_TEXT = "Unfrozen Text"
_SANS_SLICES = _letters(_SANS.format("latin"), _SANS.format("greek"))
_MONO_SLICES = _letters(_MONO.format("latin"), _MONO.format("greek"))
_MATH_SLICES = ("", _MATH, FORMULAS), ("-more", _MATH, FURTHER_FORMULAS)
FACES = (
    Face("text", _TEXT, (400, 650), (*_SHAPING, "liga", "tnum"), _letters(_SERIF)),
    Face("text-italic", _TEXT, (400, 400), (*_SHAPING, "liga"), _letters(_ITALIC), "italic"),
    Face("ui", "Unfrozen UI", (400, 620), (*_SHAPING, "tnum"), _SANS_SLICES),
    Face("mono", "Unfrozen Mono", (400, 400), _SHAPING, _MONO_SLICES),
    Face("math", "Unfrozen Math", (400, 400), ("ssty", "flac", "dtls"), _MATH_SLICES),
)
SIGNS = "Unfrozen Signs"  # the first file for formulas once more, for what faces for text lack


@dataclass(frozen=True, slots=True)
class Slice:
    """A file as cut: its name, its bytes, and every character in it."""

    name: str
    data: bytes
    characters: frozenset[int]


def write_fonts(folder: Path) -> None:
    """Write the cut files and `faces.css`, which names them, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rules = []
    for face in FACES:
        for piece in cut(face):
            (folder / f"{piece.name}.woff2").write_bytes(piece.data)
            rules.append(_rule(face, face.family, piece.name, piece.characters))
    math = FACES[-1]
    signs = cut(math)[0].characters - set(map(ord, WRITTEN))
    rules.append(_rule(math, SIGNS, math.name, signs))
    (folder / "faces.css").write_text("\n".join(rules), encoding="utf-8")


@cache
def cut(face: Face) -> tuple[Slice, ...]:
    """The slices of a face that hold any character; the same input gives the same bytes."""
    return tuple(_slices(face))


def _slices(face: Face) -> Iterator[Slice]:
    taken = set() if face.family == "Unfrozen Math" else set(map(ord, ELSEWHERE))
    for suffix, source, characters in face.slices:
        there = set(TTFont(_path(source)).getBestCmap() or ())
        wanted = (there & set(map(ord, characters)) if characters else there) - taken
        taken |= wanted
        yield Slice(f"{face.name}{suffix}", _cut_file(face, source, wanted), frozenset(wanted))


def _path(source: str) -> Path:
    path = MODULES / source
    if not path.is_file():
        problem = "is not installed; run `npm ci` or `python3 build.py build`"
        raise SiteError(f"node_modules/{source}", problem)
    return path


def _cut_file(face: Face, source: str, characters: Iterable[int]) -> bytes:
    """One font file with these characters alone, its weights narrowed, no clock in it."""
    font = TTFont(_path(source), recalcTimestamp=False)
    options = subset.Options(hinting=False, bidi_closure=False)
    options.layout_features = list(face.features)
    options.name_IDs = [0]
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=list(characters))
    cutter.subset(font)
    if "fvar" in font:
        lightest, boldest = face.weights
        limits = {"wght": lightest if lightest == boldest else (lightest, boldest)}
        instancer.instantiateVariableFont(font, limits, inplace=True)
    for number, words in ((13, LICENCE), (14, LICENCE_URL)):
        font["name"].setName(words, number, 3, 1, 0x409)
    font.flavor = "woff2"
    written = io.BytesIO()
    font.save(written, reorderTables=False)
    return written.getvalue()


def _rule(face: Face, family: str, file: str, characters: Iterable[int]) -> str:
    """The `@font-face` of one slice."""
    lightest, boldest = face.weights
    weights = f"{lightest}" if lightest == boldest else f"{lightest} {boldest}"
    display = "optional" if face.style == "italic" else "swap"  # late, it would set the page anew
    return (
        f'@font-face {{\n  font-family: "{family}";\n  font-style: {face.style};\n'
        f"  font-weight: {weights};\n  font-display: {display};\n"
        f'  src: url("./{file}.woff2") format("woff2");\n'
        f"  unicode-range: {unicode_range(characters)};\n}}\n"
    )


def unicode_range(characters: Iterable[int]) -> str:
    """Code points as CSS writes them: {0x41, 0x42, 0xB7} → "U+41-42, U+B7"."""
    runs = []
    for _, run in groupby(enumerate(sorted(characters)), lambda pair: pair[1] - pair[0]):
        codes = [code for _, code in run]
        last = f"-{codes[-1]:X}" if len(codes) > 1 else ""
        runs.append(f"U+{codes[0]:X}{last}")
    return ", ".join(runs)


def licences() -> str:
    """Whose the faces are, and the licence that covers them and what was cut from them."""
    sources = dict.fromkeys(source for face in FACES for _, source, _ in face.slices)
    owners = [
        f"{source.split('/')[1]}: {TTFont(_path(source))['name'].getDebugName(0)}"
        for source in sources
    ]
    text = (_path(_MATH).parents[1] / "LICENSE").read_text(encoding="utf-8")
    licence = text[text.index("This Font Software") :]
    return "\n".join([*dict.fromkeys(owners), "", licence])
