"""Held-out examples: how greedy decoding answers them, and how sure a mean over them is.

Of a row it is known which of its trained tokens are the likeliest where all tokens before are
given. If all of them are, greedy decoding writes the completion and ends; if only the last, the
end, is not, it writes on. So a forward pass tells, and nothing is generated.

The interval of a mean is by the bootstrap (B. Efron, "Bootstrap methods: another look at the
jackknife", 1979): values drawn with replacement from those that were measured, as many as there
are, give means whose spread is that of the mean. Of two models that scored the same examples, the
differences are drawn, example by example.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Final, NamedTuple

RESAMPLES: Final = 2000
SHARE: Final = 0.95


class ExactMatch(NamedTuple):
    """Rows by how they are answered."""

    right: int = 0
    does_not_stop: int = 0
    """The completion is right, and the model writes on where it should end."""
    wrong: int = 0

    @classmethod
    def of(cls, rows: Iterable[Sequence[bool]]) -> ExactMatch:
        """Count rows, given as whether each of their trained tokens is the likeliest."""
        right = does_not_stop = wrong = 0
        for hits in rows:
            if all(hits):
                right += 1
            elif all(hits[:-1]):
                does_not_stop += 1
            else:
                wrong += 1
        return cls(right, does_not_stop, wrong)

    def __add__(self, other: object) -> ExactMatch:
        """Return the rows of both."""
        if not isinstance(other, ExactMatch):
            return NotImplemented
        return ExactMatch(*(a + b for a, b in zip(self, other, strict=True)))

    def as_json(self) -> dict[str, int]:
        """Return the counts by name, with `of`, how many rows there are."""
        return self._asdict() | {"of": sum(self)}


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
