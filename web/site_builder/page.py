"""Builds the pages: Markdown becomes one `index.html` for each of `PAGES`, guides and embeds.

A page needs no script, no network and no server. `#anchor` in a chapter leads to wherever the
anchor is: on this page, or else on the one that has it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from site_builder import SiteError, guides, page_run, search
from site_builder.assets import Assets, write_assets, write_service_worker
from site_builder.bibliography import Bibliography
from site_builder.blocks import BIBLIOGRAPHY_MARK, PageContext
from site_builder.code_blocks import CellRunner
from site_builder.compression import compress
from site_builder.config import AUTHORS, EMBEDS, FRONT, PAGES, RENAMED, WEB, Page, project
from site_builder.markdown import ChapterRenderer, Section, make_parser, slug
from site_builder.quiz import Quiz
from site_builder.rendering import TEMPLATES, RenderQueue, embed_json
from site_builder.third_party import NOTICES
from unfrozen.schema import page_schema, policy

_FIGURE_NUMBER: Final = re.compile(r"<!--figure:([^:]*):(.*?)-->")
_FIGURE: Final = re.compile(r'<figure id="fig-([^"]+)".*?</figure>', re.DOTALL)
_ID: Final = re.compile(r'\sid="([^"]+)"')
_LINK: Final = re.compile(r'href="#([^"]*)"')
_PLACE: Final = re.compile(r'<(?:h\d|figure) id="([^"]+)"')


@dataclass(frozen=True)
class Chapter:
    """One chapter as HTML; `number` counts the chapters, whatever their files are numbered."""

    number: int
    id: str
    title: str
    html: str
    sections: tuple[Section, ...]


def build_site(out: Path) -> list[Chapter]:
    """Write the site to `out`, a new or an empty folder; return the chapters of all pages.

    Raises SiteError before anything is written when a chapter cannot be rendered, or `out` holds
    something.
    """
    if out.exists() and any(out.iterdir()):
        raise SiteError(str(out), "it is not empty: name a new folder, or empty it")
    pages = {page: _render_page(page) for page in (*PAGES, *guides.pages(), *EMBEDS)}
    places = {
        page: {name for c in chapters for name in (c.id, *_ID.findall(c.html))}
        for page, chapters in pages.items()
    }
    for page, chapters in pages.items():
        pages[page] = [_lead_to_pages(chapter, page, places) for chapter in chapters]
        _check_links(pages[page])
    out.mkdir(parents=True, exist_ok=True)
    assets = write_assets(out, project().version)
    moved = RENAMED | {
        page.folder: [place for c in pages[page] for place in (c.id, *_PLACE.findall(c.html))]
        for page in PAGES
        if page is not FRONT
    }
    for page, chapters in pages.items():
        (out / page.path).mkdir(parents=True, exist_ok=True)
        html = _fill_template(page, chapters, assets, moved)
        (out / page.path / "index.html").write_text(html + "\n", encoding="utf-8")
    guides.write_files(out)
    read = [(p, c.id, c.title, c.html) for p in (FRONT, *guides.searched()) for c in pages[p]]
    (out / search.INDEX).write_text(search.index(read), encoding="utf-8")
    write_service_worker(out)
    compress(out)
    return [chapter for chapters in pages.values() for chapter in chapters]


def _fill_template(
    page: Page, chapters: list[Chapter], assets: Assets, moved: dict[str, list[str]]
) -> str:
    """Return the HTML of a page; `moved` are the places of other pages by their folders."""
    style = assets.style_of(page)
    name = "page.html.j2" if page.leads is None else "embed.html.j2"
    return TEMPLATES.get_template(name).render(
        page=page,
        pages=PAGES,
        front=FRONT,
        authors=AUTHORS,
        project=project(),
        policy=policy.with_style(style),
        style=Markup(style),
        assets=assets,
        licences=NOTICES,
        chapters=chapters,
        opening=page_run.figure() if page is FRONT else "",
        schema=Markup(embed_json(_schema(page), element_id="event-schema")),
        moved=Markup(embed_json(moved, element_id="moved") if page is FRONT else ""),
    )


def _schema(page: Page) -> dict[str, Any]:
    """Return what the scripts of a page check with; one without runs has tables and plots only."""
    whole: dict[str, Any] = page_schema()
    return whole if page.live else {"shapes": {k: whole["shapes"][k] for k in ("table", "plots")}}


def render_chapters(folder: Path) -> list[Chapter]:
    """Render every `NN-slug.md` of a folder in order: run all cells, draw all figures.

    Raises SiteError, which names chapter and line, when a cell fails, an expression cannot be
    evaluated, or a link, citation or figure does not exist.
    """
    chapters = _render_texts(_read_folder(folder), folder)
    _check_links(chapters)
    return chapters


def _read_folder(folder: Path) -> dict[str, str]:
    paths = sorted(folder.glob("[0-9][0-9]-*.md"))
    if not paths:
        raise SiteError(str(folder), "holds no chapter named like 01-the-start.md")
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def _render_page(page: Page) -> list[Chapter]:
    """Render the Markdown of a page; links to what is not on it lead nowhere yet."""
    if page.chapters:
        return _render_texts(_read_folder(WEB / page.chapters), WEB / page.chapters)
    content = guides.list_guides(page.content) if page in PAGES else page.content
    chapters = _render_texts({f"{page.path}.md": f"# {page.title}\n{content}"}, guides.DOCS)
    if page.is_guide:
        return [replace(c, html=guides.lead_to_site(c.html, page)) for c in chapters]
    # In the article these links lead down from its root.
    down, root = re.compile(r'href="(?=planner/|runs/)'), page.link_to("")
    return [replace(c, html=down.sub(f'href="{root}', c.html)) for c in chapters]


def _render_texts(texts: Mapping[str, str], folder: Path) -> list[Chapter]:
    """Do what `render_chapters` does, but for links to what is not on this page."""
    queue = RenderQueue()
    context = PageContext(Bibliography.read(folder / "references.toml"), queue, CellRunner(queue))
    env: dict[str, Any] = {"notes": 0}
    chapters = [
        _render_chapter(name, text, n, context, env)
        for n, (name, text) in enumerate(texts.items(), 1)
    ]
    titles = {chapter.id: chapter.title for chapter in chapters}
    whole = "\0".join(chapter.html for chapter in chapters)
    whole = Quiz(folder / "quiz.toml", context).fill(whole, titles)
    whole = whole.replace(BIBLIOGRAPHY_MARK, context.bibliography.html())
    whole = _number_figures(queue.fill(whole), context)
    return [replace(c, html=html) for c, html in zip(chapters, whole.split("\0"), strict=True)]


def _render_chapter(
    name: str, text: str, number: int, context: PageContext, env: dict[str, Any]
) -> Chapter:
    """Return a chapter whose marks are still to be replaced; `env` counts notes over the page."""
    first, _, body = text.partition("\n")
    if not first.startswith("# "):
        raise SiteError(f"{name}:1", "a chapter starts with its title: # Title")
    renderer = ChapterRenderer(name, context)
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


def _lead_to_pages(chapter: Chapter, page: Page, places: Mapping[Page, Set[str]]) -> Chapter:
    """Return the chapter, each link to a place that another page has leading there."""

    def led(match: re.Match[str]) -> str:
        there = [other for other in places if match[1] in places[other]]
        if page in there or not there:
            return match[0]
        return f'href="{page.link_to(there[0].folder)}#{match[1]}"'

    return replace(chapter, html=_LINK.sub(led, chapter.html))


def _check_links(chapters: Iterable[Chapter]) -> None:
    """Raise SiteError unless every `#target` exists and no id is used twice."""
    chapter_ids = {chapter.id for chapter in chapters}
    html = "".join(chapter.html for chapter in chapters)
    ids = _ID.findall(html)
    twice = {name for name, times in Counter(ids).items() if times > 1} | (set(ids) & chapter_ids)
    if twice:
        raise SiteError("article", f"these ids are used twice: {', '.join(sorted(twice))}")
    missing = sorted(set(_LINK.findall(html)) - set(ids) - chapter_ids)
    if missing:
        links = ", ".join("#" + name for name in missing)
        raise SiteError("article", f"these links lead nowhere: {links}")
