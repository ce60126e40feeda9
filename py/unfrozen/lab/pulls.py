"""Two weights and three penalties: where fine-tuning ends under L2-SP, EWC or weight decay.

    task      ½ ‖θ − t‖²             least at t, where it would end without a pull
    old       ½ Σ Fᵢ (θᵢ − θ₀ᵢ)²     what the old skills lose: the first weight matters to them
    pull      λ/2 Σ Mᵢ (θᵢ − cᵢ)²    weight decay: M = 1, c = 0; L2-SP: M = 1, c = θ₀; EWC: M = F

Task and pull together are least at θᵢ = (tᵢ + λ Mᵢ cᵢ) / (1 + λ Mᵢ). L2-SP: Li, Grandvalet &
Davoine, arXiv 1802.01483; EWC: Kirkpatrick et al., arXiv 1612.00796.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from unfrozen.errors import PlanError

Pull = Literal["weight decay", "L2-SP", "EWC"]
Point = tuple[float, float]

START: Final[Point] = (2.0, 1.0)
"""θ₀."""
TARGET: Final[Point] = (1.0, 2.6)
"""t."""
IMPORTANCE: Final[Point] = (1.8, 0.2)
"""F; its mean is 1, so that a λ means on average the same for L2-SP and EWC."""
PULLS: Final[dict[Pull, tuple[Point, Point]]] = {
    "weight decay": ((1.0, 1.0), (0.0, 0.0)),
    "L2-SP": ((1.0, 1.0), START),
    "EWC": (IMPORTANCE, START),
}
"""M and c of each."""
STRONGEST: Final = 1e6


def minimum(pull: Pull, strength: float) -> Point:
    """Return the minimum of task and pull together; the target without a pull. λ ≥ 0."""
    if not 0 <= strength <= STRONGEST:
        bound = f"it must lie in 0 … {STRONGEST:g}"
        raise PlanError("strength", strength, bound, "try 1")
    weights, centre = PULLS[pull]
    x, y = (
        (t + strength * m * c) / (1 + strength * m)
        for t, m, c in zip(TARGET, weights, centre, strict=True)
    )
    return x, y


def task_loss(point: Point) -> float:
    """Return the loss on the task, 0 at the target."""
    return 0.5 * math.dist(point, TARGET) ** 2


def old_loss(point: Point) -> float:
    """Return the loss on the old skills, 0 at θ₀."""
    gaps = (point[0] - START[0], point[1] - START[1])
    return 0.5 * sum(f * gap * gap for f, gap in zip(IMPORTANCE, gaps, strict=True))


def strength_for(pull: Pull, wanted: float) -> float:
    """Return the λ that leaves the task this loss, by halving; PlanError where none does."""
    low, high = 0.0, STRONGEST
    if not 0 < wanted < task_loss(minimum(pull, high)):
        bound = f"it must lie in 0 … {task_loss(minimum(pull, high)):.3g}"
        raise PlanError("wanted", wanted, bound, "try 0.3")
    for _ in range(200):
        middle = (low + high) / 2
        reached = task_loss(minimum(pull, middle)) > wanted
        low, high = (low, middle) if reached else (middle, high)
    return (low + high) / 2
