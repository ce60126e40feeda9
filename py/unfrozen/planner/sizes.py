"""Bytes as the planner writes them: one unit throughout, and a scale with round marks."""

from __future__ import annotations

import math
from typing import Final

from unfrozen.units import GB, GIB, format_bytes, format_duration, sig3

_SCALES: Final = {"GiB": GIB, "GB": GB}
_NO_BREAK: Final = "\u00a0"
_ROUND: Final = (1, 2, 5, 10)
_LEAST_SHARE: Final = 0.1  # below a tenth of the unit a smaller unit reads better
_WANTED: Final = 5  # marks of a scale, about


def size_text(size_bytes: float, unit: str) -> str:
    """A size in GiB or GB, or in a smaller unit of that kind: "14.9 GiB", "512 KiB", "0 GiB"."""
    scale = _SCALES[unit]
    if size_bytes and abs(size_bytes) < _LEAST_SHARE * scale:
        return format_bytes(size_bytes, binary=unit == "GiB").replace(" ", _NO_BREAK)
    return f"{sig3(size_bytes / scale)}{_NO_BREAK}{unit}"


def scale(largest_bytes: float, unit: str) -> tuple[float, list[dict[str, object]]]:
    """Where a scale ends that holds `largest_bytes`, and its round marks from 0 on: their bytes,
    and their texts without unit.

    It ends at a mark or half-way to the next, so that it stands still while a slider moves.
    """
    size = _SCALES[unit]
    largest = max(largest_bytes / size, 1e-9)
    power = 10.0 ** math.floor(math.log10(largest / _WANTED))
    step = next(power * factor for factor in _ROUND if power * factor * _WANTED >= largest * 0.999)
    halves = math.ceil(largest / step * 2 * (1 - 1e-9))
    marks: list[dict[str, object]] = [
        {"bytes": index * step * size, "text": f"{index * step:,.6g}"}
        for index in range(halves // 2 + 1)
    ]
    return halves / 2 * step * size, marks


def share_text(part: float, whole: float) -> str:
    """A part of a whole in per cent: "12%", "0.4%"."""
    percent = 100 * part / whole if whole else 0.0
    digits = 0 if percent >= 10 or percent == 0 else 1
    return f"{percent:.{digits}f}%"


def duration_text(seconds: float) -> str:
    """A time that is not broken at the end of a line: "0.480 s", "3.20 min", "12.0 days"."""
    return format_duration(seconds).replace(" ", _NO_BREAK)
