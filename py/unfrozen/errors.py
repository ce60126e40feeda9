"""Exceptions that name the key, its value, the bound it broke, and the remedy."""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn

_SHOWN: Final = 80
MOST_DEEP: Final = 32
"""How deep JSON may be nested; a log's lines and a model's config.json are five deep."""
_MARKS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


class InputError(ValueError):
    """Input that cannot be used. The message is one line and names key, value, bound and remedy."""

    def __init__(self, key: str, value: object, bound: str, remedy: str) -> None:
        self.key = key
        self.value = value
        self.bound = bound
        self.remedy = remedy
        super().__init__(
            "; ".join(
                part for part in (f"{_key(key)}: got {quote_value(value)}", bound, remedy) if part
            )
        )


class ModelError(InputError):
    """A model configuration that cannot be counted exactly."""


class PlanError(InputError):
    """A job, a recipe or a schedule that cannot be planned."""


class PublishError(InputError):
    """A table or plot of a cell that the page cannot draw."""

    def __init__(self, key: str, value: object, remedy: str) -> None:
        super().__init__(key, value, "", remedy)


class ForeignFileError(ValueError):
    """A file of another tool that cannot be read: its name, the byte, the problem, the remedy."""

    def __init__(self, file: str, problem: str, remedy: str, offset: int | None = None) -> None:
        where = "" if offset is None else f" at byte {offset:,}"
        super().__init__(f"{format_file_name(file)}{where}: {problem}; {remedy}")


def format_file_name(name: str) -> str:
    """Return the name of a file for a sentence, quoted where it holds unprintable characters."""
    return name if name.isprintable() and 0 < len(name) <= 200 else quote_value(name)


def quote_value(value: object) -> str:
    """Return a value for a message: one line of at most 80 characters."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (dict, list, tuple)) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)} entries"
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or holding an endless integer
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _key(key: str) -> str:
    """Return a key for a message, quoted where it would break the line."""
    return key if key.isprintable() and len(key) <= _SHOWN else quote_value(key)


def is_deep(text: str, most: int = MOST_DEEP) -> bool:
    """Return whether lists and objects in JSON text are nested more than `most` deep.

    Check it before parsing: in a browser, Python crashes on deep recursion instead of raising.
    Brackets inside strings do not count; an unterminated string runs to the end.
    """
    if text.count("[") + text.count("{") <= most:
        return False
    deep = 0
    for mark in _MARKS.finditer(text):
        if mark[0] in ("[", "{"):
            deep += 1
            if deep > most:
                return True
        elif mark[0] in ("]", "}"):
            deep -= 1
    return False


def strict_json(text: str, *, of_model: bool = False) -> object:
    """Parse JSON, refusing NaN and infinities; raises ValueError with the reason.

    An infinity in the config.json `of_model` (Mamba-2's `time_step_limit`) is read as transformers
    5 writes it: {"__float__": "Infinity"}.
    """
    if is_deep(text):
        raise ValueError(f"it is nested too deeply, more than {MOST_DEEP} levels")
    try:
        return json.loads(text, parse_constant=_infinity if of_model else _refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _infinity(name: str) -> dict[str, str]:
    return _refuse_constant(name) if name == "NaN" else {"__float__": name}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
