"""Formats and parses bytes and numbers: GB against GiB, three significant digits.

The classic figures of the article count in decimal gigabytes (1 GB = 10^9 bytes); allocators and
GPUs count in binary ones (1 GiB = 2^30 bytes). Mixing them is a 7% error, so each has its name.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from unfrozen.errors import quote_value

GB: Final = 10**9
GIB: Final = 2**30
MIB: Final = 2**20
UNIT_BYTES: Final = {"GiB": GIB, "GB": GB}
NO_BREAK: Final = "\u00a0"

_SCALE: Final[dict[str, int]] = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": GB,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": MIB,
    "GIB": GIB,
    "TIB": 2**40,
}
_DECIMAL: Final = ((10**12, "TB"), (GB, "GB"), (10**6, "MB"), (10**3, "KB"))
_SUPERSCRIPT: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_BINARY: Final = ((2**40, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (2**10, "KiB"))
_TIMES: Final = ((86_400, "days"), (3600, "h"), (60, "min"))
_COUNTS: Final = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))
_SUFFIXES: Final = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)\s*")
_PLAIN: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺−×·*\u00a0\u202f", "0123456789-+-xxx  ")
_NUMBER: Final = re.compile(
    r"(?P<sign>[-+]?) ?(?P<digits>\d+(?:\.\d*)?|\.\d+)(?:[eE](?P<power>[-+]?\d+))?"
    r"(?: ?x ?10\^?(?P<ten>[-+]?\d+))? ?(?P<unit>[A-Za-z]*|%)",
    re.ASCII,
)
_TEN: Final = re.compile(r"10\^(?P<ten>[-+]?\d+) ?(?P<unit>[A-Za-z]*|%)", re.ASCII)
_THOUSANDS: Final = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
LARGEST: Final = 1e30


def gb(size_bytes: float) -> float:
    """Return bytes as decimal gigabytes (10^9 bytes)."""
    return size_bytes / GB


def gib(size_bytes: float) -> float:
    """Return bytes as binary gibibytes (2^30 bytes)."""
    return size_bytes / GIB


def sig3(value: float) -> str:
    """Return a finite number with three significant digits, without exponent: 3.2212 → "3.22".

    Whole numbers of more than three digits keep their digits before the point, grouped by commas
    (1136.1 → "1,136"): rounding those away would look like a different number.
    """
    if not math.isfinite(value):
        raise ValueError(f"sig3 got {value!r}; it formats finite numbers only")
    if value == 0:
        return "0"
    rounded = float(f"{value:.2e}")  # decides the exponent after rounding: 9.999 is 10.0, not 10.00
    digits = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{value:,.{digits}f}"


def format_power(value: float, digits: int, *, space: str = " ") -> str:
    """Return a number in scientific notation with so many decimals: 2e-5 → "2 × 10⁻⁵"."""
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if digits else mantissa
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return power if mantissa == "1" else f"{mantissa}{space}×{space}{power}"


def format_bytes(size_bytes: float, *, binary: bool = True) -> str:
    """Return bytes in the largest unit that leaves at least one: "3.22 GB", "59.9 GiB"."""
    for scale, unit in _BINARY if binary else _DECIMAL:
        if abs(size_bytes) >= scale:
            return f"{sig3(size_bytes / scale)} {unit}"
    return f"{sig3(size_bytes)} B"


def format_count(count: float) -> str:
    """Return a count of parameters or tokens: 6738415616 → "6.74B", 999885952 → "1.00B"."""
    for scale, unit in _COUNTS:
        if abs(count) >= 0.9995 * scale:  # what rounds to a thousand of a unit is one of the next
            return f"{sig3(count / scale)}{unit}"
    return sig3(count)


def format_positive(value: float) -> str:
    """Return a positive number to three significant digits, or that it is below a thousandth."""
    return "< 0.001" if 0 < value < 0.001 else sig3(value)


def format_duration(seconds: float, *, space: str = " ") -> str:
    """Return an estimated time in a readable unit: "0.640 s", "3.20 h", "41.0 days".

    A measured time is formatted by `format_elapsed`; `space` may be `NO_BREAK`.
    """
    length, unit = next((each for each in _TIMES if seconds >= 2 * each[0]), (1, "s"))
    return f"{format_positive(seconds / length)}{space}{unit}"


def format_elapsed(seconds: float) -> str:
    """Return a measured time like a clock: "8.2 s", "3 min 20 s", "2 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_size(size_bytes: float, unit: str) -> str:
    """Return a size in GiB or GB, or a smaller unit: "14.9 GiB", "512 KiB", "0 GiB"."""
    scale = UNIT_BYTES[unit]
    if size_bytes and abs(size_bytes) < 0.1 * scale:
        return format_bytes(size_bytes, binary=unit == "GiB").replace(" ", NO_BREAK)
    return f"{sig3(size_bytes / scale)}{NO_BREAK}{unit}"


