"""Diagrams of this article: SVG drawn from numbers that `unfrozen` computes.

Each diagram, `::: diagram NAME`, is a function in `DIAGRAMS` of a module here, and a template of
that name. Shapes stand at percentages of the width while text keeps its size, so that one diagram
serves a desk, a phone and paper. Colours are CSS classes; hatches replace them in print and high
contrast (style/parts/diagrams.css).

Reading order: memory, training, forgetting, symptoms.
"""

from __future__ import annotations

from typing import Any, Final

from site_builder.rendering import TEMPLATES
from unfrozen.events import COMPONENTS

HATCHES: Final = {
    "params": "rising",
    "master": "level",
    "moments": "falling",
    "grads": "crossed",
    "activations": "upright",
    "logits_loss": "dotted",
    "workspace": "steep",
}
"""The hatch of each component that diagrams show."""


def render(template: str, **values: Any) -> str:
    """Fill a template of this folder; every value is escaped."""
    return TEMPLATES.get_template(template).render(values, hatches=HATCHES, components=COMPONENTS)


def coordinate(value: float) -> str:
    """Return a coordinate without digits that nobody sees: 12.50 → "12.5"."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
