"""The chapters as they are written: no number of bytes by hand, no worn-out words."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ARTICLE = Path(__file__).parents[2] / "web" / "article"
CHAPTERS = sorted(ARTICLE.glob("[0-9][0-9]-*.md"))
WRITTEN = [*CHAPTERS, ARTICLE / "quiz.toml"]
COMPUTED_UNITS = re.compile(r"\d[\d.,]*\s*(?:[kKMGT]i?B\b|%|bytes\b)")
WORN_OUT = re.compile(
    r"\b(?:simply|just|easy|easily|powerful|seamless(?:ly)?|obviously|of course|very|really"
    r"|leverage|delve|dive into|game.changer|in order to|it is important to note)\b",
    re.IGNORECASE,
)


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The lines a reader reads as text, numbered; code, formulas and expressions left out."""
    text = path.read_text(encoding="utf-8")
    for pattern in (
        r"```.*?```",
        r"'''.*?'''",
        r"\$\$.*?\$\$",
        r"\$[^$\n]+\$",
        r"\{\{.*?\}\}",
        r"`[^`\n]+`",
    ):
        blank = re.compile(pattern, re.DOTALL)
        text = blank.sub(lambda match: "\n" * match[0].count("\n"), text)
    yield from enumerate(text.splitlines(), 1)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_amounts_in_prose_are_computed(path: Path) -> None:
    typed = [(line, COMPUTED_UNITS.findall(text)) for line, text in prose(path)]
    assert not [entry for entry in typed if entry[1]]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_prose_keeps_to_plain_words(path: Path) -> None:
    worn = [(line, WORN_OUT.findall(text)) for line, text in prose(path)]
    assert not [entry for entry in worn if entry[1]]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_nothing_is_announced_that_is_not_there(path: Path) -> None:
    promised = re.compile(r"\b(?:TODO|TBD|FIXME|coming soon|draft|placeholder)\b", re.IGNORECASE)
    assert not [(line, text) for line, text in prose(path) if promised.search(text)]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_cells_fit_the_column_they_are_read_in(path: Path) -> None:
    cells = re.findall(r"```python cell [^\n]*\n(.*?)\n```", path.read_text(), re.DOTALL)
    assert not [line for cell in cells for line in cell.splitlines() if len(line) > 74]