def parse_bytes(text: str) -> int:
    """Read "80 GB", "79.2GiB" or "1024" as bytes (letters in any case, no unit means bytes).

    Raises ValueError with the value and the accepted units when it cannot be read.
    """
    match = _SIZE.fullmatch(text)
    scale = _SCALE.get((match[2] or "B").upper()) if match else None
    number = float(match[1]) if match else math.inf
    if scale is None or not math.isfinite(number):
        raise ValueError(
            f"cannot read {text!r} as a size; write a number and one of {', '.join(_SCALE)}"
        )
    return round(number * scale)


def parse_count(text: str) -> float:
    """Return a typed number: "1B" is 1e9. Raises ValueError for anything else."""
    scale = _SUFFIXES.get(text[-1:].upper(), 1.0)
    number = float(text if scale == 1 else text[:-1]) * scale
    if not math.isfinite(number):
        raise ValueError(text)
    return number


class NumberError(ValueError):
    """A typed text that is no usable number; the message is for the reader."""


@dataclass(frozen=True, slots=True)
class TypedNumber:
    """A number of at least 0, and its unit: letters or the per cent sign."""

    value: float
    unit: str


def parse_number(text: str) -> TypedNumber:
    """Read a number with or without a unit; raises NumberError for anything else.

    Commas separate thousands where they can ("1,136"); elsewhere one is a decimal point.
    """
    if not text.strip():
        raise NumberError("Nothing is typed yet. Write a number.")
    raised = re.sub(r"10(?=[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺])", "10^", text)
    plain = " ".join(raised.translate(_PLAIN).split())
    plain = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), plain)
    plain = plain.replace(",", ".") if plain.count(",") == 1 and "." not in plain else plain
    match = _TEN.fullmatch(plain) or _NUMBER.fullmatch(plain)
    if match is None:
        raise NumberError(
            f"{quote_value(text.strip())} cannot be read as a number. Write one like 112 or 1.5."
        )
    value = _value(match.groupdict())
    if value < 0:
        raise NumberError(
            f"{quote_value(text.strip())} lies below 0, where nothing asked here can lie."
        )
    if value > LARGEST:
        raise NumberError(f"{quote_value(text.strip())} is too large to mean anything here.")
    return TypedNumber(value, match["unit"])


def parse_typed_bytes(text: str) -> tuple[float, str]:
    """Return bytes and their unit; without one, GB, or bytes from ten million on.

    Raises NumberError for anything but a number, and for a unit that counts no bytes.
    """
    typed = parse_number(text)
    unit = typed.unit or ("GB" if typed.value < 1e7 else "B")
    try:
        scale = parse_bytes(f"1 {unit}")
    except ValueError:
        raise NumberError(
            f"{quote_value(unit)} is not a unit of memory. Write GB or GiB."
        ) from None
    return typed.value * scale, unit


def _value(parts: dict[str, str | None]) -> float:
    """Return the number of a match; infinity where a float cannot hold it."""
    number = float(f"{parts.get('digits') or 1}e{_power(parts.get('power'))}")
    try:
        number *= 10.0 ** _power(parts.get("ten"))
    except OverflowError:
        return math.inf
    return -number if parts.get("sign") == "-" and number else number


def _power(digits: str | None) -> int:
    """Return an exponent, cut to four digits."""
    return max(-9999, min(9999, int((digits or "0")[:8])))
