"""Fonts, subset when the site is built to the characters and weights that the page uses.

A face comes in subsets. The first holds the characters of English, code and formulas; the others
hold the rest of the same file, and a browser downloads them when a reader types one of theirs. The
`unicode-range` of a subset is read from the subset, so it never names a missing character. Subset
files have no name of their own ("Source" is reserved), only the copyright and the licence.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby
from pathlib import Path

import fontTools
from fontTools import subset as subsetting
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

from site_builder import SiteError
from site_builder.config import ROOT
from site_builder.disk_cache import make_once

LICENCE = "SIL Open Font License, Version 1.1"
LICENCE_URL = "https://openfontlicense.org"
PRELOADED = ("text", "text-italic")

_ASCII = "".join(map(chr, range(0x20, 0x7F)))
NAMES = "äöüéèç"  # in the bibliography
COMMON = _ASCII + NAMES + "\u00a0±·×÷–—‘’“”„…′−°½µ§«»‹›•€↑↓"
GREEK = "".join(map(chr, (*range(0x391, 0x3A2), *range(0x3A3, 0x3AA), *range(0x3B1, 0x3CA))))
# Upright letters, too: a browser looks for them before it maps them to italic variables.
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
ELSEWHERE = "¹²³"  # text faces have these three superscripts only; all ten come from one face


@dataclass(frozen=True, slots=True)
class Face:
    """One `font-family` in one style, its weights from the lightest to the boldest.

    `subsets` are triples: a suffix to the name, a file below node_modules, and which of the
    characters that no earlier subset has to take (`REST`: all of them).
    """

    name: str
    family: str
    weights: tuple[int, int]
    features: tuple[str, ...]
    subsets: tuple[tuple[str, str, str], ...]
    style: str = "normal"


_SHAPING = ("kern", "mark", "ccmp", "locl")
_SERIF = "@fontsource-variable/source-serif-4/files/source-serif-4-latin-wght-normal.woff2"
_ITALIC = "@fontsource-variable/source-serif-4/files/source-serif-4-latin-wght-italic.woff2"
_SANS = "@fontsource-variable/inter/files/inter-{}-wght-normal.woff2"
_MONO = "@fontsource-variable/jetbrains-mono/files/jetbrains-mono-{}-wght-normal.woff2"
_MATH = "@fontsource/stix-two-math/files/stix-two-math-latin-400-normal.woff2"


def _letters(latin: str, *greek: str) -> tuple[tuple[str, str, str], ...]:
    """Return the subsets of a text face: what the page uses, the rest, Greek from its own file."""
    further = [("-greek", file, GREEK) for file in greek]
    return ("", latin, COMMON), ("-more", latin, REST), *further


_TEXT = "Unfrozen Text"
_SANS_SUBSETS = _letters(_SANS.format("latin"), _SANS.format("greek"))
_MONO_SUBSETS = _letters(_MONO.format("latin"), _MONO.format("greek"))
_MATH_SUBSETS = ("", _MATH, FORMULAS), ("-more", _MATH, FURTHER_FORMULAS)
FACES = (
    Face("text", _TEXT, (400, 650), (*_SHAPING, "liga", "tnum"), _letters(_SERIF)),
    Face("text-italic", _TEXT, (400, 400), (*_SHAPING, "liga"), _letters(_ITALIC), "italic"),
    Face("ui", "Unfrozen UI", (400, 620), (*_SHAPING, "tnum"), _SANS_SUBSETS),
    Face("mono", "Unfrozen Mono", (400, 400), _SHAPING, _MONO_SUBSETS),
    Face("math", "Unfrozen Math", (400, 400), ("ssty", "flac", "dtls"), _MATH_SUBSETS),
)
SIGNS = "Unfrozen Signs"  # the first file for formulas again, for characters that text faces lack

EXPONENTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻"
EXPONENT_SIZE = 130  # percent: drawn for formulas, they cannot be told apart in a table of 14 px


@dataclass(frozen=True, slots=True)
class Subset:
    """A subset file: its name, its bytes, and the code points in it."""

    name: str
    data: bytes
    characters: frozenset[int]


def write_fonts(folder: Path) -> None:
    """Write the subset files into a folder, and `faces.css` with their `@font-face` rules."""
    folder.mkdir(parents=True, exist_ok=True)
    rules = []
    for face in FACES:
        for subset in subset_face(face):
            (folder / f"{subset.name}.woff2").write_bytes(subset.data)
            rules.append(_font_face_rule(face, face.family, subset.name, subset.characters))
    math = FACES[-1]
    signs = subset_face(math)[0].characters - set(map(ord, COMMON))
    raised = signs & set(map(ord, EXPONENTS))
    rules.append(_font_face_rule(math, SIGNS, math.name, signs - raised))
    rules.append(_font_face_rule(math, SIGNS, math.name, raised, EXPONENT_SIZE))
    (folder / "faces.css").write_text("\n".join(rules), encoding="utf-8")


@cache
def subset_face(face: Face) -> tuple[Subset, ...]:
    """Return the subsets of a face; the same input gives the same bytes."""
    taken = set() if face.family == "Unfrozen Math" else set(map(ord, ELSEWHERE))
    subsets = []
    for suffix, source, characters in face.subsets:
        there = set(TTFont(_path(source)).getBestCmap() or ())
        wanted = (there & set(map(ord, characters)) if characters else there) - taken
        taken |= wanted
        inputs = _path(source).read_bytes() + Path(__file__).read_bytes()
        inputs += repr((face, sorted(wanted), fontTools.version)).encode()
        data = make_once(inputs, partial(_subset_font, face, source, wanted))
        subsets.append(Subset(f"{face.name}{suffix}", data, frozenset(wanted)))
    return tuple(subsets)


def _path(source: str) -> Path:
    path = ROOT / "node_modules" / source
    if not path.is_file():
        problem = "is not installed; run `npm ci` or `python3 build.py build`"
        raise SiteError(f"node_modules/{source}", problem)
    return path


def _subset_font(face: Face, source: str, characters: Iterable[int]) -> bytes:
    """Return one font file with these characters and the face's weights alone, without a date."""
    font = TTFont(_path(source), recalcTimestamp=False)
    options = subsetting.Options(hinting=False, bidi_closure=False)
    options.layout_features = list(face.features)
    options.name_IDs = [0]
    subsetter = subsetting.Subsetter(options)
    subsetter.populate(unicodes=list(characters))
    subsetter.subset(font)
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


