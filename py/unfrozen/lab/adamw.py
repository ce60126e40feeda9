"""AdamW over arrays, in the order of operations of `torch.optim.AdamW`.

Loshchilov & Hutter, arXiv 1711.05101, algorithm 2. The runner's optimizer is tested against this
file. Precision is that of the weights given: fp32 arrays stay fp32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Weights = dict[str, Array]
BLOCK: Final = 2048


@dataclass(slots=True)
class ArrayAdamW:
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
        moved = {name: weights[name].copy() for name in gradients}
        self.move(moved, gradients, lr)
        return moved

    def move(self, weights: Weights, gradients: Weights, lr: float | None = None) -> None:
        """The same update in place, BLOCK numbers at a time: little is held beside the states."""
        self.step += 1
        rate = self.lr if lr is None else lr
        for name, gradient in gradients.items():
            if name not in self.first:
                self.first[name], self.second[name] = (np.zeros_like(gradient) for _ in range(2))
            decay = 0.0 if name in self.undecayed else self.weight_decay
            states = self.first[name], self.second[name]
            arrays = [array.reshape(-1) for array in (weights[name], gradient, *states)]
            for start in range(0, gradient.size, BLOCK):
                block = slice(start, start + BLOCK)
                weight, slope, m, v = (array[block] for array in arrays)
                self._move(weight, slope, m, v, rate * self.rate_shares.get(name, 1.0), decay)

    def _move(
        self, weight: Array, gradient: Array, first: Array, second: Array, lr: float, decay: float
    ) -> None:
        first[:] = self.beta1 * first + (1 - self.beta1) * gradient
        second[:] = self.beta2 * second + (1 - self.beta2) * gradient * gradient
        step_size = lr / (1 - self.beta1**self.step)
        deviation = np.sqrt(second) / math.sqrt(1 - self.beta2**self.step) + self.eps
        weight[:] = weight * (1 - lr * decay) - step_size * first / deviation


def norm(gradients: Weights) -> float:
    """The L2 norm of all gradients together, added up in fp64, BLOCK numbers at a time."""
    blocks = (
        array.reshape(-1)[start : start + BLOCK]
        for array in gradients.values()
        for start in range(0, array.size, BLOCK)
    )
    return math.sqrt(sum(float(np.square(block, dtype=float).sum()) for block in blocks))


def clipped(gradients: Weights, clip: float) -> tuple[Weights, float]:
    """Gradients divided by max(1, norm / clip), and their global L2 norm before; 0 never clips."""
    length = norm(gradients)
    scale = max(1.0, length / clip) if clip > 0 else 1.0
    return {name: gradient / scale for name, gradient in gradients.items()}, length
