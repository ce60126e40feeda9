"""Fields of a row: read as what they must be, refused with the key and the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from unfrozen.errors import is_deep

_SURROGATE: Final = re.compile("[\ud800-\udfff]")  # no text, and tokenizers refuse it


class BadRow(ValueError):
    """Why a row cannot be used; the reader of the file adds file and line number."""


def string(row: Mapping[str, Any], key: str) -> str:
    """The text under a key. Raises `BadRow` where it is none, or holds half a character."""
    value = row.get(key)
    if not isinstance(value, str):
        got = "is missing" if value is None else f"is {type(value).__name__} {value!r}"[:80]
        raise BadRow(f'"{key}" {got}, but must be a string')
    if (half := _SURROGATE.search(value)) is not None:
        raise BadRow(f'"{key}" holds half a character (\\u{ord(half[0]):04x} at {half.start()})')
    return value


def content(message: Mapping[str, Any]) -> str:
    """The words of a message: a string, or parts of type text, one after the other."""
    value = message.get("content")
    if not isinstance(value, list):
        return string(message, "content")
    for part in value:
        kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
        if kind != "text":
            raise BadRow(
                f'"content" has a part of type {str(kind)[:40]!r}, and only text is trained: take'
                " such parts out, or leave such rows out with --skip-bad-rows"
            )
    return "".join(string(part, "text") for part in value)


def whole(text: str) -> str:
    """A text that is to be encoded. Raises `BadRow` where it holds half a character."""
    if not text.isascii() and (half := _SURROGATE.search(text)) is not None:
        raise BadRow(f"it holds half a character (\\u{ord(half[0]):04x})")
    return text


def parsed(value: object) -> object:
    """What a string of JSON holds; anything else as it is."""
    if not isinstance(value, str) or is_deep(value):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
