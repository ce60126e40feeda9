"""How numbers are written in memory: one bit of sign, then exponent, then mantissa.

A format with e bits of exponent and m of mantissa writes ±1.mantissa · 2^exponent: m decides how
far apart two neighbours are, e how far the numbers reach. Bits: IEEE 754-2019 (fp32, fp16); bf16
and tf32 are fp32 with fewer bits of mantissa; fp8 as in Micikevicius et al., arXiv 2209.05433,
whose E4M3 gives up infinity and all but one NaN for a larger range.
"""

from __future__ import annotations

import math
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
        """The distance from a number in reach to its next larger neighbour; PlanError beyond."""
        if not 0 <= abs(value) <= self.largest:
            bound = f"{self.name} reaches from −{self.largest:g} to {self.largest:g}"
            raise PlanError("value", value, bound, "choose one within")
        exponent = math.floor(math.log2(abs(value))) if value else 1 - self._bias
        return float(2.0 ** (max(exponent, 1 - self._bias) - self.mantissa_bits))

    def between(self, low: float, high: float) -> list[float]:
        """Every number of the format in [low, high]; 0 < low ≤ high of like size (one binade)."""
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
