"""Text to a value, bounded in length and depth, with what JSON does not have refused."""

from __future__ import annotations

import json
from typing import Final, NoReturn

from unfrozen.errors import MOST_DEEP, is_deep
from unfrozen.frontier.check import Verdict, check
from unfrozen.frontier.shapes import Shape

FILE_MOST: Final = 1024 * 1024
"""Characters of a small file; a `state.json` of a thousand samples has fewer."""
_DIGITS: Final = 400  # of an integer that no double holds


def read(data: str | bytes, most: int, name: str = "it") -> Verdict:
    """The JSON in `data`, of at most `most` characters; `name` stands for it in the sentence.

    Bytes must be UTF-8, and nothing else that `json.loads` would guess. Never raises.
    """
    if isinstance(data, bytes):
        if len(data) > 4 * most:
            return Verdict(None, _long(name, most))
        try:
            data = data.decode("utf-8")
        except UnicodeDecodeError:
            return Verdict(None, f"{name} is not UTF-8")
    units = len(data) if data.isascii() else len(data.encode("utf-16-le", "surrogatepass")) // 2
    if units > most:
        return Verdict(None, _long(name, most))
    if is_deep(data):
        return Verdict(None, f"{name} is nested more than {MOST_DEEP} deep")
    try:
        return Verdict(_loaded(data))
    except (ValueError, RecursionError):
        return Verdict(None, f"{name} is not JSON")


def read_file(shape: Shape, data: str | bytes, name: str = "it") -> Verdict:
    """What lies in a small file, against its shape. Never raises."""
    read_ = read(data, FILE_MOST, name)
    return read_ if read_.problem else check(shape, read_.value, name)


def _loaded(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer with more digits than Python reads: no double holds it either
        return json.loads(text, parse_constant=_refuse, parse_int=_whole)


def _long(name: str, most: int) -> str:
    return f"{name} is longer than {most:,} characters"


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < _DIGITS else float(digits)


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)
