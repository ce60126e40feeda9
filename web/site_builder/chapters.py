"""Reads the chapters in order and makes one piece of HTML of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from site_builder.blocks import BIBLIOGRAPHY_MARK, TAKEAWAYS_MARK, PageContext
from site_builder.cells import CellBaker
from site_builder.citations import Bibliography
from site_builder.errors import SiteError
from site_builder.quiz import Quiz
from site_builder.renderings import Renderings
from site_builder.rules import ChapterRules, Section, make_parser, slug

_FIGURE = re.compile(r"<!--figure:([^:]*):(.*?)-->")
_WHOLE_FIGURE = re.compile(r'<figure id="fig-([^"]+)".*?</figure>', re.DOTALL)
_ID = re.compile(r'\sid="([^"]+)"')
_TAKEAWAY = re.compile(
    r'id="(takeaway-\d+)">\n.*?<div class="takeaway-text">\n(.*?)</div>\n</div>\n', re.DOTALL
)
_LINK = re.compile(r'href="#([^"]*)"')


@dataclass(frozen=True)
class Chapter:
    """One chapter, printed: `number` counts the written chapters, not the files' numbers."""

    number: int
    id: str
    title: str
    html: str
    sections: tuple[Section, ...]
    source: str


def print_chapters(folder: Path) -> list[Chapter]:
    """Print every `NN-slug.md` of a folder in order.

    Runs all cells and draws all figures. Raises SiteError, which names chapter and line, when a
    cell fails, a number cannot be computed, or a link, citation or figure leads nowhere.
    """
    renderings = Renderings()
    context = PageContext(
        Bibliography.read(folder / "references.toml"), renderings, CellBaker(renderings)
    )
    notes = 0
    chapters = []
    for number, path in enumerate(sorted(folder.glob("[0-9][0-9]-*.md")), 1):
        chapter, notes = _print(path, number, context, notes)
        chapters.append(chapter)
    if not chapters:
        raise SiteError(str(folder), "holds no chapter named like 01-the-start.md")
    whole = "\0".join(chapter.html for chapter in chapters)
    quiz = Quiz(folder / "quiz.toml", context)
    whole = quiz.fill(whole, {chapter.id: chapter.title for chapter in chapters})
    whole = whole.replace(BIBLIOGRAPHY_MARK, context.bibliography.html())
    whole = whole.replace(TAKEAWAYS_MARK, _takeaways(whole))
    whole = _number_figures(renderings.fill(whole), context)
    check_links(whole, {chapter.id for chapter in chapters})
    finished = whole.split("\0")
    return [
        Chapter(**(vars(c) | {"html": html})) for c, html in zip(chapters, finished, strict=True)
    ]


def _print(path: Path, number: int, context: PageContext, notes: int) -> tuple[Chapter, int]:
    text = path.read_text(encoding="utf-8")
    first, _, body = text.partition("\n")
    if not first.startswith("# "):
        raise SiteError(f"{path.name}:1", "a chapter starts with its title: # Title")
    rules = ChapterRules(path.name, context)
    env = {"notes": notes}
    html = make_parser(rules).render("\n" + body, env)
    title = first[2:].strip()
    chapter = Chapter(number, slug(title), title, html, tuple(rules.sections), path.name)
    return chapter, env["notes"]


def _number_figures(html: str, context: PageContext) -> str:
    """Write "Figure 3" where the text links to a figure and where its caption starts, or "Table 3"
    where it shows a table and no picture.
    """
    kinds = {match[1]: _kind(match[0]) for match in _WHOLE_FIGURE.finditer(html)}

    def numbered(match: re.Match[str]) -> str:
        if match[1] not in context.figures:
            raise SiteError(match[2], f"no figure is named {match[1]!r}")
        return f"{kinds[match[1]]}\u00a0{context.figures[match[1]]}"

    return _FIGURE.sub(numbered, html)


def _kind(figure: str) -> str:
    """What a reader calls a figure, from its HTML."""
    pictures = any(tag in figure for tag in ("<data-plot", "<svg"))
    return "Table" if not pictures and ("<data-table" in figure or "<table" in figure) else "Figure"


def _takeaways(html: str) -> str:
    """Every takeaway of the article once more, in order, each with a link to where it stands."""
    items = "".join(
        f'<li>{_ID.sub("", text).strip()} <a class="back" href="#{name}" '
        f'aria-label="Where this stands">↑</a></li>\n'
        for name, text in _TAKEAWAY.findall(html)
    )
    return f'<ol class="takeaways">\n{items}</ol>\n'


def check_links(html: str, known: set[str]) -> None:
    """Raise SiteError unless every `#target` exists and no id is used twice."""
    ids = _ID.findall(html)
    twice = sorted({name for name in ids if ids.count(name) > 1} | (set(ids) & known))
    if twice:
        raise SiteError("article", f"these ids are used twice: {', '.join(twice)}")
    lost = sorted(set(_LINK.findall(html)) - set(ids) - known)
    if lost:
        raise SiteError(
            "article", f"these links lead nowhere: {', '.join('#' + name for name in lost)}"
        )
