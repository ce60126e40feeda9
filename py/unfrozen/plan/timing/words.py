"""What binds a step, in a sentence, and how far real steps lie from the estimate."""

from __future__ import annotations

from fractions import Fraction
from typing import Final, NamedTuple

from unfrozen.plan.timing.parts import CAUSES, StepTime


class Record(NamedTuple):
    """How published steps lie beside their estimates; see tests/unfrozen/plan/test_speed_record.py.

    `rows` steps; `median` of the errors without sign, `nine_in_ten` of them are smaller than that,
    as ratios of the measured speed; `low` and `high`: what nine in ten steps took, of the estimate.
    """

    rows: int
    median: float
    nine_in_ten: float
    low: float
    high: float


RECORD: Final = Record(rows=189, median=0.063, nine_in_ten=0.294, low=0.905, high=1.528)
"""Computed from web/measurements/speeds_later.json; a test computes it again and compares."""

_NUMBERS: Final = (
    *("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
)
_NEARLY_ALL: Final = 0.95


def bound_words(found: StepTime) -> str:
    """The cause that takes most of a step: "Bound by matrix products: three of four seconds."."""
    name, seconds = next(iter(found.parts().items()))
    share = seconds / found.seconds
    if share > _NEARLY_ALL:
        return f"Bound by {CAUSES[name]}: nearly every second."
    part = Fraction(share).limit_denominator(10)
    part = part or Fraction(1, 10)
    told = f"{_NUMBERS[part.numerator]} of {_NUMBERS[part.denominator]} seconds"
    second = next(iter(list(found.parts().items())[1:]), None)
    then = f", then {CAUSES[second[0]]}" if second and second[1] > 0.1 * found.seconds else ""
    return f"Bound by {CAUSES[name]}: {told}{then}."


def record_words() -> str:
    """How sure an estimate is: what nine in ten published steps took of theirs."""
    return (
        f"nine in ten of {RECORD.rows} published steps took {RECORD.low:.2f} to {RECORD.high:.2f}"
        " times as long as estimated."
    )


def spent_words(found: StepTime) -> str:
    """Shares of a step by cause, the largest first; what takes less than a hundredth left out."""
    shares = {name: value / found.seconds for name, value in found.parts().items()}
    return ", ".join(
        f"{share:.0%} {CAUSES[name]}" for name, share in shares.items() if share >= 0.01
    )
