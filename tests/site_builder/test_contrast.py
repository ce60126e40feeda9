"""Every text colour of tokens.css has enough contrast on every background: WCAG 2.2, level AA."""

import re
from pathlib import Path

import pytest

TOKENS = Path(__file__).parents[2] / "web" / "style" / "base" / "tokens.css"
COLOUR = re.compile(
    r"--([\w-]+): var\(--if-light, (#[0-9a-f]{6})\) var\(--if-dark, (#[0-9a-f]{6})\);"
)
TEXT_RATIO = 4.5  # 1.4.3
SHAPE_RATIO = 3.0  # 1.4.11
PAPERS = ("paper", "surface")
NOT_INK = {"paper", "surface", "surface-2", "rule", "accent-ink", "accent-soft", "selection"}


def themes() -> dict[str, dict[str, str]]:
    """Both themes: the name of a colour → its value."""
    found = COLOUR.findall(TOKENS.read_text())
    return {
        "light": {name: light for name, light, _ in found},
        "dark": {name: dark for name, _, dark in found},
    }


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2, definitions)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", themes())
def test_text_can_be_read_on_every_paper(theme: str) -> None:
    colours = themes()[theme]
    shapes = {name for name in colours if name.startswith("c-")} | {"rule-strong"}
    weak = {
        f"{ink} on {paper}": round(contrast(colours[ink], colours[paper]), 2)
        for ink in colours.keys() - NOT_INK - shapes
        for paper in PAPERS
        if contrast(colours[ink], colours[paper]) < TEXT_RATIO
    }
    assert not weak


@pytest.mark.parametrize("theme", themes())
def test_shapes_stand_out_from_the_paper(theme: str) -> None:
    colours = themes()[theme]
    weak = {
        name: round(contrast(colour, colours["paper"]), 2)
        for name, colour in colours.items()
        if (name.startswith("c-") or name == "rule-strong")
        and contrast(colour, colours["paper"]) < SHAPE_RATIO
    }
    assert not weak


@pytest.mark.parametrize("theme", themes())
def test_filled_buttons_and_marked_text_can_be_read(theme: str) -> None:
    colours = themes()[theme]
    assert contrast(colours["accent-ink"], colours["accent"]) >= TEXT_RATIO
    for ground in ("accent-soft", "selection", "surface-2"):
        assert contrast(colours["ink"], colours[ground]) >= TEXT_RATIO


def test_the_two_ways_into_the_dark_turn_the_same_switches() -> None:
    blocks = re.findall(r"\{\s*color-scheme: (light|dark);([^}]*)\}", TOKENS.read_text())
    (light, day), (chosen, by_choice), (system, by_system) = blocks
    assert (light, chosen, system) == ("light", "dark", "dark")
    assert by_choice.split() == by_system.split() == ["--if-light:", ";", "--if-dark:", "initial;"]
    assert day.split() == ["--if-light:", "initial;", "--if-dark:", ";"]


def test_every_colour_is_given_for_both_themes() -> None:
    text = TOKENS.read_text()
    assert len(re.findall(r"#[0-9a-f]{3,8}\b", text)) == 2 * len(COLOUR.findall(text)) > 60


def test_colours_stand_in_tokens_css_alone() -> None:
    # A colour computed `from` another one is no new colour.
    literal = re.compile(r"#[0-9a-f]{3,8}\b|\b(?:rgb|hsl|oklch)a?\((?!from )", re.IGNORECASE)
    sheets = [path for path in TOKENS.parent.glob("*.css") if path != TOKENS]
    coloured = {path.name: literal.findall(path.read_text()) for path in sheets}
    assert not {name: found for name, found in coloured.items() if found}
