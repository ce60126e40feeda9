"""A value in a sentence: short, one line, ASCII; and what counts as a number in both languages."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from unfrozen.frontier.shapes import SAFE

SHOWN: Final = 40  # characters of a text in a sentence
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./-]{1,60}")


def told(value: object) -> str:
    """A value in a sentence."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        many = f", {units(value):,} characters" if units(value) > SHOWN else ""
        return f"{_quoted(value)}{many}"
    if isinstance(value, int | float):
        return _number_told(value)
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    return f"an object of {len(value):,}" if isinstance(value, dict) else "no JSON"


def _number_told(value: float) -> str:
    if not is_number(value):
        return "a number that is not finite"
    if not -SAFE <= value <= SAFE:
        return "a number beyond 2^53"
    return f"{int(value):,}" if value == int(value) else "a fraction"


def _quoted(value: str) -> str:
    return json.dumps(value[:SHOWN])


def named(name: str) -> str:
    """The name of a field in a sentence."""
    return name if _PLAIN.fullmatch(name) else _quoted(name)


def as_double(value: Any) -> Any:
    """A number as JavaScript holds it: integers are exact up to 2⁵³."""
    return value if -SAFE <= value <= SAFE else float(value)


def is_number(value: object) -> bool:
    """A finite number of either language; an integer that no double holds is none."""
    if type(value) is int:
        return -SAFE <= value <= SAFE or _fits_a_double(value)
    return isinstance(value, float) and math.isfinite(value)


def _fits_a_double(value: int) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def units(value: str) -> int:
    """The length in UTF-16 units, as JavaScript counts."""
    return len(value) + sum(character > "\uffff" for character in value)
