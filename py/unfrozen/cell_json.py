"""Strict readers for plain data that a cell assigned: each returns what it read or raises.

Every reader takes the value and `where` it stood ("py_plot_data[0].lines[1].data[3]"), and raises
`PublishError` naming that place. `publish` composes them into tables and plots.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, TypeVar

from unfrozen.errors import PublishError, shown

MAX_TEXT: Final = 10_000
MAX_JSON: Final = 32_000_000

T = TypeVar("T")
Read = Callable[[object, str], T]


def is_numpy(value: object) -> bool:
    """Whether a value is an array or a scalar of numpy, or of a library that speaks as it does."""
    return hasattr(value, "dtype") and hasattr(value, "tolist")


def plain(value: Any) -> object:
    """An array as a list, a scalar of one as Python's own number; `default` of `json.dumps`.

    Raises TypeError for anything else, as `json` itself does.
    """
    if not is_numpy(value):
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    listed: object = value.tolist()
    return float(value) if isinstance(listed, type(value)) else listed  # a long double lists itself


def load(text: object, where: str) -> object:
    """Parse JSON text of at most `MAX_JSON` characters."""
    if not isinstance(text, str):
        raise PublishError(where, text, "assign JSON text: json.dumps(…)")
    if len(text) > MAX_JSON:
        remedy = f"publish at most {MAX_JSON:,} characters: summarise in the cell first"
        raise PublishError(where, f"{len(text):,} characters", remedy)
    try:
        return json.loads(text)  # NaN and Infinity too: `number` refuses them where they stand
    except (ValueError, RecursionError) as error:
        reason = error if isinstance(error, ValueError) else "it is nested too deeply"
        raise PublishError(where, text, f"this is not JSON ({reason}); use json.dumps(…)") from None


def mapping(value: object, where: str, shape: type) -> dict[str, object]:
    """An object whose keys are all fields of the dataclass `shape`."""
    known = [field.name for field in fields(shape)]
    if not isinstance(value, dict):
        raise PublishError(where, value, f"give an object with the keys {', '.join(known)}")
    for key in value:
        if key not in known:
            remedy = f"known keys are {', '.join(known)}"
            raise PublishError(f"{where}.{shown(key)[1:-1]}", value[key], remedy)
    return value


def needed(given: dict[str, object], key: str, where: str) -> object:
    """The value of a key that must be there."""
    if key not in given:
        raise PublishError(f"{where}.{key}", "nothing", "this key is needed")
    return given[key]


def optional(given: dict[str, object], key: str, where: str, read: Read[T], default: T) -> T:
    """The value of a key, or the default where it is missing or null."""
    return default if given.get(key) is None else read(given[key], f"{where}.{key}")


def each(
    given: dict[str, object],
    key: str,
    where: str,
    read: Read[T],
    at_most: int,
    *,
    optional: bool = False,
) -> tuple[T, ...]:
    """A list under a key, each entry read by `read`; `optional` allows it to be missing."""
    if optional and given.get(key) is None:
        return ()
    where = f"{where}.{key}"
    return items(needed(given, key, where.rpartition(".")[0]), where, read, at_most)


def items(value: object, where: str, read: Read[T], at_most: int) -> tuple[T, ...]:
    """A list of at most `at_most` entries, each read by `read`."""
    if not isinstance(value, list):
        raise PublishError(where, value, "give a list")
    if len(value) > at_most:
        raise PublishError(where, f"{len(value):,} entries", f"give at most {at_most:,}")
    return tuple(read(item, f"{where}[{index}]") for index, item in enumerate(value))


def text_or_number(value: object, where: str) -> str | float:
    """Text or a number."""
    return text(value, where) if isinstance(value, str) else number(value, where)


def number_or_gap(value: object, where: str) -> float | None:
    """A number, or None for a gap."""
    remedy = "give a number a double can hold, or None for a gap"
    return None if value is None else number(value, where, remedy)


def number(value: object, where: str, remedy: str = "give a number a double can hold") -> float:
    """A finite number that a double can hold; a truth value is not one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PublishError(where, value, "give a number")
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an integer beyond the largest double
        finite = False
    if not finite:
        raise PublishError(where, value, remedy)
    return value


def flag(value: object, where: str) -> bool:
    """A truth value."""
    if not isinstance(value, bool):
        raise PublishError(where, value, "give true or false")
    return value


def text(value: object, where: str) -> str:
    """Text of at most `MAX_TEXT` characters that can be encoded."""
    if not isinstance(value, str):
        raise PublishError(where, value, "give text")
    if len(value) > MAX_TEXT:
        raise PublishError(where, f"{len(value):,} characters", f"give at most {MAX_TEXT:,}")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise PublishError(where, value, "a lone surrogate is not text; encode it first")
    return value


def one_of(value: object, where: str, allowed: tuple[str, ...]) -> str:
    """One of the allowed words."""
    if value not in allowed:
        raise PublishError(where, value, f"use one of {', '.join(allowed)}")
    return value
