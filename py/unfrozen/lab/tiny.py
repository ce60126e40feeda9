"""A network of one hidden layer that is pre-trained, fine-tuned, and forgets.

It learns one curve, y = sin(3x) over −1 … 1, and is then fine-tuned on a few points of the right
part (the task): there the curve is lifted. What it knew is scored on the left part alone, where the
task is silent: whoever learns the task and forgets nothing else has the old loss he began with.
Plain gradient descent, as in θ ← θ − η ∇L, in plain Python; every number follows from the seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from unfrozen.errors import PlanError

HIDDEN: Final = 10
PRETRAINING_STEPS: Final = 600
PRETRAINING_RATE: Final = 0.1
DECIMALS: Final = 9  # of a weight after a step: see _descend
CEILING: Final = 100.0  # a loss beyond it, or not a number, counts as this: training diverged

RATES: Final = tuple(10 ** (tenths / 10) for tenths in range(-30, -4))  # 0.001 … 0.3

Points = tuple[tuple[float, float], ...]


def taught(x: float) -> float:
    """Return the curve of pre-training at x."""
    return math.sin(3 * x)


def wanted(x: float) -> float:
    """Return the curve of the new task at x."""
    return 0.6 + taught(x)


GENERAL: Final[Points] = tuple((x / 8, taught(x / 8)) for x in range(-8, 9))
"""What pre-training shows."""
TASK: Final[Points] = tuple((x / 8, wanted(x / 8)) for x in range(2, 9))
"""What fine-tuning shows."""
OLD: Final[Points] = tuple(point for point in GENERAL if point[0] < TASK[0][0])
"""What it knew and nobody shows it again: the points on which forgetting is scored."""
REPLAY: Final[Points] = tuple((x / 16, taught(x / 16)) for x in range(-15, 2, 2))
"""What may be rehearsed: old points that lie between those of the score."""
GRID: Final = tuple(x / 40 for x in range(-40, 41))
"""Where the curve is drawn."""


@dataclass(frozen=True, slots=True)
class Weights:
    """y = b + Σ_j out_j · tanh(into_j · x + bias_j)."""

    into: tuple[float, ...]
    bias: tuple[float, ...]
    out: tuple[float, ...]
    b: float

    def flat(self) -> list[float]:
        """Return all parameters in one list."""
        return [*self.into, *self.bias, *self.out, self.b]

    @classmethod
    def from_flat(cls, values: Sequence[float]) -> Weights:
        """Return the weights that `flat` gives these values."""
        into, bias, out = (tuple(values[i * HIDDEN : (i + 1) * HIDDEN]) for i in range(3))
        return cls(into, bias, out, values[-1])


@dataclass(frozen=True, slots=True)
class FineTuned:
    """Losses before and after each step: entry 0 belongs to the weights it started from."""

    weights: Weights
    task: tuple[float, ...]
    old: tuple[float, ...]
    diverged: bool


def random_weights(seed: int = 0) -> Weights:
    """Return random weights."""
    draw = random.Random(seed)
    into = tuple(draw.gauss(0, 2) for _ in range(HIDDEN))
    bias = tuple(draw.gauss(0, 1) for _ in range(HIDDEN))
    out = tuple(draw.gauss(0, 1 / math.sqrt(HIDDEN)) for _ in range(HIDDEN))
    return Weights(into, bias, out, 0.0)


@cache
def pretrained(seed: int = 0) -> Weights:
    """Return θ₀: random weights trained on the general task."""
    weights = random_weights(seed)
    for _ in range(PRETRAINING_STEPS):
        weights = _descend(weights, GENERAL, PRETRAINING_RATE)
    return weights


def curve(weights: Weights, xs: Sequence[float] = GRID) -> list[float]:
    """Return the network's y for each x."""
    return [_predict(weights, x) for x in xs]


def loss(weights: Weights, points: Points) -> float:
    """Return the mean squared error, at most `CEILING`."""
    errors = [_predict(weights, x) - y for x, y in points]
    mean = sum(error * error for error in errors) / len(points)  # `** 2` would raise, not overflow
    return mean if mean < CEILING else CEILING  # NaN compares false


def fine_tune(
    start: Weights,
    rate: float,
    steps: int = 40,
    *,
    replay: float = 0.0,
    l2sp: float = 0.0,
    ewc: float = 0.0,
    decay: float = 0.0,
) -> FineTuned:
    """Train every parameter on the new task.

    replay  share of the loss that the points of `REPLAY` have, 0 … 1
    l2sp    λ of λ/2 ‖θ − θ₀‖²: a pull back to the start (arXiv 1802.01483)
    ewc     λ of λ/2 Σ Fᵢ (θᵢ − θ₀ᵢ)²: the same, by what each parameter means to the old curve
            (arXiv 1612.00796); F is `fisher`
    decay   λ of λ/2 ‖θ‖²: weight decay, a pull to zero

    The pulls follow each step as its exact minimum (a proximal step), so that λ → ∞ holds the
    weights where it wants them and never throws them about. Raises PlanError unless rate > 0,
    steps ≥ 0, 0 ≤ replay ≤ 1 and every λ ≥ 0.
    """
    _check(rate, steps, replay, {"l2sp": l2sp, "ewc": ewc, "decay": decay})
    pull = _pull(start, l2sp, ewc, decay)
    weights, task, old = start, [loss(start, TASK)], [loss(start, OLD)]
    for _ in range(steps):
        moved = _descend(weights, TASK, rate, replay, pull)
        if all(map(math.isfinite, moved.flat())):
            weights = moved
        task.append(loss(weights, TASK))
        old.append(loss(weights, OLD))
    return FineTuned(weights, tuple(task), tuple(old), diverged=task[-1] > task[0])


