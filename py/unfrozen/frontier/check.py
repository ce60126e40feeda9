"""A value against its shape: what may be used of it, or one sentence about what is wrong.

`web/frontier/check.js` is the same program in JavaScript, down to the words. Whatever differs
between the languages is bridged here: texts are measured in UTF-16 units, whole numbers are those
that a double holds, and of several wrong names the first in UTF-16 order is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from unfrozen.frontier.shapes import Shape
from unfrozen.frontier.told import as_double, is_number, named, told, units


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a check. `value` holds known fields only, and is None where it was refused."""

    value: Any
    problem: str = ""
    unknown: int = 0


class _Refused(Exception):
    """Where something is wrong, and what."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(place + problem)
        self.place = place
        self.problem = problem


def check(shape: Shape, value: object, name: str = "it") -> Verdict:
    """`value` against `shape`; `name` stands for it in the sentence. Never raises."""
    unknown = [0]
    try:
        return Verdict(_checked(shape, value, "", unknown), unknown=unknown[0])
    except _Refused as wrong:
        return Verdict(None, f"{wrong.place.removeprefix('.') or name}{wrong.problem}", unknown[0])


def _checked(shape: Shape, value: Any, place: str, unknown: list[int]) -> Any:
    return _BY_TYPE[shape["type"]](shape, value, place, unknown)


def _refuse(shape: Shape, value: object, place: str) -> _Refused:
    return _Refused(place, f" is {told(value)}; it must be {shape['is']}")


def _text(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if not isinstance(value, str) or not _within(value, shape["most"]) or not is_unicode(value):
        raise _refuse(shape, value, place)
    if "like" in shape and not _pattern(shape["like"]).fullmatch(value):
        raise _refuse(shape, value, place)
    return value


def _whole(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if not is_number(value) or not shape["low"] <= value <= shape["high"] or value != int(value):
        raise _refuse(shape, value, place)
    return int(value)


def _number(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if not is_number(value) or not shape["low"] <= value <= shape["high"]:
        raise _refuse(shape, value, place)
    return as_double(value)


def _measured(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if isinstance(value, str) and value in shape["words"]:
        return value
    if not is_number(value):
        raise _refuse(shape, value, place)
    return as_double(value)


def _flag(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if not isinstance(value, bool):
        raise _refuse(shape, value, place)
    return value


def _nothing(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if value is not None:
        raise _refuse(shape, value, place)
    return value


def _word(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if not isinstance(value, str) or value not in shape["words"]:
        raise _refuse(shape, value, place)
    return value


def _list(shape: Shape, value: Any, place: str, unknown: list[int]) -> Any:
    if not isinstance(value, list) or len(value) > shape["most"]:
        raise _refuse(shape, value, place)
    of = shape["of"]
    take = _BY_TYPE[of["type"]]
    return [take(of, item, f"{place}[{index}]", unknown) for index, item in enumerate(value)]


def _map(shape: Shape, value: Any, place: str, unknown: list[int]) -> Any:
    if not isinstance(value, dict) or len(value) > shape["most"]:
        raise _refuse(shape, value, place)
    names, of = shape["names"], shape["of"]
    found, wrong = {}, {}
    for name, item in value.items():
        try:
            _text(names, name, "", unknown)
        except _Refused as refused:
            wrong[name] = _Refused(f"{place}: a name", refused.problem)
            continue
        try:
            found[name] = _checked(of, item, "", unknown)
        except _Refused as refused:
            wrong[name] = _Refused(f"{place}.{named(name)}{refused.place}", refused.problem)
    if wrong:  # the languages keep the names of an object in different orders
        raise wrong[min(wrong, key=lambda name: name.encode("utf-16-be", "surrogatepass"))]
    return found


def _object(shape: Shape, value: Any, place: str, unknown: list[int]) -> Any:
    if not isinstance(value, dict):
        raise _refuse(shape, value, place)
    fields, needs = shape["fields"], shape["needs"]
    found = {}
    for name, field in fields.items():
        given = value.get(name)
        if given is None and name not in needs:
            continue
        if name not in value:
            raise _Refused(f"{place}.{name}", f" is missing; it must be {field['is']}")
        found[name] = _checked(field, given, f"{place}.{name}", unknown)
    strange = len(value) - sum(name in value for name in fields)
    if strange and shape["closed"]:
        raise _refuse_strange(shape, value, place)
    unknown[0] += strange
    for first, second in shape["long"]:
        _check_long(found, first, second, place)
    return found


def _refuse_strange(shape: Shape, value: dict[str, Any], place: str) -> _Refused:
    strange = (name for name in value if name not in shape["fields"])
    first = min(strange, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    known = ", ".join(shape["fields"])
    return _Refused(f"{place}.{named(first)}", f" is no field of it; there are {known}")


def _check_long(found: Mapping[str, Any], first: str, second: str, place: str) -> None:
    """`first` names a list, the lists in a list (`rows[]`), or those in its objects."""
    wanted = len(found.get(second, ()))
    outer, _, inner = first.partition("[]")
    one = found.get(outer, [])
    if outer == first:
        named = [(first, one)] if one else []
    elif inner:
        key = inner[1:]
        named = [(f"{outer}[{i}].{key}", each.get(key, [])) for i, each in enumerate(one)]
    else:
        named = [(f"{outer}[{i}]", each) for i, each in enumerate(one)]
    for name, each in named:
        if len(each) != wanted:
            raise _Refused(
                f"{place}.{name}", f" is {told(each)}; it must be as long as {second}, {wanted:,}"
            )


def _either(shape: Shape, value: Any, place: str, unknown: list[int]) -> Any:
    for one in shape["of"]:
        before = unknown[0]
        try:
            return _checked(one, value, place, unknown)
        except _Refused:
            unknown[0] = before
    raise _refuse(shape, value, place)


def _json(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    left = [shape["most"]]
    if not _fits(shape, value, shape["deep"], left):
        raise _refuse(shape, value, place)
    return _copied(value)


def _fits(shape: Shape, value: Any, deep: int, left: list[int]) -> bool:
    left[0] -= 1
    if left[0] < 0 or deep < 0:
        return False
    if isinstance(value, str):
        return _within(value, shape["longest"]) and is_unicode(value)
    if isinstance(value, list):
        return len(value) <= left[0] and all(_fits(shape, v, deep - 1, left) for v in value)
    if isinstance(value, dict):
        named = len(value) <= left[0] and all(
            _within(name, shape["longest"]) and is_unicode(name) for name in value
        )
        return named and all(_fits(shape, v, deep - 1, left) for v in value.values())
    return value is None or isinstance(value, bool) or is_number(value)


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return as_double(value) if type(value) is int else value


def _within(value: str, most: int) -> bool:
    length = len(value)
    return length <= most and (value.isascii() or 2 * length <= most or units(value) <= most)


def is_unicode(value: str) -> bool:
    """Whether no half of a pair stands without its other half: what UTF-8 can write."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


@lru_cache(maxsize=256)
def _pattern(like: str) -> re.Pattern[str]:
    return re.compile(like)


_Take = Callable[[Shape, Any, str, list[int]], Any]
_BY_TYPE: Final[dict[str, _Take]] = {
    "text": _text,
    "whole": _whole,
    "number": _number,
    "measured": _measured,
    "flag": _flag,
    "nothing": _nothing,
    "word": _word,
    "list": _list,
    "map": _map,
    "object": _object,
    "either": _either,
    "json": _json,
}
