"""Builds the page: the chapters, rendered in order, and the assets become one `index.html`.

The page needs no script, no network and no server.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from site_builder import SiteError
from site_builder.assets import write_assets
from site_builder.bibliography import Bibliography
from site_builder.blocks import BIBLIOGRAPHY_MARK, PageContext
from site_builder.code_blocks import CellRunner
from site_builder.compression import compress
from site_builder.config import AUTHORS, SUBTITLE, TITLE, WEB, project
from site_builder.markdown import ChapterRenderer, Section, make_parser, slug
from site_builder.quiz import Quiz
from site_builder.rendering import TEMPLATES, RenderQueue, embed_json
from site_builder.third_party import NOTICES
from unfrozen.schema import page_schema, policy

DESCRIPTION: Final = (
    "An article about full fine-tuning that you can run: live Python in the page, "
    "and a real training run on your own machine, drawn as it happens."
)
_FIGURE_NUMBER: Final = re.compile(r"<!--figure:([^:]*):(.*?)-->")
_FIGURE: Final = re.compile(r'<figure id="fig-([^"]+)".*?</figure>', re.DOTALL)
_ID: Final = re.compile(r'\sid="([^"]+)"')
_LINK: Final = re.compile(r'href="#([^"]*)"')


@dataclass(frozen=True)
class Chapter:
    """One chapter as HTML; `number` counts the chapters, whatever their files are numbered."""

    number: int
    id: str
    title: str
    html: str
    sections: tuple[Section, ...]


def build_site(out: Path, article: Path = WEB / "article") -> list[Chapter]:
    """Write the site to `out`, replacing what was there; return the chapters.

    Raises SiteError before anything is replaced when a chapter cannot be rendered.
    """
    chapters = render_chapters(article)
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    html = TEMPLATES.get_template("page.html.j2").render(
        title=TITLE,
        subtitle=SUBTITLE,
        description=DESCRIPTION,
        authors=AUTHORS,
        project=project(),
        policy=policy.PAGE,
        assets=write_assets(out, project().version),
        licences=NOTICES,
        chapters=chapters,
        schema=Markup(embed_json(page_schema(), element_id="event-schema")),
    )
    (out / "index.html").write_text(html + "\n", encoding="utf-8")
    compress(out)
    return chapters


def render_chapters(folder: Path) -> list[Chapter]:
    """Render every `NN-slug.md` of a folder in order: run all cells, draw all figures.

    Raises SiteError, which names chapter and line, when a cell fails, an expression cannot be
    evaluated, or a link, citation or figure does not exist.
    """
    queue = RenderQueue()
    context = PageContext(Bibliography.read(folder / "references.toml"), queue, CellRunner(queue))
    env: dict[str, Any] = {"notes": 0}
    paths = sorted(folder.glob("[0-9][0-9]-*.md"))
    chapters = [_render_chapter(path, n, context, env) for n, path in enumerate(paths, 1)]
    if not chapters:
        raise SiteError(str(folder), "holds no chapter named like 01-the-start.md")
    titles = {chapter.id: chapter.title for chapter in chapters}
    whole = "\0".join(chapter.html for chapter in chapters)
    whole = Quiz(folder / "quiz.toml", context).fill(whole, titles)
    whole = whole.replace(BIBLIOGRAPHY_MARK, context.bibliography.html())
    whole = _number_figures(queue.fill(whole), context)
    _check_links(whole, titles.keys())
    return [replace(c, html=html) for c, html in zip(chapters, whole.split("\0"), strict=True)]


def _render_chapter(path: Path, number: int, context: PageContext, env: dict[str, Any]) -> Chapter:
    """Return a chapter whose marks are still to be replaced; `env` counts notes over the page."""
    first, _, body = path.read_text(encoding="utf-8").partition("\n")
    if not first.startswith("# "):
        raise SiteError(f"{path.name}:1", "a chapter starts with its title: # Title")
    renderer = ChapterRenderer(path.name, context)
    html = make_parser(renderer).render("\n" + body, env)
    title = first[2:].strip()
    return Chapter(number, slug(title), title, html, tuple(renderer.sections))


def _number_figures(html: str, context: PageContext) -> str:
    """Replace the marks of figures by "Figure 3", or "Table 3" for a figure that is a table."""
    kinds = {match[1]: _figure_kind(match[0]) for match in _FIGURE.finditer(html)}

    def numbered(match: re.Match[str]) -> str:
        if match[1] not in context.figures:
            raise SiteError(match[2], f"no figure is named {match[1]!r}")
        return f"{kinds[match[1]]}\u00a0{context.figures[match[1]]}"

    return _FIGURE_NUMBER.sub(numbered, html)


def _figure_kind(figure: str) -> str:
    pictures = any(tag in figure for tag in ("<data-plot", "<svg"))
    return "Table" if not pictures and ("<data-table" in figure or "<table" in figure) else "Figure"


def _check_links(html: str, chapter_ids: Set[str]) -> None:
    """Raise SiteError unless every `#target` exists and no id is used twice."""
    ids = _ID.findall(html)
    twice = {name for name, times in Counter(ids).items() if times > 1} | (set(ids) & chapter_ids)
    if twice:
        raise SiteError("article", f"these ids are used twice: {', '.join(sorted(twice))}")
    missing = sorted(set(_LINK.findall(html)) - set(ids) - chapter_ids)
    if missing:
        links = ", ".join("#" + name for name in missing)
        raise SiteError("article", f"these links lead nowhere: {links}")