def best_rate(start: Weights, steps: int = 40, rates: Sequence[float] = RATES) -> float:
    """Return the rate of `rates` at which fine-tuning ends lowest on the new task."""
    return min(rates, key=lambda rate: fine_tune(start, rate, steps).task[-1])


def reach(start: Weights, rate: float, target: float, most: int = 500) -> FineTuned:
    """Fine-tune until the task loss is at most `target`, for at most so many steps."""
    found = fine_tune(start, rate, most)
    steps = next((step for step, reached in enumerate(found.task) if reached <= target), most)
    return fine_tune(start, rate, steps)


def fisher(weights: Weights, points: Points = REPLAY) -> list[float]:
    """Return the diagonal Fisher information of a curve: the mean of (∂y/∂θᵢ)² over its points.

    It is the diagonal Fisher information of a squared error.
    """
    found = [0.0] * len(weights.flat())
    for x, _ in points:
        found = [
            sum_ + slope * slope for sum_, slope in zip(found, _slopes(weights, x), strict=True)
        ]
    mean = sum(found) / len(found)
    return [value / mean for value in found]


@dataclass(frozen=True, slots=True)
class _Pull:
    """Towards `start`, each parameter as strongly as `back` says, and towards 0 by `decay`."""

    start: list[float]
    back: list[float]
    decay: float

    def after(self, values: list[float], rate: float) -> list[float]:
        """Return argmin over θ of ½ ‖θ − values‖² + rate · ½ (Σ backᵢ (θᵢ − startᵢ)² + decay
        ‖θ‖²).
        """
        return [
            (value + rate * back * start) / (1 + rate * (back + self.decay))
            for value, start, back in zip(values, self.start, self.back, strict=True)
        ]


def _pull(start: Weights, l2sp: float, ewc: float, decay: float) -> _Pull | None:
    if not (l2sp or ewc or decay):
        return None
    weights = fisher(start) if ewc else [0.0] * len(start.flat())
    return _Pull(start.flat(), [l2sp + ewc * weight for weight in weights], decay)


def _check(rate: float, steps: int, replay: float, pulls: dict[str, float]) -> None:
    if not 0 < rate < math.inf:
        raise PlanError("rate", rate, "it must be a number above 0", "try 0.1")
    if steps < 0:
        raise PlanError("steps", steps, "it must not be negative", "try 40")
    if not 0 <= replay <= 1:
        raise PlanError("replay", replay, "it must be a share, 0 … 1", "try 0.1")
    for name, strength in pulls.items():
        if not 0 <= strength < math.inf:
            raise PlanError(name, strength, "it must be a number, at least 0", "try 1")


def _active(weights: Weights, x: float) -> list[float]:
    units = zip(weights.into, weights.bias, strict=True)
    return [math.tanh(into * x + bias) for into, bias in units]


def _predict(weights: Weights, x: float) -> float:
    return weights.b + sum(map(float.__mul__, weights.out, _active(weights, x)))


def _slopes(weights: Weights, x: float) -> list[float]:
    """Return ∂y/∂θ in the order of `Weights.flat`."""
    active = _active(weights, x)
    inner = [out * (1 - unit * unit) for out, unit in zip(weights.out, active, strict=True)]
    return [*(slope * x for slope in inner), *inner, *active, 1.0]  # tanh' = 1 − tanh²


def gradient(weights: Weights, points: Points, share: float = 1.0) -> list[float]:
    """Return ∇ of `share` times the mean squared error over the points."""
    total = [0.0] * len(weights.flat())
    for x, y in points:
        error = share * 2 * (_predict(weights, x) - y) / len(points)  # d loss / d predicted
        slopes = _slopes(weights, x)
        total = [sum_ + error * slope for sum_, slope in zip(total, slopes, strict=True)]
    return total


def _descend(
    weights: Weights,
    points: Points,
    rate: float,
    replay: float = 0.0,
    pull: _Pull | None = None,
) -> Weights:
    """Return one step of gradient descent on the mean squared error over all points.

    Where steps overshoot, hundreds of them magnify a last bit, at a rate of 0.2 10¹⁰-fold. That
    bit differs between C libraries and between versions of `sum`; rounding drops it, so that the
    page bakes with one Python what its reader computes with another.
    """
    slopes = gradient(weights, points, 1 - replay)
    if replay:
        slopes = list(map(float.__add__, slopes, gradient(weights, REPLAY, replay)))
    steps = zip(weights.flat(), slopes, strict=True)
    moved = [value - rate * slope for value, slope in steps]
    updated = moved if pull is None else pull.after(moved, rate)
    return Weights.from_flat([round(value, DECIMALS) for value in updated])
