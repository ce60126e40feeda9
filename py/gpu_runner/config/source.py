"""Where data comes from, as one text: a file or a data set of the hub, and how to read it.

rows.jsonl
rows.csv:prompt=question,completion=answer     the columns to take, and their roles
openai/gsm8k:main,split=test                   subset and split of a set on the hub
rows.jsonl:weight=0.5                          half of its examples an epoch; 2: each twice
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpu_runner.errors import UsageError

COLUMNS: Final = (
    *("messages", "conversations", "tools", "system", "prompt", "completion"),
    *("instruction", "input", "output", "text"),
)
_KEYS: Final = ("subset", "split", "weight", *COLUMNS)
_ITEM: Final = re.compile(r"(?:[\w.-]+|[a-z]+=[^,]+)")
MOST_WEIGHT: Final = 1_000.0


@dataclass(frozen=True, slots=True)
class RowSource:
    """One source of data. `columns` are pairs (role, column name); () takes all."""

    place: str
    subset: str | None = None
    split: str = "train"
    weight: float = 1.0
    columns: tuple[tuple[str, str], ...] = ()


def parse(text: str) -> RowSource:
    """Return the source that a text names. Raises `UsageError` for unknown options."""
    place, choices = _split(text)
    if not choices:
        return RowSource(place)
    found: dict[str, str] = {}
    for item in choices.split(","):
        key, equals, value = item.partition("=")
        if not equals:
            key, value = "subset", item
        if key not in _KEYS or not value:
            raise UsageError(
                f"{text}: {item!r} is not an option of a source: give a subset, or NAME=VALUE with"
                f" one of {', '.join(_KEYS)}."
            )
        if key in found:
            raise UsageError(f"{text}: {key} occurs twice: keep one of them.")
        found[key] = value
    columns = tuple((key, found[key]) for key in COLUMNS if key in found)
    weight = _weight(text, found.get("weight", "1"))
    return RowSource(place, found.get("subset"), found.get("split", "train"), weight, columns)


def anchored(text: str | None) -> str | None:
    """Return the text with the path of a file made absolute."""
    if text is None:
        return None
    place, choices = _split(text)
    path = Path(place).expanduser()
    if not _exists(place):
        return text
    return f"{path.absolute()}:{choices}" if choices else str(path.absolute())


def _split(text: str) -> tuple[str, str]:
    """Return the place and its options; an existing file wins over any parse."""
    if _exists(text):
        return text, ""
    colons = [index for index, letter in enumerate(text) if letter == ":" and index]
    for index in colons:
        if _exists(text[:index]):
            return text[:index], text[index + 1 :]
    for index in colons:
        choices = text[index + 1 :]
        if all(_ITEM.fullmatch(item) for item in choices.split(",")):
            return text[:index], choices
    return text, ""


def _exists(place: str) -> bool:
    try:
        return Path(place).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, no such home, a NUL in it
        return False


def _weight(text: str, value: str) -> float:
    try:
        weight = float(value)
    except ValueError:
        weight = math.nan
    if not 0 < weight <= MOST_WEIGHT:
        raise UsageError(
            f"{text}: weight {value!r} is out of bounds: give a number above 0, at most"
            f" {MOST_WEIGHT:,.0f}; 1 takes every example once an epoch."
        )
    return weight
