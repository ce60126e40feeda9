"""How sure a mean over held-out examples is: its interval by the bootstrap.

B. Efron, "Bootstrap methods: another look at the jackknife", 1979: values drawn with replacement
from those that were measured, as many as there are, give means whose spread is that of the mean.
Of two models that scored the same examples, the differences are drawn, example by example.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

RESAMPLES: Final = 2000
SHARE: Final = 0.95


class Interval(NamedTuple):
    """A mean, and where SHARE of the means of resampled values lie."""

    mean: float
    low: float
    high: float


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """Return the interval of the mean of some values, at least one; the same seed, the same."""
    draw = Random(seed)
    count = len(values)
    means = sorted(sum(draw.choices(values, k=count)) / count for _ in range(RESAMPLES))
    cut = int(RESAMPLES * (1 - SHARE) / 2)
    return Interval(sum(values) / count, means[cut], means[RESAMPLES - 1 - cut])


def paired_difference(before: Sequence[float], after: Sequence[float]) -> Interval:
    """Return the interval of the mean of `after` − `before`, scores of the same examples.

    Raises `ValueError` where they are not as many.
    """
    return bootstrap([b - a for a, b in zip(before, after, strict=True)])
