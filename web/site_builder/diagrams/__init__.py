"""Diagrams made for this article: SVG from numbers that `unfrozen` computes.

Reading order: canvas, formats, pulls, recompute, row, step, zero.

    ::: diagram step

Each is a file of numbers and a template of the same name. Shapes stand at percentages of the width
and text keeps its size, so that one diagram serves a desk, a phone and paper. Colours are classes;
where colours may not be told apart, hatches take over (style/diagrams/diagrams.css).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from site_builder.diagrams.formats import draw_formats
from site_builder.diagrams.pulls import draw_pulls
from site_builder.diagrams.recompute import draw_recompute
from site_builder.diagrams.row import draw_packing, draw_row
from site_builder.diagrams.step import draw_step
from site_builder.diagrams.zero import draw_zero
from site_builder.errors import SiteError

DIAGRAMS: Final[dict[str, Callable[[], str]]] = {
    "formats": draw_formats,
    "packing": draw_packing,
    "pulls": draw_pulls,
    "recompute": draw_recompute,
    "row": draw_row,
    "step": draw_step,
    "zero": draw_zero,
}


def draw(name: str, where: str) -> str:
    """The HTML of a diagram; raises SiteError for a name that none has."""
    if name not in DIAGRAMS:
        raise SiteError(where, f"no diagram is named {name!r}; there are {', '.join(DIAGRAMS)}")
    return DIAGRAMS[name]()
