"""Seconds of a step by cause, and sentences on what bounds it and how sure the estimate is."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of one optimizer step on every GPU.

    matmuls   matmuls, and what collectives beside them slow them down
    attention  scores, softmax and their matmuls
    memory     norms, activation functions, additions, the loss: kernels that only read and write
    launches   gaps between kernels, and the host where it launches slower than the GPU computes
    update     the optimizer's
    host       states and activations that go to the host and back, as far as nothing hides it
    inside     waits for GPUs of the same machine
    between    waits for other machines
    bubbles    waits of a pipeline's ranks for each other
    """

    products: float
    attention: float
    memory: float
    launches: float
    update: float
    host: float
    inside: float
    between: float
    bubbles: float

    @property
    def seconds(self) -> float:
        """All of them."""
        return self.passes + self.update + self.host + self.communication + self.bubbles

    @property
    def passes(self) -> float:
        """What the forward and backward passes of all micro-batches take the GPU itself."""
        return self.products + self.attention + self.memory + self.launches

    @property
    def communication(self) -> float:
        """Waits for other GPUs, those of a pipeline apart."""
        return self.inside + self.between

    def parts(self) -> dict[str, float]:
        """Return the seconds by cause, the longest first, without those of 0."""
        found = {name: getattr(self, name) for name in CAUSES if getattr(self, name) > 0}
        return dict(sorted(found.items(), key=lambda item: -item[1]))


CAUSES: Final = {
    "products": "matmuls",
    "attention": "attention",
    "memory": "memory-bound kernels",
    "launches": "kernel launches",
    "update": "the optimizer step",
    "host": "CPU offload",
    "inside": "communication within a machine",
    "between": "communication between machines",
    "bubbles": "pipeline bubbles",
}
"""What each part of a step's time is spent on, or waits for."""


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
    """Return the cause that takes most of a step: "Bound by matmuls: three of four seconds."."""
    name, seconds = next(iter(found.parts().items()))
    share = seconds / found.seconds
    if share > _NEARLY_ALL:
        return f"Bound by {CAUSES[name]}: nearly every second."
    part = Fraction(share).limit_denominator(10)
    part = part or Fraction(1, 10)
    fraction = f"{_NUMBERS[part.numerator]} of {_NUMBERS[part.denominator]} seconds"
    second = next(iter(list(found.parts().items())[1:]), None)
    then = f", then {CAUSES[second[0]]}" if second and second[1] > 0.1 * found.seconds else ""
    return f"Bound by {CAUSES[name]}: {fraction}{then}."


def record_words() -> str:
    """Return the confidence of an estimate: what nine in ten published steps took of theirs."""
    return (
        f"nine in ten of {RECORD.rows} published steps took {RECORD.low:.2f} to {RECORD.high:.2f}"
        " times as long as estimated."
    )


def spent_words(found: StepTime) -> str:
    """Return the shares of a step by cause, the largest first, without those below a hundredth."""
    shares = {name: value / found.seconds for name, value in found.parts().items()}
    return ", ".join(
        f"{share:.0%} {CAUSES[name]}" for name, share in shares.items() if share >= 0.01
    )
