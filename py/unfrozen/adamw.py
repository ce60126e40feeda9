"""AdamW by hand, in plain Python: Loshchilov & Hutter, arXiv 1711.05101.

The order of operations is that of `torch.optim.AdamW`; the runner's optimizer is tested against it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from unfrozen.errors import PlanError


@dataclass(slots=True)
class AdamW:
    """AdamW over a flat list of numbers, in the double precision of Python.

    lr, beta1, beta2, eps and weight_decay are those of `torch.optim.AdamW`; `step` counts updates.
    """

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    step: int = 0
    first: list[float] = field(default_factory=list)
    second: list[float] = field(default_factory=list)

    def update(self, weights: Sequence[float], gradients: Sequence[float]) -> list[float]:
        """Return the weights after one update. Raises PlanError if the lengths differ."""
        if len(weights) != len(gradients) or len(self.first) not in (0, len(weights)):
            bound = f"it must be {len(self.first) or len(weights)}, one gradient for each weight"
            raise PlanError("gradients", len(gradients), bound, "pass lists of the same length")
        self.first = self.first or [0.0] * len(weights)
        self.second = self.second or [0.0] * len(weights)
        self.step += 1
        correction1 = 1 - self.beta1**self.step
        correction2 = 1 - self.beta2**self.step
        updated = []
        for index, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            first = self.beta1 * self.first[index] + (1 - self.beta1) * gradient
            second = self.beta2 * self.second[index] + (1 - self.beta2) * gradient * gradient
            self.first[index], self.second[index] = first, second
            decayed = weight * (1 - self.lr * self.weight_decay)
            deviation = math.sqrt(second / correction2) + self.eps
            updated.append(decayed - self.lr * (first / correction1) / deviation)
        return updated
