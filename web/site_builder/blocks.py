"""The blocks of a chapter: `::: name words` … `:::`, each with what stands before and after it.

A block that only wraps its text is a line in `BLOCKS`; one that draws something is a function of
(context, words, where): what the chapters share, the words behind its name, "chapter.md:line".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import Final

from site_builder import diagrams, lora_runs
from site_builder.accuracy import draw
from site_builder.cells import CellBaker, embedded_json
from site_builder.citations import Bibliography
from site_builder.errors import SiteError
from site_builder.listing import highlighted
from site_builder.project import project
from site_builder.renderings import Renderings
from site_builder.widgets import WIDGETS, Widget
from unfrozen.events import METRICS

BIBLIOGRAPHY_MARK: Final = "<!--bibliography-->"
TAKEAWAYS_MARK: Final = "<!--takeaways-->"
QUIZ_MARK: Final = "<!--quiz:{words}:{where}-->"
_BREAKS: Final = re.compile(r"(?<=[/_])")
_UNITS_SAID: Final = ("nats", "seconds", "bytes")  # the others stand in what a metric means


@dataclass
class PageContext:
    """What the chapters of one page share: interpreter, bibliography, renderings, figures."""

    bibliography: Bibliography
    renderings: Renderings
    baker: CellBaker
    figures: dict[str, int] = field(default_factory=dict)
    takeaways: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Block:
    """HTML before and after what a block holds."""

    open: str | Callable[[PageContext, list[str], str], str]
    close: str = "</div>\n"

    def opened(self, context: PageContext, info: str, where: str) -> str:
        """The HTML before; `info` is the line behind the colons, the block's name first."""
        return (
            self.open if isinstance(self.open, str) else self.open(context, info.split()[1:], where)
        )


def _figure(context: PageContext, words: list[str], where: str) -> str:
    """A numbered figure: `::: figure name [wide]`, its last paragraph is the caption."""
    name, *classes = words or [""]
    if not name or name in context.figures:
        raise SiteError(where, f"::: figure needs a name of its own, got {name!r}")
    context.figures[name] = len(context.figures) + 1
    return f'<figure id="fig-{name}" class="{" ".join(["figure", *classes])}">\n'


def _takeaway(context: PageContext, _: list[str], where: str) -> str:
    """What a section leaves with its reader; all of them stand together at the end."""
    context.takeaways.append(where)
    return (
        f'<div class="takeaway" role="note" id="takeaway-{len(context.takeaways)}">\n'
        '<p class="takeaway-label">Takeaway</p>\n<div class="takeaway-text">\n'
    )


def _problem(_: PageContext, words: list[str], where: str) -> str:
    """A worked problem, `::: problem Its title`; its solution stands in an `::: answer` inside."""
    if not words:
        raise SiteError(where, "::: problem needs a title")
    return (
        '<div class="problem">\n<p class="problem-label">Worked problem</p>\n'
        f'<p class="problem-title">{escape(" ".join(words))}</p>\n'
    )


def _metrics(_: PageContext, __: list[str], ___: str) -> str:
    """Every metric a run may report, from the names that runner and page share."""
    rows = "".join(
        f'<dt id="metric-{metric.name.replace("/", "-").replace("_", "-")}">'
        f"<code>{_BREAKS.sub('<wbr>', metric.name)}</code></dt>\n"
        f"<dd>{escape(metric.label)}: {escape(metric.meaning)}"
        f"{f' <span>In {metric.unit}.</span>' if metric.unit in _UNITS_SAID else ''}</dd>\n"
        for metric in METRICS
    )
    return f'<div class="glossary"><dl>\n{rows}</dl></div>\n'


def _bibtex(_: PageContext, __: list[str], where: str) -> str:
    """The entry that cites this version."""
    entry = highlighted(project().bibtex(), "bibtex", where)
    return f'<pre class="listing" tabindex="0"><code class="language-bibtex">{entry}</code></pre>\n'


def _widget(widget: Widget) -> Block:
    """The block of a widget: its first view, complete before any script runs."""

    def opened(context: PageContext, _: list[str], where: str) -> str:
        view = widget.first_view()
        html = context.renderings.add(where, "widget", draw=widget.draw, data=view)
        inline = embedded_json(view, "data") if widget.inline else ""
        return f'<{widget.tag} id="{widget.block}" class="wide">{inline}{html}'

    return Block(opened, f"</{widget.tag}>\n")


def _diagram(_: PageContext, words: list[str], where: str) -> str:
    """A diagram of our own, `::: diagram step`, see site_builder.diagrams."""
    return diagrams.draw(" ".join(words), where)


def _accuracy(context: PageContext, words: list[str], where: str) -> str:
    """A part of the accuracy chapter: `::: accuracy strips`, see site_builder.accuracy."""
    return draw(" ".join(words), where, context.renderings)


def _lora_runs(context: PageContext, words: list[str], where: str) -> str:
    """A part of the comparison run here: `::: lora-runs methods`, see site_builder.lora_runs."""
    return lora_runs.draw(" ".join(words), where, context.renderings)


def _quiz(_: PageContext, words: list[str], where: str) -> str:
    """A question, or several: `::: quiz key`; printed when every heading is known."""
    return QUIZ_MARK.format(words=" ".join(words), where=where)


BLOCKS: Final[dict[str, Block]] = {
    "figure": Block(_figure, "</figure>\n"),
    "wide": Block('<div class="wide">\n'),
    "takeaway": Block(_takeaway, "</div>\n</div>\n"),
    "takeaways": Block(TAKEAWAYS_MARK, ""),
    "problem": Block(_problem),
    "answer": Block('<details class="answer">\n<summary>Answer</summary>\n', "</details>\n"),
    "glossary": Block('<div class="glossary">\n'),
    "metrics": Block(_metrics, ""),
    "bibtex": Block(_bibtex, ""),
    "try": Block('<div class="try">\n<p class="try-label">Try it</p>\n'),
    "diagram": Block(_diagram, ""),
    "accuracy": Block(_accuracy, ""),
    "lora-runs": Block(_lora_runs, ""),
    "quiz": Block(_quiz, ""),
    "bibliography": Block(BIBLIOGRAPHY_MARK, ""),
    **{widget.block: _widget(widget) for widget in WIDGETS if widget.block},
}
