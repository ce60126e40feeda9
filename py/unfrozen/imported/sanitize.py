"""Names, texts and numbers of a foreign file are made safe for a log."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from unfrozen.events import finite
from unfrozen.schema.check import check
from unfrozen.schema.event_log import ANYTHING

NAME_MOST: Final = 120
"""Characters of a name; those of a log may have twice as many."""
_WORDS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def text(value: str, most: int = 1000) -> str:
    """Return foreign text on one line of at most `most` printable characters."""
    cut = value if len(value) <= most else value[: most - 1] + "…"
    return "".join(mark if mark.isprintable() else "\ufffd" for mark in cut)


def number(value: object) -> float | None:
    """Return a JSON value as a number, None where it is none; NaN and infinities may be spelled
    out.

    NaN and infinities may come as words.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _WORDS.get(value)
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def whole_number(value: object, most: int) -> int:
    """Return a JSON value as a whole number from 0 to `most`; 0 where it is none."""
    found = number(value)
    return int(found) if found is not None and 0 <= found <= most and found == int(found) else 0


def fit_values(values: Mapping[str, Any], most: int) -> tuple[dict[str, Any], list[str]]:
    """Return the `values` that fit into `most` characters of JSON, and the other names."""
    kept: dict[str, Any] = {}
    left: list[str] = []
    room = most
    for name, value in values.items():
        key, plain = text(name, NAME_MOST), finite(value)
        if key in kept or check(ANYTHING, {key: plain}).problem:
            left.append(key)
            continue
        size = len(json.dumps({key: plain}))
        if size > room:
            left.append(key)
        else:
            kept[key] = plain
            room -= size
    return kept, left
