"""AdamW over arrays, in the order of operations of `torch.optim.AdamW`.

Loshchilov & Hutter, arXiv 1711.05101, algorithm 2. The runner's optimizer is tested against this
file. Precision is that of the weights given: fp32 arrays stay fp32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Weights = dict[str, Array]


@dataclass(slots=True)
class AdamW:
    """One state for each named array; `step` counts updates.

    lr, beta1, beta2, eps and weight_decay are those of `torch.optim.AdamW`. Names in `undecayed`
    (norms, biases) are not decayed. `rate_shares` scales the rate of a name: discriminative rates.
    """

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    undecayed: frozenset[str] = frozenset()
    rate_shares: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    first: Weights = field(default_factory=dict)
    second: Weights = field(default_factory=dict)

    def update(self, weights: Weights, gradients: Weights, lr: float | None = None) -> Weights:
        """The weights after one update at rate `lr` (that of the optimizer if it is None)."""
        self.step += 1
        rate = self.lr if lr is None else lr
        return {
            name: self._updated(name, weights[name], gradient, rate)
            for name, gradient in gradients.items()
        }

    def _updated(self, name: str, weight: Array, gradient: Array, lr: float) -> Array:
        lr = lr * self.rate_shares.get(name, 1.0)
        first = self.first.get(name, np.zeros_like(weight))
        second = self.second.get(name, np.zeros_like(weight))
        first = self.beta1 * first + (1 - self.beta1) * gradient
        second = self.beta2 * second + (1 - self.beta2) * gradient * gradient
        self.first[name], self.second[name] = first, second
        decay = 0.0 if name in self.undecayed else self.weight_decay
        step_size = lr / (1 - self.beta1**self.step)
        deviation = np.sqrt(second) / math.sqrt(1 - self.beta2**self.step) + self.eps
        return weight * (1 - lr * decay) - step_size * first / deviation


def clipped(gradients: Weights, clip: float) -> tuple[Weights, float]:
    """Gradients divided by max(1, norm / clip), and their global L2 norm before; 0 never clips."""
    norm = float(np.sqrt(sum(float(np.sum(np.square(g, dtype=float))) for g in gradients.values())))
    scale = max(1.0, norm / clip) if clip > 0 else 1.0
    return {name: gradient / scale for name, gradient in gradients.items()}, norm