def _font_face_rule(
    face: Face, family: str, file: str, characters: Iterable[int], percent: int = 100
) -> str:
    """Return the `@font-face` rule of one subset, drawn at a percentage of its size."""
    lightest, boldest = face.weights
    weights = f"{lightest}" if lightest == boldest else f"{lightest} {boldest}"
    # Italics that arrive late would shift the layout.
    display = "optional" if face.style == "italic" else "swap"
    size = "" if percent == 100 else f"  size-adjust: {percent}%;\n"
    return (
        f'@font-face {{\n  font-family: "{family}";\n  font-style: {face.style};\n'
        f"  font-weight: {weights};\n  font-display: {display};\n"
        f'  src: url("./{file}.woff2") format("woff2");\n'
        f"  unicode-range: {unicode_range(characters)};\n{size}}}\n"
    )


def unicode_range(characters: Iterable[int]) -> str:
    """Return code points as CSS writes them: {0x41, 0x42, 0xB7} → "U+41-42, U+B7"."""
    runs = []
    for _, run in groupby(enumerate(sorted(characters)), lambda pair: pair[1] - pair[0]):
        codes = [code for _, code in run]
        last = f"-{codes[-1]:X}" if len(codes) > 1 else ""
        runs.append(f"U+{codes[0]:X}{last}")
    return ", ".join(runs)


def font_licences() -> str:
    """Return the copyright lines of the fonts and the licence that covers them and the subsets."""
    sources = dict.fromkeys(source for face in FACES for _, source, _ in face.subsets)
    owners = [
        f"{source.split('/')[1]}: {TTFont(_path(source))['name'].getDebugName(0)}"
        for source in sources
    ]
    text = (_path(_MATH).parents[1] / "LICENSE").read_text(encoding="utf-8")
    licence = text[text.index("This Font Software") :]
    return "\n".join([*dict.fromkeys(owners), "", licence])
