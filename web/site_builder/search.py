"""The index of the search: the text below each heading of article, guides and reference.

`web/page/site-search.js` fetches it when a reader starts to search, and looks through it there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Final

from site_builder.config import Page

INDEX: Final = "search.json"
_SKIPPED: Final = ("script", "svg", "math", "button", "data-plot")
_HEADINGS: Final = ("h3", "h4", "h5")
_INLINE: Final = ("a", "b", "code", "em", "i", "span", "strong", "sub", "sup")


class _Sections(HTMLParser):
    """Collects the title and the text of each section: [id, title, words]."""

    def __init__(self, place: str, title: str) -> None:
        super().__init__()
        self.sections = [[place, title, ""]]
        self._part = 2
        self._skipped: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a section at a heading."""
        if tag in _SKIPPED:
            self._skipped.append(tag)
        elif tag in _HEADINGS and (place := dict(attrs).get("id")):
            self.sections.append([place, "", ""])
            self._part = 1
        elif tag not in _INLINE:
            self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        """End a heading, or what is left out."""
        if tag in _HEADINGS:
            self._part = 2
        elif self._skipped[-1:] == [tag]:
            self._skipped.pop()

    def handle_data(self, data: str) -> None:
        """Add text to the heading or to the section."""
        if not self._skipped:
            self.sections[-1][self._part] += data


def index(chapters: Iterable[tuple[Page, str, str, str]]) -> str:
    """Return the index as JSON: of each section its page, address, title and text.

    A chapter is its page, id, title and HTML.
    """
    entries = []
    for page, place, title, html in chapters:
        parser = _Sections(place, title)
        parser.feed(html)
        entries += [
            [page.label, f"{page.folder}#{at}", " ".join(name.split()), " ".join(text.split())]
            for at, name, text in parser.sections
        ]
    return json.dumps(entries, ensure_ascii=False, separators=(",", ":"))
