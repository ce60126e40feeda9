"""Drawings made for this article: SVG from numbers that `unfrozen` computes.

Reading order: canvas, formats, pulls, recompute, row, step, zero.

    ::: drawing step

Each is a file of numbers and a template of the same name. Shapes stand at percentages of the width
and text keeps its size, so that one drawing serves a desk, a phone and paper. Colours are classes;
where colours may not be told apart, hatches take over (style/drawings/drawings.css).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from press.drawings.formats import draw_formats
from press.drawings.pulls import draw_pulls
from press.drawings.recompute import draw_recompute
from press.drawings.row import draw_packing, draw_row
from press.drawings.step import draw_step
from press.drawings.zero import draw_zero
from press.errors import PressError

DRAWINGS: Final[dict[str, Callable[[], str]]] = {
    "formats": draw_formats,
    "packing": draw_packing,
    "pulls": draw_pulls,
    "recompute": draw_recompute,
    "row": draw_row,
    "step": draw_step,
    "zero": draw_zero,
}


def draw(name: str, where: str) -> str:
    """The HTML of a drawing; raises PressError for a name that none has."""
    if name not in DRAWINGS:
        raise PressError(where, f"no drawing is named {name!r}; there are {', '.join(DRAWINGS)}")
    return DRAWINGS[name]()
