"""A number as a reader types it: "112", "112 GB", "1.12e11", "2·10⁻⁵", "0,05", "30 %"."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from unfrozen.errors import quote_value
from unfrozen.units import parse_bytes

_PLAIN: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺−×·*\u00a0\u202f", "0123456789-+-xxx  ")
_NUMBER: Final = re.compile(
    r"(?P<sign>[-+]?) ?(?P<digits>\d+(?:\.\d*)?|\.\d+)(?:[eE](?P<power>[-+]?\d+))?"
    r"(?: ?x ?10\^?(?P<ten>[-+]?\d+))? ?(?P<unit>[A-Za-z]*|%)",
    re.ASCII,
)
_TEN: Final = re.compile(r"10\^(?P<ten>[-+]?\d+) ?(?P<unit>[A-Za-z]*|%)", re.ASCII)
_THOUSANDS: Final = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
LARGEST: Final = 1e30


class Unread(ValueError):
    """What was typed is no number that can be judged; the message is for the reader."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A number at or above 0, and the letters or the per cent sign behind it."""

    value: float
    unit: str


def read_number(text: str) -> Typed:
    """Read a number with or without a unit; raises Unread, in words, for anything else.

    Commas part thousands where they can, as on this page ("1,136"); elsewhere one is a point.
    """
    if not text.strip():
        raise Unread("Nothing is typed yet. Write a number.")
    raised = re.sub(r"10(?=[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺])", "10^", text)
    plain = " ".join(raised.translate(_PLAIN).split())
    plain = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), plain)
    plain = plain.replace(",", ".") if plain.count(",") == 1 and "." not in plain else plain
    match = _TEN.fullmatch(plain) or _NUMBER.fullmatch(plain)
    if match is None:
        raise Unread(
            f"{quote_value(text.strip())} cannot be read as a number. Write one like 112 or 1.5."
        )
    value = _value(match.groupdict())
    if value < 0:
        raise Unread(f"{quote_value(text.strip())} lies below 0, where nothing asked here can lie.")
    if value > LARGEST:
        raise Unread(f"{quote_value(text.strip())} is too large to mean anything here.")
    return Typed(value, match["unit"])


def read_bytes(text: str) -> tuple[float, str]:
    """Bytes, and the unit they were read in; without one, GB, or bytes from ten million on.

    Raises Unread, in words, for what is no number and for a unit that counts no bytes.
    """
    typed = read_number(text)
    unit = typed.unit or ("GB" if typed.value < 1e7 else "B")
    try:
        scale = parse_bytes(f"1 {unit}")
    except ValueError:
        raise Unread(f"{quote_value(unit)} is no unit of memory. Write GB or GiB.") from None
    return typed.value * scale, unit


def _value(parts: dict[str, str | None]) -> float:
    """The number that the parts of a match spell; infinite where a float cannot hold it."""
    number = float(f"{parts.get('digits') or 1}e{_power(parts.get('power'))}")
    try:
        number *= 10.0 ** _power(parts.get("ten"))
    except OverflowError:
        return math.inf
    return -number if parts.get("sign") == "-" and number else number


def _power(digits: str | None) -> int:
    """An exponent; more than four digits of it say no more than four."""
    return max(-9999, min(9999, int((digits or "0")[:8])))
