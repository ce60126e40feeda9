"""The blocks of a chapter: `::: name words` … `:::`, each with what stands before and after it.

A block that only wraps its text is a line in `BLOCKS`; one that draws something is a function of
(desk, words, where): what the chapters share, the words behind its name, "chapter.md:line".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from press.accuracy import draw
from press.desk import Desk
from press.errors import PressError
from unfrozen import memory_planner, method_decision

BIBLIOGRAPHY_MARK: Final = "<!--bibliography-->"


@dataclass(frozen=True, slots=True)
class Block:
    """HTML before and after what a block holds."""

    open: str | Callable[[Desk, list[str], str], str]
    close: str = "</div>\n"

    def opened(self, desk: Desk, info: str, where: str) -> str:
        """The HTML before; `info` is the line behind the colons, the block's name first."""
        return self.open if isinstance(self.open, str) else self.open(desk, info.split()[1:], where)


def _figure(desk: Desk, words: list[str], where: str) -> str:
    """A numbered figure: `::: figure name [wide]`, its last paragraph is the caption."""
    name, *classes = words or [""]
    if not name or name in desk.figures:
        raise PressError(where, f"::: figure needs a name of its own, got {name!r}")
    desk.figures[name] = len(desk.figures) + 1
    return f'<figure id="fig-{name}" class="{" ".join(["figure", *classes])}">\n'


def _planner(desk: Desk, _: list[str], where: str) -> str:
    """The planner at its default, complete before any script runs."""
    html = desk.renderings.add(where, "planner", data=memory_planner.view({}))
    return f'<memory-planner id="planner" class="wide">{html}'


def _decision(desk: Desk, _: list[str], where: str) -> str:
    """The decision at its default, complete before any script runs."""
    html = desk.renderings.add(where, "decision", data=method_decision.view({}))
    return f'<method-decision id="decision" class="wide">{html}'


def _accuracy(desk: Desk, words: list[str], where: str) -> str:
    """A part of the accuracy chapter: `::: accuracy strips`, see press.accuracy."""
    return draw(" ".join(words), where, desk.renderings)


BLOCKS: Final[dict[str, Block]] = {
    "figure": Block(_figure, "</figure>\n"),
    "wide": Block('<div class="wide">\n'),
    "try": Block('<div class="try">\n<p class="try-label">Try it</p>\n'),
    "planner": Block(_planner, "</memory-planner>\n"),
    "decision": Block(_decision, "</method-decision>\n"),
    "accuracy": Block(_accuracy, ""),
    "bibliography": Block(BIBLIOGRAPHY_MARK, ""),
}
