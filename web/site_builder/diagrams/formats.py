"""Number formats: how 16 or 32 bits are spent, how far they reach, and where the neighbours are.

The strip is a stretch of the number line round 0.02, a few gaps of bf16 long; each tick is a number
that the format can hold. A step of a usual fine-tuning rate is drawn to the same scale.
"""

from __future__ import annotations

import math
from typing import Any, Final

from site_builder.diagrams.canvas import render, short
from site_builder.formats import NO_BREAK
from unfrozen.number_formats import FORMATS, WEIGHT_DEVIATION, NumberFormat
from unfrozen.units import format_power

STEP: Final = 2e-5
GAPS: Final = 5
MOST_TICKS: Final = 100
WIDEST: Final = 32


def draw_formats() -> str:
    """The diagram."""
    bf16 = next(found for found in FORMATS if found.name == "bf16")
    gap = bf16.gap(WEIGHT_DEVIATION)
    low = int(WEIGHT_DEVIATION / gap) * gap - gap
    high = low + GAPS * gap
    rows = [_row(found, low, high) for found in FORMATS]
    ruler = {"width": short(100 * STEP / (high - low)), "words": f"a step of {power(STEP)}"}
    return render("formats.html.j2", rows=rows, ruler=ruler, low=f"{low:.4f}", high=f"{high:.4f}")


def power(value: float) -> str:
    """A positive number of any size: 448 → "448", 65504 → "65,504", 3.4e38 → "3.4 × 10³⁸"."""
    if 1e-3 <= value < 1e6:
        return f"{value:.3g}" if value < 1 else f"{value:,.0f}"
    return format_power(value, 1, space=NO_BREAK)


def _row(found: NumberFormat, low: float, high: float) -> dict[str, Any]:
    gap = found.gap(WEIGHT_DEVIATION)
    solid = (high - low) / gap > MOST_TICKS
    numbers = [] if solid else found.between(low, high)
    there = f"{len(numbers)}{NO_BREAK}numbers"
    if solid:
        there = f"{(high - low) / gap:,.0f}{NO_BREAK}numbers"
    elif not numbers:
        below, above = math.floor(low / gap) * gap, math.ceil(high / gap) * gap
        there = f"none: the next are {power(below)} and {power(above)}"
    fields = (("sign", 1), ("exponent", found.exponent_bits), ("mantissa", found.mantissa_bits))
    parts, start = [], 0
    for name, bits in fields:
        cells = "".join(f"M{start + i + 0.06:g},0h.88v1h-.88z" for i in range(bits))
        label = short(100 * (start + bits / 2) / WIDEST)
        parts.append({"name": name, "bits": bits, "cells": cells, "x": label})
        start += bits
    return {
        "name": found.name,
        "parts": parts,
        "bits_say": (
            f"{found.bits} bits: 1 of sign, {found.exponent_bits} of exponent, "
            f"{found.mantissa_bits} of mantissa"
        ),
        "largest": power(found.largest),
        "smallest": power(found.smallest),
        "gap": power(gap),
        "solid": solid,
        "ticks": [short(100 * (number - low) / (high - low)) for number in numbers],
        "there": there,
    }
