"""Formats numbers for prose, with no more digits than needed and a no-break space before the unit.

Amounts have three significant digits, percentages two unless the text asks for more.
"""

from __future__ import annotations

import math

from unfrozen import units
from unfrozen.units import GB, format_power, sig3

NO_BREAK = "\u00a0"
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"))


def gb(size_bytes: float) -> str:
    """Return bytes in decimal gigabytes: 112e9 → "112 GB"."""
    return f"{trimmed(size_bytes / GB)}{NO_BREAK}GB"


def gib(size_bytes: float) -> str:
    """Return bytes in binary gibibytes: 80 · 2^30 → "80 GiB"."""
    return f"{trimmed(units.gib(size_bytes))}{NO_BREAK}GiB"


def mb(size_bytes: float) -> str:
    """Return bytes in decimal megabytes: 2916023 → "2.92 MB"."""
    return f"{trimmed(size_bytes / 1e6)}{NO_BREAK}MB"


def trimmed(value: float) -> str:
    """Return three significant digits without trailing zeros: 3.00 → "3", 16.10 → "16.1"."""
    text = sig3(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(ratio: float, digits: int = 2) -> str:
    """Return a ratio in per cent: 0.462 → "46%", 0.0737 → "7.4%", 0.03 → "3%".

    The digits before the point are never cut: 1.123 → "112%".
    """
    shown = 100 * ratio
    size = math.floor(math.log10(abs(float(f"{shown:.{digits - 1}e}")))) if shown else 0
    text = f"{shown:,.{max(0, digits - 1 - size)}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}%"


def times(ratio: float) -> str:
    """Return a factor: 2.54 → "2.54×"."""
    return f"{trimmed(ratio)}×"


def count(number: float) -> str:
    """Return a count with three significant digits: 7e9 → "7 billion", 36703 → "36,700"."""
    for scale, word in _SCALES:
        if number >= scale:
            return f"{trimmed(number / scale)}{NO_BREAK}{word}"
    return f"{float(f'{number:.3g}'):,.0f}"


def word(number: float) -> str:
    """Return a small whole number as a word: 3 → "three", 15 → "15"."""
    whole = round(number)
    return _WORDS[whole] if 0 <= whole < len(_WORDS) else f"{whole:,}"


def rate(value: float) -> str:
    """Return a learning rate as a power of ten: 1e-5 → "10⁻⁵", 2e-5 → "2 × 10⁻⁵"."""
    return format_power(value, 2, space=NO_BREAK)
