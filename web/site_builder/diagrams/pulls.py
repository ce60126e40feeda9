"""Three pulls on two weights: where each leads as it grows, and where it leaves the task."""

from __future__ import annotations

import math
from typing import Any, Final

from site_builder.diagrams.canvas import render, short
from unfrozen.lab.pulls import (
    IMPORTANCE,
    PULLS,
    START,
    TARGET,
    Point,
    minimum,
    old_loss,
    strength_for,
)

TASK_LOSS: Final = 0.2
"""At which the three are compared."""
LEFT, RIGHT, LOW, HIGH = -0.5, 3.3, -0.4, 3.4
SIDE: Final = 360.0
RINGS: Final = (0.1, 0.4, 0.9)
STRENGTHS: Final = tuple(10 ** (tenths / 10) for tenths in range(-25, 36))


def draw_pulls() -> str:
    """The diagram."""
    pulls = [_pull(name, index) for index, name in enumerate(PULLS)]
    reach = math.sqrt(2 * TASK_LOSS)
    return render(
        "pulls.html.j2",
        side=SIDE,
        rings=[_ring(loss) for loss in RINGS],
        circle=_at(TARGET) | {"r": short(reach * SIDE / (RIGHT - LEFT))},
        target=_at(TARGET),
        start=_at(START),
        zero=_at((0.0, 0.0)),
        pulls=pulls,
        task_loss=TASK_LOSS,
    )


def _pull(name: Any, index: int) -> dict[str, Any]:
    path = [_at(minimum(name, strength)) for strength in STRENGTHS]
    end = minimum(name, strength_for(name, TASK_LOSS))
    line = "M" + "L".join(f"{p['x']},{p['y']}" for p in [_at(TARGET), *path])
    return {
        "name": name,
        "index": index,
        "path": line,
        "end": _at(end),
        "old": f"{old_loss(end):.2f}",
        "far": f"{math.dist(end, START):.2f}",
    }


def _ring(loss: float) -> dict[str, str]:
    """The ellipse on which the old skills have lost `loss`."""
    radii = [math.sqrt(2 * loss / f) * SIDE / (RIGHT - LEFT) for f in IMPORTANCE]
    return _at(START) | {"rx": short(radii[0]), "ry": short(radii[1])}


def _at(point: Point) -> dict[str, str]:
    x = (point[0] - LEFT) / (RIGHT - LEFT) * SIDE
    y = (HIGH - point[1]) / (HIGH - LOW) * SIDE
    return {"x": short(x), "y": short(y)}
