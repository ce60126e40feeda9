"""What all diagrams share: templates, hatches, and numbers as SVG writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

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
"""The hatch of each component that diagrams show, for paper and for high contrast."""

_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """Fill a template of this folder; every value is escaped."""
    return _ENVIRONMENT.get_template(template).render(
        values, hatches=HATCHES, components=COMPONENTS
    )


def short(value: float) -> str:
    """A coordinate without digits nobody sees: 12.50 → "12.5"."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def polygon(points: Iterable[tuple[float, float]]) -> str:
    """Path data of a closed shape."""
    return "M" + "L".join(f"{short(x)},{short(y)}" for x, y in points) + "z"
