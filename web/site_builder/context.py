"""What the chapters of one page share: one interpreter, one bibliography, one count of figures."""

from __future__ import annotations

from dataclasses import dataclass, field

from site_builder.cells import CellBaker
from site_builder.citations import Bibliography
from site_builder.renderings import Renderings


@dataclass
class PageContext:
    """Made once a page; every rule that bakes, cites, draws or numbers goes through it."""

    bibliography: Bibliography
    renderings: Renderings
    baker: CellBaker
    figures: dict[str, int] = field(default_factory=dict)
    takeaways: list[str] = field(default_factory=list)
