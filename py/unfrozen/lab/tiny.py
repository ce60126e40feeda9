"""A network of one hidden layer that is pre-trained, fine-tuned, and forgets.

It learns one curve, y = sin(3x) over −1 … 1 (the general task), and is then fine-tuned on a few
points of another in the right half (the new task): there the curve is lifted. What it knew of the
left half is never shown again. Plain gradient descent, as in θ ← θ − η ∇L, in plain Python; every
number follows from the seed.
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

RATES: Final = tuple(10 ** (-3 + index * 4 / 11) for index in range(12))  # 0.001 … 10

Points = tuple[tuple[float, float], ...]

GENERAL: Final[Points] = tuple((x / 8, math.sin(3 * x / 8)) for x in range(-8, 9))
TASK: Final[Points] = tuple((x / 8, 0.6 + math.sin(3 * x / 8)) for x in range(2, 9))


@dataclass(frozen=True, slots=True)
class Weights:
    """y = b + Σ_j out_j · tanh(into_j · x + bias_j)."""

    into: tuple[float, ...]
    bias: tuple[float, ...]
    out: tuple[float, ...]
    b: float

    def flat(self) -> list[float]:
        """All parameters in one list."""
        return [*self.into, *self.bias, *self.out, self.b]


@dataclass(frozen=True, slots=True)
class FineTune:
    """Losses before and after each step: entry 0 belongs to the weights it started from."""

    weights: Weights
    task: tuple[float, ...]
    general: tuple[float, ...]
    diverged: bool


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """Where fine-tuning at one rate ends, from θ₀ and from random weights."""

    rate: float
    task_loss: float
    general_loss: float
    scratch_task_loss: float
    drift: float  # ‖θ − θ₀‖ / ‖θ₀‖
    diverged: bool


def random_weights(seed: int = 0) -> Weights:
    """Weights nobody has trained."""
    draw = random.Random(seed)
    into = tuple(draw.gauss(0, 2) for _ in range(HIDDEN))
    bias = tuple(draw.gauss(0, 1) for _ in range(HIDDEN))
    out = tuple(draw.gauss(0, 1 / math.sqrt(HIDDEN)) for _ in range(HIDDEN))
    return Weights(into, bias, out, 0.0)


@cache
def pretrained(seed: int = 0) -> Weights:
    """θ₀: random weights trained on the general task."""
    weights = random_weights(seed)
    for _ in range(PRETRAINING_STEPS):
        weights = _descend(weights, GENERAL, PRETRAINING_RATE)
    return weights


def loss(weights: Weights, points: Points) -> float:
    """Mean squared error, at most `CEILING`."""
    errors = [_predict(weights, x) - y for x, y in points]
    mean = sum(error * error for error in errors) / len(points)  # `** 2` would raise, not overflow
    return mean if mean < CEILING else CEILING  # NaN compares false


def fine_tune(start: Weights, rate: float, steps: int = 40) -> FineTune:
    """Train every parameter on the new task. Raises PlanError unless rate > 0 and steps ≥ 0."""
    if not 0 < rate < math.inf:
        raise PlanError("rate", rate, "it must be a number above 0", "try 0.1")
    if steps < 0:
        raise PlanError("steps", steps, "it must not be negative", "try 40")
    weights, task, general = start, [loss(start, TASK)], [loss(start, GENERAL)]
    for _ in range(steps):
        moved = _descend(weights, TASK, rate)
        if all(map(math.isfinite, moved.flat())):
            weights = moved
        task.append(loss(weights, TASK))
        general.append(loss(weights, GENERAL))
    return FineTune(weights, tuple(task), tuple(general), diverged=task[-1] > task[0])


def sweep(rates: Sequence[float] = RATES, steps: int = 40, seed: int = 0) -> list[SweepPoint]:
    """Fine-tune once for each rate, from θ₀ and from random weights."""
    start, scratch = pretrained(seed), random_weights(seed + 1)
    found = []
    for rate in rates:
        tuned = fine_tune(start, rate, steps)
        found.append(
            SweepPoint(
                rate=rate,
                task_loss=tuned.task[-1],
                general_loss=tuned.general[-1],
                scratch_task_loss=fine_tune(scratch, rate, steps).task[-1],
                drift=drift(start, tuned.weights),
                diverged=tuned.diverged,
            )
        )
    return found


def drift(start: Weights, end: Weights) -> float:
    """‖θ − θ₀‖ / ‖θ₀‖ over all parameters, at most `CEILING`."""
    moved = math.dist(start.flat(), end.flat())
    return min(moved / math.hypot(*start.flat()), CEILING)


def _predict(weights: Weights, x: float) -> float:
    units = zip(weights.into, weights.bias, weights.out, strict=True)
    return weights.b + sum(out * math.tanh(into * x + bias) for into, bias, out in units)


def _descend(weights: Weights, points: Points, rate: float) -> Weights:
    """One step of gradient descent on the mean squared error over all points.

    Where steps overshoot, hundreds of them magnify a last bit, at a rate of 0.2 10¹⁰-fold. That
    bit differs between C libraries and between versions of `sum`; rounding drops it, so that the
    page bakes with one Python what its reader computes with another.
    """
    size = len(weights.into)
    d_into, d_bias, d_out, d_b = [0.0] * size, [0.0] * size, [0.0] * size, 0.0
    for x, y in points:
        active = [
            math.tanh(into * x + bias)
            for into, bias in zip(weights.into, weights.bias, strict=True)
        ]
        predicted = weights.b + sum(map(float.__mul__, weights.out, active))
        slope = 2 * (predicted - y) / len(points)  # d loss / d predicted
        d_b += slope
        for j, (unit, out) in enumerate(zip(active, weights.out, strict=True)):
            d_out[j] += slope * unit
            inner = slope * out * (1 - unit * unit)  # tanh' = 1 − tanh²
            d_bias[j] += inner
            d_into[j] += inner * x

    def moved(values: tuple[float, ...], gradients: list[float]) -> tuple[float, ...]:
        steps = zip(values, gradients, strict=True)
        return tuple(round(value - rate * slope, DECIMALS) for value, slope in steps)

    return Weights(
        moved(weights.into, d_into),
        moved(weights.bias, d_bias),
        moved(weights.out, d_out),
        round(weights.b - rate * d_b, DECIMALS),
    )
