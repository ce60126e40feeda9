"""AdamW by hand, and why a small update of a bf16 weight often changes nothing.

The step follows Loshchilov & Hutter, arXiv 1711.05101, in the order of operations of
`torch.optim.AdamW`; the trainer's optimizer is tested against it. bf16 keeps 8 significant bits: a
weight moves only if the update reaches half the distance to its neighbour, about 2^−8 of its size.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Final

from unfrozen.errors import PlanError

WEIGHT_DEVIATION: Final = 0.02
"""Standard deviation with which most language models begin: GPT-2's, and the default of
`initializer_range` in transformers. Training widens it, more or less."""
SMOLLM2_DEVIATION: Final = 0.183
"""… of the weights of SmolLM2-135M-Instruct after training, by its 4-bit file."""
SMOLLM2_MOVED: Final = 0.041
"""Share of those weights that an update of 2e-5 changes in bf16; tests/gpu_runner/test_smollm2.py
measures both."""


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
        """The weights after one update. Raises PlanError if the lengths differ."""
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


def round_to_bf16(value: float) -> float:
    """The nearest bf16 number, ties to even; infinities and NaN stay what they are.

    The number is rounded to fp32 first, as a tensor would be.
    """
    if not math.isfinite(value):
        return value
    try:
        bits = int(struct.unpack("<I", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)
    bits += 0x7FFF + ((bits >> 16) & 1)
    return float(struct.unpack("<f", struct.pack("<I", bits & 0xFFFF0000))[0])


def moved_share(lr: float, samples: int = 4000, deviation: float = WEIGHT_DEVIATION) -> float:
    """Share of N(0, deviation²) bf16 weights that an update of ±lr changes.

    AdamW's updates have at most about the size of the rate; shorter ones move fewer. The weights
    are the quantiles of the distribution, so the answer involves no chance. Raises PlanError
    unless lr > 0 and samples ≥ 1.
    """
    if not 0 < lr < math.inf:
        raise PlanError("lr", lr, "it must be a number above 0", "try 2e-5")
    if samples < 1:
        raise PlanError("samples", samples, "it must be at least 1", "try 4000")
    normal = NormalDist(0.0, deviation)
    moved = 0
    for index in range(samples):
        weight = round_to_bf16(normal.inv_cdf((index + 0.5) / samples))
        moved += round_to_bf16(weight + lr) != weight
        moved += round_to_bf16(weight - lr) != weight
    return moved / (2 * samples)


def stall_share(lr: float, samples: int = 4000, deviation: float = WEIGHT_DEVIATION) -> float:
    """Share of bf16 weights that an update of ±lr leaves as they are: 1 − `moved_share`."""
    return 1 - moved_share(lr, samples, deviation)
