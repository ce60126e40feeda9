"""Bytes as the planner writes them: one unit throughout, and a scale with round marks."""

from __future__ import annotations

import math
from typing import Final

from unfrozen.units import GB, GIB, format_bytes, sig3

_SCALES: Final = {"GiB": GIB, "GB": GB}
_NO_BREAK: Final = "\u00a0"
_ROUND: Final = (1, 2, 5, 10)
_LEAST_SHARE: Final = 0.01  # below a hundredth of the unit a smaller unit reads better


def size_text(size_bytes: float, unit: str) -> str:
    """A size in GiB or GB, or in a smaller unit of that kind: "14.9 GiB", "512 KiB", "0 GiB"."""
    scale = _SCALES[unit]
    if size_bytes and abs(size_bytes) < _LEAST_SHARE * scale:
        return format_bytes(size_bytes, binary=unit == "GiB").replace(" ", _NO_BREAK)
    return f"{sig3(size_bytes / scale)}{_NO_BREAK}{unit}"


def marks(most_bytes: float, unit: str, wanted: int = 5) -> list[dict[str, object]]:
    """Round marks from 0 to at most `most_bytes`: their bytes, and their texts without unit."""
    scale = _SCALES[unit]
    most = max(most_bytes / scale, 1e-9)
    power = 10.0 ** math.floor(math.log10(most / wanted))
    step = next(power * factor for factor in _ROUND if power * factor * wanted >= most * 0.999)
    count = math.floor(most / step * (1 + 1e-9))
    return [
        {"bytes": index * step * scale, "text": f"{index * step:,.6g}"}
        for index in range(count + 1)
    ]


def share_text(part: float, whole: float) -> str:
    """A part of a whole in per cent: "12 %", "0.4 %"."""
    percent = 100 * part / whole if whole else 0.0
    digits = 0 if percent >= 10 or percent == 0 else 1
    return f"{percent:.{digits}f}{_NO_BREAK}%"
