"""The article is short enough to be read: its prose in words, as it is rendered.

Prose is every word of the chapters but those of code (`pre`, `code` in a line counts), tables,
plots, drawings, formulas, widgets, quizzes and the notes of cells; captions, margin notes, folded
answers and headings count. The quiz, the glossary, the references and what is said about the
article are no chapters to read through.
"""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

MOST_WORDS: Final = 9_000
NOT_READ: Final = {"quiz", "glossary", "references", "about-this-article"}
NO_PROSE: Final = {
    *("pre", "table", "svg", "math", "script", "button", "summary", "data-table", "data-plot"),
    *("memory-planner", "method-decision", "page-run", "run-view", "run-commands"),
    *("article-quiz", "compute-it"),
}
ASIDES: Final = {"cell-guess", "cell-note", "slider-controls", "legend", "diagram", "anchor"}
VOID: Final = {"br", "wbr", "hr", "img", "input", "link", "meta", "col", "source"}


class Prose(HTMLParser):
    """The words of each chapter by its id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[bool] = []
        self.words: dict[str, int] = {}
        self.text = ""
        _, *chapters = html.partition("<footer")[0].split('<section class="chapter" ')
        for chapter in chapters:
            [name] = re.findall(r'^aria-labelledby="([^"]+)"', chapter)
            self.text, self.open = "", [False]
            self.feed(f"<section {chapter}")
            assert self.open == [False], f"in {name} the tags do not match"
            self.words[name] = len(re.findall(r"\w[\w’'.,:/·-]*", self.text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Skip what is no prose."""
        classes = set((dict(attrs).get("class") or "").split())
        if tag not in VOID:
            self.open.append(tag in NO_PROSE or bool(classes & ASIDES))

    def handle_endtag(self, tag: str) -> None:
        """Go on where the skipped element ends."""
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        """Take text of prose; an element's end is no end of a word."""
        if not any(self.open):
            self.text += data


def test_the_prose_of_the_article_is_within_its_bound(site: Path) -> None:
    words = Prose((site / "index.html").read_text(encoding="utf-8")).words
    assert words.keys() >= NOT_READ
    read = {name: count for name, count in words.items() if name not in NOT_READ}
    assert 1_000 < sum(read.values()) <= MOST_WORDS, read
