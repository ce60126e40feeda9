"""Floating-point formats, rounding to bf16, and the bf16 weights that an update does not change.

A format with e bits of exponent and m of mantissa writes ±1.mantissa · 2^exponent: m decides how
far apart two neighbours are, e how far the numbers reach. Bits: IEEE 754-2019 (fp32, fp16); bf16
and tf32 are fp32 with fewer bits of mantissa; fp8 as in Micikevicius et al., arXiv 2209.05433,
whose E4M3 gives up infinity and all but one NaN for a larger range.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

from unfrozen.errors import PlanError


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """A binary floating-point format; `infinite` where the largest exponent means infinity, NaN."""

    name: str
    exponent_bits: int
    mantissa_bits: int
    infinite: bool = True

    @property
    def bits(self) -> int:
        """Bits that carry the number."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def smallest(self) -> float:
        """The smallest positive number that has all its bits of mantissa."""
        return 2.0 ** (1 - self._bias)

    @property
    def largest(self) -> float:
        """The largest number."""
        gap = 2.0**-self.mantissa_bits
        if self.infinite:
            return float((2 - gap) * 2.0**self._bias)
        return float((2 - 2 * gap) * 2.0 ** (self._bias + 1))

    def gap(self, value: float) -> float:
        """Return the distance from a number to the next larger one; PlanError out of range."""
        if not 0 <= abs(value) <= self.largest:
            bound = f"{self.name} reaches from −{self.largest:g} to {self.largest:g}"
            raise PlanError("value", value, bound, "choose one within")
        exponent = math.floor(math.log2(abs(value))) if value else 1 - self._bias
        return float(2.0 ** (max(exponent, 1 - self._bias) - self.mantissa_bits))

    def between(self, low: float, high: float) -> list[float]:
        """Return every number of the format in [low, high]; 0 < low ≤ high in one binade."""
        gap = self.gap(low)
        first, last = math.ceil(low / gap), math.floor(high / gap)
        return [index * gap for index in range(first, last + 1)]

    @property
    def _bias(self) -> int:
        return int(2 ** (self.exponent_bits - 1)) - 1


FORMATS: Final = (
    NumberFormat("fp32", 8, 23),
    NumberFormat("tf32", 8, 10),
    NumberFormat("bf16", 8, 7),
    NumberFormat("fp16", 5, 10),
    NumberFormat("fp8 e4m3", 4, 3, infinite=False),
    NumberFormat("fp8 e5m2", 5, 2),
)

WEIGHT_DEVIATION: Final = 0.02
"""Standard deviation with which most language models begin: GPT-2's, and the default of
`initializer_range` in transformers. Training widens it, more or less."""
SMOLLM2_DEVIATION: Final = 0.183
"""… of the weights of SmolLM2-135M-Instruct after training, by its 4-bit file."""
SMOLLM2_MOVED: Final = 0.041
"""Share of those weights that an update of 2e-5 changes in bf16; tests/gpu_runner/test_smollm2.py
measures both."""


def round_to_bf16(value: float) -> float:
    """Return the nearest bf16 number, ties to even; infinities and NaN stay what they are.

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
    """Return the share of N(0, deviation²) bf16 weights that an update of ±lr changes.

    AdamW's updates have at most about the size of the rate; shorter ones move fewer. The weights
    are the quantiles of the distribution, so the answer involves no chance. Raises PlanError
    unless lr > 0 and samples ≥ 1.
    """
    if not 0 < lr < math.inf:
        raise PlanError("lr", lr, "it must be a number above 0", "try 2e-5")
    if samples < 1:
        raise PlanError("samples", samples, "it must be at least 1", "try 4000")
    from statistics import NormalDist  # few ask for it, and its import takes long

    normal = NormalDist(0.0, deviation)
    moved = 0
    for index in range(samples):
        weight = round_to_bf16(normal.inv_cdf((index + 0.5) / samples))
        moved += round_to_bf16(weight + lr) != weight
        moved += round_to_bf16(weight - lr) != weight
    return moved / (2 * samples)


def stall_share(lr: float, samples: int = 4000, deviation: float = WEIGHT_DEVIATION) -> float:
    """Return the share of bf16 weights that an update of ±lr leaves: 1 − `moved_share`."""
    return 1 - moved_share(lr, samples, deviation)
