"""What an address, or a page, says of a state: a flat record of short texts, or why it is none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qsl

from unfrozen.errors import PlanError
from unfrozen.schema.check import is_unicode

MOST_FIELDS: Final = 100
LONGEST_QUERY: Final = 1_000_000
"""Characters: room for a config.json of the planner's longest, every character of it escaped."""
LONGEST_TEXT: Final = 500
_AGAIN: Final = "open the link again, or choose here"


def settings(given: object, long: Mapping[str, int] | None = None) -> dict[str, object]:
    """The settings in a part of an address ("model=…&gpus=8"), or those of a state as it stands.

    `long` says of settings how many characters they may have, where that is more than
    `LONGEST_TEXT`. Raises PlanError, with value, bound and remedy, for anything else.
    """
    found = _parsed(given) if isinstance(given, str) else given
    if not isinstance(found, Mapping):
        raise PlanError("address", found, "it must be settings by their names", _AGAIN)
    if len(found) > MOST_FIELDS:
        raise PlanError("address", found, _bound(len(found)), _AGAIN)
    for key, value in found.items():
        _check(key, value, (long or {}).get(key, LONGEST_TEXT))
    return dict(found)


def readable(given: object) -> dict[str, object]:
    """Of settings that cannot be read as they are, those that can; empty for an address."""
    kept: dict[str, object] = {}
    for key, value in given.items() if isinstance(given, Mapping) else ():
        with suppress(PlanError):
            kept |= settings({key: value})
    return kept


def _parsed(query: str) -> dict[str, str]:
    if len(query) > LONGEST_QUERY:
        bound = f"it has {len(query):,} characters; at most {LONGEST_QUERY:,} are read"
        raise PlanError("address", query, bound, _AGAIN)
    if (fields := query.count("&") + 1) > MOST_FIELDS:
        raise PlanError("address", query, _bound(fields), _AGAIN)
    return dict(parse_qsl(query, keep_blank_values=True))


def _bound(count: int) -> str:
    return f"it carries {count:,} settings; at most {MOST_FIELDS} are read"


def _check(key: object, value: object, most: int) -> None:
    for text in (key, value):
        if isinstance(text, str) and not is_unicode(text):
            raise PlanError("address", text, "it holds half a character", _AGAIN)
    length = len(value if isinstance(value, str) else str(value))
    if length > most:
        bound = f"it is longer than {most:,} characters"
        remedy = "give the config.json alone" if key == "config" else "correct it"
        raise PlanError(str(key)[:LONGEST_TEXT], f"{length:,} characters", bound, remedy)
