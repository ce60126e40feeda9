"""Seconds of a step by cause, and sentences on what bounds it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final


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


def spent_words(found: StepTime) -> str:
    """Return the shares of a step by cause, the largest first, without those below a hundredth."""
    shares = {name: value / found.seconds for name, value in found.parts().items()}
    return ", ".join(
        f"{share:.0%} {CAUSES[name]}" for name, share in shares.items() if share >= 0.01
    )
