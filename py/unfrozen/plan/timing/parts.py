"""A step's seconds by cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of one optimizer step on every card.

    products   matrix products, and what collectives beside them slow them down
    attention  scores, softmax and their products
    memory     norms, activation functions, additions, the loss: kernels that only read and write
    launches   gaps between kernels, and the host where it launches slower than the card computes
    update     the optimizer's
    host       states and activations that go to the host and back, as far as nothing hides it
    inside     waits for cards of the same machine
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
        """What the forward and backward passes of all micro-batches take the card itself."""
        return self.products + self.attention + self.memory + self.launches

    @property
    def communication(self) -> float:
        """Waits for other cards, those of a pipeline apart."""
        return self.inside + self.between

    def parts(self) -> dict[str, float]:
        """Seconds by cause, those that take none left out, the longest first."""
        found = {name: getattr(self, name) for name in CAUSES if getattr(self, name) > 0}
        return dict(sorted(found.items(), key=lambda item: -item[1]))


CAUSES: Final = {
    "products": "matrix products",
    "attention": "attention",
    "memory": "kernels that only read and write memory",
    "launches": "launching kernels",
    "update": "the optimizer's update",
    "host": "transfers to the host and its update",
    "inside": "cards of the same machine",
    "between": "the network between machines",
    "bubbles": "bubbles of the pipeline",
}
"""What each part of a step's time is spent on, or waits for."""
