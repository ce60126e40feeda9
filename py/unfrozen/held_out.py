"""Held-out examples: how greedy decoding answers them, and how sure a mean over them is.

Of a row it is known which of its trained tokens are the likeliest where all tokens before are
given. If all of them are, greedy decoding writes the completion and ends; if only the last, the
end, is not, it writes on. So a forward pass tells, and nothing is generated.

A share of right answers has Wilson's interval (E. B. Wilson, "Probable inference", 1927). A
change of it over the same examples has Tango's ("Equivalence test and confidence interval for the
difference in proportions for the paired-sample design", 1998), made wider to hold 0 unless
McNemar's exact test rejects no change. Neither is a point where all rows are alike.

The interval of another mean is by the bootstrap (B. Efron, "Bootstrap methods: another look at the
jackknife", 1979): values drawn with replacement from those that were measured, as many as there
are, give means whose spread is that of the mean. Of two models that scored the same examples, the
differences are drawn, example by example. A single value has no spread, and no interval.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from random import Random
from statistics import NormalDist
from typing import Final, NamedTuple

__all__ = ["paired_differences"]  # what the page asks for, see `unfrozen.ask`

RESAMPLES: Final = 2000
MOST_DRAWN: Final = 10_000
"""Of more values the mean is normal, and its interval that of the central limit theorem."""
SHARE: Final = 0.95
METHOD: Final = (
    "Wilson's for a share and Tango's for its change over the same rows, which holds 0 unless"
    " McNemar's exact test rejects no change; by the bootstrap over rows for other means"
)
"""Whose the intervals are, for a person."""
_Z: Final = NormalDist().inv_cdf((1 + SHARE) / 2)
_HALVINGS: Final = 50


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

    def as_json(self) -> dict[str, object]:
        """Return the counts by name, `of` how many rows, and the interval of the share of right."""
        rows = sum(self)
        counts: dict[str, object] = {**self._asdict(), "of": rows}
        if rows:
            _, low, high = share_interval(self.right, rows)
            counts["interval"] = [round(low, 6), round(high, 6)]
        return counts


def fingerprint(examples: Iterable[tuple[Sequence[int], Sequence[bool]]]) -> str:
    """Return the SHA-256 of examples in order: of their tokens, and of which of them are trained.

    Two sets with the same one are the same examples as a model reads them, row by row.
    """
    digest = hashlib.sha256()
    for ids, trained in examples:
        digest.update(repr((tuple(ids), tuple(trained))).encode())
    return digest.hexdigest()


def together(fingerprints: Iterable[str]) -> str:
    """Return the fingerprint of several sets, in whichever order they come."""
    return hashlib.sha256(" ".join(sorted(fingerprints)).encode()).hexdigest()


class Interval(NamedTuple):
    """A mean, and between which values it lies with a confidence of SHARE."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Return the interval of the mean of some values, a share if all are 0 or 1; None of too few.

    One right or wrong answer is enough, of other values it takes two.
    """
    if values and _are_answers(values):
        return share_interval(int(sum(values)), len(values))
    return _bootstrap(values) if len(values) > 1 else None


def paired_difference(before: Sequence[float], after: Sequence[float]) -> Interval | None:
    """Return the interval of the mean of `after` − `before`, scores of the same examples.

    None of too few, as `mean_interval`. Raises `ValueError` where they are not as many.
    """
    pairs = list(zip(before, after, strict=True))
    if pairs and _are_answers((*before, *after)):
        return share_change(pairs.count((0, 1)), pairs.count((1, 0)), len(pairs))
    differences = [b - a for a, b in pairs]
    return _bootstrap(differences) if len(differences) > 1 else None


def paired_differences(
    pairs: Iterable[tuple[Sequence[float], Sequence[float]]],
) -> list[dict[str, float] | None]:
    """Return for each pair of scores what `paired_difference` says of them, as plain data."""
    found = (paired_difference(before, after) for before, after in pairs)
    return [each and each._asdict() for each in found]


def share_interval(right: int, rows: int) -> Interval:
    """Return the share of rows that are right, with Wilson's interval; of at least one row."""
    share, square = right / rows, _Z * _Z / rows
    half = _Z * math.sqrt(share * (1 - share) / rows + square / (4 * rows))
    ends = [(share + square / 2 + side) / (1 + square) for side in (-half, half)]
    return Interval(share, max(0.0, min(ends[0], share)), min(1.0, max(ends[1], share)))


def share_change(won: int, lost: int, rows: int) -> Interval:
    """Return by how much the share of right rows changed, of which some are won and some lost."""
    change = (won - lost) / rows

    def score(by: float) -> float:
        """Return how far the change lies above `by`, in standard errors of such a change."""
        b = (2 * rows - won + lost) * by - won - lost
        root = math.sqrt(max(0.0, b * b + 8 * rows * lost * by * (1 - by)))
        variance = rows * (2 * (root - b) / (4 * rows) + by * (1 - by))
        return (won - lost - rows * by) / math.sqrt(variance) if variance > 0 else math.inf

    low = _crossing(lambda by: score(by) > _Z, -1.0, change)
    high = _crossing(lambda by: score(by) >= -_Z, change, 1.0)
    if mcnemar(won, lost) > 1 - SHARE:
        low, high = min(low, 0.0), max(high, 0.0)
    return Interval(change, low, high)


def mcnemar(won: int, lost: int) -> float:
    """Return how probable it is that chance alone parts changed rows so unevenly (two-sided).

    McNemar's test in its exact form: each of them is won or lost as a coin falls.
    """
    changed, fewer = won + lost, min(won, lost)
    ways = total = 1
    for count in range(fewer):
        ways = ways * (changed - count) // (count + 1)
        total += ways
    return min(1.0, float(2 * total / 2**changed))


def _crossing(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return where what holds at `low` ends, at `high` at the latest."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return high


def _are_answers(values: Iterable[float]) -> bool:
    return {*values} <= {0.0, 1.0}


def _bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """Return the interval of the mean of some values, at least one; the same seed, the same."""
    count = len(values)
    if count > MOST_DRAWN:
        mean = math.fsum(values) / count
        spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
        half = _Z * spread / math.sqrt(count)
        return Interval(mean, mean - half, mean + half)
    draw = Random(seed)
    means = sorted(sum(draw.choices(values, k=count)) / count for _ in range(RESAMPLES))
    cut = int(RESAMPLES * (1 - SHARE) / 2)
    return Interval(sum(values) / count, means[cut], means[RESAMPLES - 1 - cut])
