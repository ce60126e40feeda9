"""How a number looks in prose: three significant digits, its unit named, never split from it."""

from __future__ import annotations

from unfrozen.units import GB, GIB, sig3

NO_BREAK = "\u00a0"
NARROW_NO_BREAK = "\u202f"
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"))


def gb(size_bytes: float) -> str:
    """Bytes in decimal gigabytes: 112e9 → "112 GB"."""
    return f"{trimmed(size_bytes / GB)}{NO_BREAK}GB"


def gib(size_bytes: float) -> str:
    """Bytes in binary gibibytes: 80 · 2^30 → "80 GiB"."""
    return f"{trimmed(size_bytes / GIB)}{NO_BREAK}GiB"


def mb(size_bytes: float) -> str:
    """Bytes in decimal megabytes: 2916023 → "2.92 MB"."""
    return f"{trimmed(size_bytes / 1e6)}{NO_BREAK}MB"


def kb(size_bytes: float) -> str:
    """Bytes in decimal kilobytes."""
    return f"{trimmed(size_bytes / 1000)}{NO_BREAK}kB"


def trimmed(value: float) -> str:
    """Three significant digits without zeros that say nothing: 3.00 → "3", 16.10 → "16.1"."""
    text = sig3(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(ratio: float) -> str:
    """A ratio as per cent with three significant digits: 0.1562 → "15.6 %"."""
    return f"{trimmed(100 * ratio)}{NARROW_NO_BREAK}%"


def times(ratio: float) -> str:
    """A factor: 2.54 → "2.54×"."""
    return f"{trimmed(ratio)}×"


def count(number: float) -> str:
    """A count with three significant digits: 7e9 → "7 billion", 36703 → "36,700"."""
    for scale, word in _SCALES:
        if number >= scale:
            return f"{trimmed(number / scale)}{NO_BREAK}{word}"
    return f"{float(f'{number:.3g}'):,.0f}"


def word(number: float) -> str:
    """A small whole number as a word: 15 → "15", 3 → "three"."""
    whole = round(number)
    return _WORDS[whole] if 0 <= whole < len(_WORDS) else f"{whole:,}"


def rate(value: float) -> str:
    """A learning rate the way code writes it: 2e-05 → "2e-5"."""
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
