"""The blocks of a chapter, `::: name arguments` … `:::`: the HTML before and after their content.

A block that only wraps its content is a line in `BLOCKS`; one that draws something is a function of
(context, arguments, where): what the chapters share, the words after its name, "chapter.md:line".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from site_builder import SiteError, accuracy, lora_runs, page_run
from site_builder.bibliography import Bibliography
from site_builder.code_blocks import CellRunner, listing
from site_builder.config import WIDGETS, Widget, project
from site_builder.diagrams import forgetting, memory, symptoms, training
from site_builder.rendering import RenderQueue, embed_json

Parts = Mapping[str, Callable[..., str]]
DIAGRAMS: Final = memory.DIAGRAMS | training.DIAGRAMS | forgetting.DIAGRAMS | symptoms.DIAGRAMS
BIBLIOGRAPHY_MARK: Final = "<!--bibliography-->"
QUIZ_MARK: Final = "<!--quiz:{words}:{where}-->"


@dataclass
class PageContext:
    """What the chapters of one page share: interpreter, bibliography, render queue, figures."""

    bibliography: Bibliography
    queue: RenderQueue
    cells: CellRunner
    figures: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """The HTML before and after the content of a block."""

    open: str | Callable[[PageContext, list[str], str], str]
    close: str = "</div>\n"

    def render_open(self, context: PageContext, info: str, where: str) -> str:
        """Return the HTML before the content; `info` is the line after the colons."""
        if isinstance(self.open, str):
            return self.open
        return self.open(context, info.split()[1:], where)


def _figure(context: PageContext, arguments: list[str], where: str) -> str:
    """A numbered figure: `::: figure name [wide]`; its last paragraph is the caption."""
    name, *classes = arguments or [""]
    if not name or name in context.figures:
        raise SiteError(where, f"::: figure needs a name of its own, got {name!r}")
    context.figures[name] = len(context.figures) + 1
    return f'<figure id="fig-{name}" class="{" ".join(["figure", *classes])}">\n'


def _widget_block(widget: Widget) -> Block:
    """Return the block of a widget, which shows its first view before any script runs.

    `::: planner figure` is its short form, which leads to the page that has the whole.
    """

    def render_open(context: PageContext, arguments: list[str], where: str) -> str:
        view = widget.first_view()
        is_figure = arguments == ["figure"]
        opts = {"figure": is_figure}
        html = context.queue.add(where, "widget", draw=widget.draw, data=view, opts=opts)
        inline = embed_json(view, "data") if widget.inline else ""
        mark = " data-figure" if is_figure else ""
        return f'<{widget.tag} id="{widget.block}" class="wide"{mark}>{inline}{html}'

    return Block(render_open, f"</{widget.tag}>\n")


def _parts_block(name: str, parts: Mapping[str, Callable[..., str]], *, queued: bool) -> Block:
    """Return a block of parts, `::: name part`; those that are `queued` draw when all is read."""

    def render_part(context: PageContext, arguments: list[str], where: str) -> str:
        part = " ".join(arguments)
        if part not in parts:
            problem = f"there is no ::: {name} {part}; choose one of {', '.join(parts)}"
            raise SiteError(where, problem)
        return parts[part](where, context.queue) if queued else parts[part]()

    return Block(render_part, "")


def _quiz(_: PageContext, arguments: list[str], where: str) -> str:
    """A mark for one or more questions, `::: quiz key`, rendered when every heading is known."""
    return QUIZ_MARK.format(words=" ".join(arguments), where=where)


BLOCKS: Final[dict[str, Block]] = {
    "figure": Block(_figure, "</figure>\n"),
    "wide": Block('<div class="wide">\n'),
    "columns": Block('<div class="wide columns">\n'),
    "column": Block("<div>\n"),
    "takeaway": Block(
        '<div class="takeaway" role="note">\n<p class="takeaway-label">Takeaway</p>\n'
        '<div class="takeaway-text">\n',
        "</div>\n</div>\n",
    ),
    "glossary": Block('<div class="glossary">\n'),
    "bibtex": Block(lambda _, __, where: listing(project().bibtex(), "bibtex", where), ""),
    "try": Block('<div class="try">\n<p class="try-label">Try it</p>\n'),
    "diagram": _parts_block("diagram", DIAGRAMS, queued=False),
    "accuracy": _parts_block("accuracy", accuracy.PARTS, queued=True),
    "lora-runs": _parts_block("lora-runs", lora_runs.PARTS, queued=True),
    "quiz": Block(_quiz, ""),
    "opening": Block(lambda *_: str(page_run.figure()), ""),
    "bibliography": Block(BIBLIOGRAPHY_MARK, ""),
    **{widget.block: _widget_block(widget) for widget in WIDGETS if widget.block},
}
