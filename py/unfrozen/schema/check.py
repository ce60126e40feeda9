"""A value, or JSON text, against its shape: what may be used of it, or why it is refused.

`web/schema/check.js` is the same program in JavaScript, down to the wording. Whatever differs
between the languages is bridged here: text is measured in UTF-16 units, whole numbers are those
that a double holds, and of several wrong names the first in UTF-16 order is reported.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Literal, NoReturn

from unfrozen.errors import MOST_DEEP, is_deep
from unfrozen.schema.shapes import MAX_SAFE_INTEGER, Shape

MAX_FILE_LENGTH: Final = 1024 * 1024
"""Characters of a small file; a `state.json` of a thousand samples has fewer."""
_EXCERPT_LENGTH: Final = 40  # characters of a text that a message quotes
_MAX_DIGITS: Final = 400  # of an integer that no double holds
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_./-]{1,60}")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong: where ("rows[3].loss"; "" for the whole), the value there, and its bound."""

    place: str
    value: object
    bound: str
    kind: Literal["value", "missing", "unknown"] = "value"

    def sentence(self, name: str) -> str:
        """Return the fault as a sentence; `name` stands for the whole value."""
        predicate = {"missing": "missing", "unknown": "an unknown key"}.get(self.kind)
        return f"{self.place or name} is {predicate or describe(self.value)}; {self.bound}"


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check. `value` holds known properties only; it is None where refused."""

    value: Any
    problem: str = ""
    unknown: int = 0
    fault: Fault | None = None


class _Refused(Exception):
    """A fault, found on the way down."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault

    def below(self, place: str) -> _Refused:
        """Return the same fault as seen from `place`, which holds the value it was found in."""
        return _Refused(replace(self.fault, place=f"{place}{self.fault.place}"))


def check(shape: Shape, value: object, name: str = "it") -> Checked:
    """Return `value` checked against `shape`; `name` stands for it in the message. Never raises."""
    unknown = [0]
    try:
        return Checked(_checked(shape, value, "", unknown), unknown=unknown[0])
    except _Refused as refused:
        fault = replace(refused.fault, place=refused.fault.place.removeprefix("."))
        return Checked(None, fault.sentence(name), unknown[0], fault)


def read(data: str | bytes, max_length: int, name: str = "it") -> Checked:
    """Return the JSON in `data`, of at most `max_length` characters. Never raises.

    Bytes must be UTF-8, and nothing else that `json.loads` would guess; `name` stands for the data
    in the message.
    """
    too_long = f"{name} is longer than {max_length:,} characters"
    if isinstance(data, bytes):
        if len(data) > 4 * max_length:
            return Checked(None, too_long)
        try:
            data = data.decode("utf-8")
        except UnicodeDecodeError:
            return Checked(None, f"{name} is not UTF-8")
    if not _is_within(data, max_length):
        return Checked(None, too_long)
    if is_deep(data):
        return Checked(None, f"{name} is nested more than {MOST_DEEP} deep")
    try:
        return Checked(_parse(data))
    except (ValueError, RecursionError):
        return Checked(None, f"{name} is not JSON")


def read_file(shape: Shape, data: str | bytes, name: str = "it") -> Checked:
    """Return the content of a small JSON file checked against its shape. Never raises."""
    parsed = read(data, MAX_FILE_LENGTH, name)
    return parsed if parsed.problem else check(shape, parsed.value, name)


def _parse(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer with more digits than Python reads: no double holds it either
        return json.loads(text, parse_constant=_refuse_constant, parse_int=_parse_digits)


def _parse_digits(digits: str) -> int | float:
    return int(digits) if len(digits) < _MAX_DIGITS else float(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _checked(shape: Shape, value: Any, place: str, unknown: list[int]) -> Any:
    return _CHECKS[shape["type"]](shape, value, place, unknown)


def _refuse(shape: Shape, value: object, place: str) -> _Refused:
    return _Refused(Fault(place, value, f"it must be {shape['is']}"))


def _check_string(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    fits = isinstance(value, str) and _is_within(value, shape["maxLength"])
    if fits and not is_unicode(value):
        raise _refuse({"is": "text without lone surrogates"}, value, place)
    if not fits or ("pattern" in shape and not _compile(shape["pattern"]).fullmatch(value)):
        raise _refuse(shape, value, place)
    return value


def _check_integer(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if not _is_between(shape, value) or value != int(value):
        raise _refuse(shape, value, place)
    return int(value)


def _check_number(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if not _is_between(shape, value):
        raise _refuse(shape, value, place)
    return _as_double(value)


def _is_between(shape: Shape, value: Any) -> bool:
    return is_number(value) and bool(shape["minimum"] <= value <= shape["maximum"])


def _check_metric(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if isinstance(value, str) and value in shape["values"]:
        return value
    if not is_number(value):
        raise _refuse(shape, value, place)
    return _as_double(value)


def _check_boolean(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if not isinstance(value, bool):
        raise _refuse(shape, value, place)
    return value


def _check_null(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if value is not None:
        raise _refuse(shape, value, place)
    return value


def _check_enum(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if not isinstance(value, str) or value not in shape["values"]:
        raise _refuse(shape, value, place)
    return value


def _check_array(shape: Shape, value: Any, place: str, unknown: list[int]) -> Any:
    if not isinstance(value, list) or len(value) > shape["maxItems"]:
        raise _refuse(shape, value, place)
    items = shape["items"]
    if items["type"] in _KINDS and _are_plain(items, value):
        return list(value)
    check_item = _CHECKS[items["type"]]
    return [check_item(items, item, f"{place}[{i}]", unknown) for i, item in enumerate(value)]


_KINDS: Final[dict[str, set[type]]] = {"integer": {int}, "number": {int, float}}


def _are_plain(items: Shape, values: list[Any]) -> bool:
    """Whether all are numbers within bounds that need no conversion: one look at long lists."""
    low, high = max(items["minimum"], -MAX_SAFE_INTEGER), min(items["maximum"], MAX_SAFE_INTEGER)
    return _KINDS[items["type"]].issuperset(map(type, values)) and all(
        low <= value <= high for value in values
    )


def _check_map(shape: Shape, value: Any, place: str, unknown: list[int]) -> Any:
    if not isinstance(value, dict) or len(value) > shape["maxProperties"]:
        raise _refuse(shape, value, place)
    found, wrong = {}, {}
    for name, item in value.items():
        try:
            _check_string(shape["names"], name, f"{place}: a name", unknown)
            found[name] = _checked(shape["values"], item, "", unknown)
        except _Refused as refused:
            is_name = refused.fault.place == f"{place}: a name"
            wrong[name] = refused if is_name else refused.below(f"{place}.{quote_name(name)}")
    if wrong:  # the languages keep the names of an object in different orders
        raise wrong[_first(wrong)]
    return found


def _check_object(shape: Shape, value: Any, place: str, unknown: list[int]) -> Any:
    if not isinstance(value, dict):
        raise _refuse(shape, value, place)
    properties, required = shape["properties"], shape["required"]
    found = {}
    for name, property_ in properties.items():
        given = value.get(name)
        if given is None and name not in required:
            continue
        if name not in value:
            bound = f"it must be {property_['is']}"
            raise _Refused(Fault(f"{place}.{name}", None, bound, "missing"))
        found[name] = _checked(property_, given, f"{place}.{name}", unknown)
    extra = [name for name in value if name not in properties]
    if extra and shape["closed"]:
        first, known = _first(extra), ", ".join(properties)
        where = f"{place}.{quote_name(first)}"
        raise _Refused(Fault(where, value[first], f"known keys are {known}", "unknown"))
    unknown[0] += len(extra)
    for first, second in shape["sameLength"]:
        _check_same_length(found, first, second, place)
    return found


def _first(names: Iterable[str]) -> str:
    """Return the first of some names in UTF-16 order."""
    return min(names, key=lambda name: name.encode("utf-16-be", "surrogatepass"))


def _check_same_length(found: Mapping[str, Any], first: str, second: str, place: str) -> None:
    """`first` names an array, the arrays in an array (`rows[]`), or those in its objects."""
    length = len(found.get(second, ()))
    outer, _, inner = first.partition("[]")
    one = found.get(outer, [])
    if outer == first:
        arrays = [(first, one)] if one else []
    elif inner:
        key = inner[1:]
        arrays = [(f"{outer}[{i}].{key}", each.get(key, [])) for i, each in enumerate(one)]
    else:
        arrays = [(f"{outer}[{i}]", each) for i, each in enumerate(one)]
    for name, each in arrays:
        if len(each) != length:
            bound = f"it must be as long as {second}, {length:,}"
            raise _Refused(Fault(f"{place}.{name}", each, bound))


def _check_any_of(shape: Shape, value: Any, place: str, unknown: list[int]) -> Any:
    for one in shape["anyOf"]:
        before = unknown[0]
        try:
            return _checked(one, value, place, unknown)
        except _Refused:
            unknown[0] = before
    raise _refuse(shape, value, place)


def _check_json(shape: Shape, value: Any, place: str, _: list[int]) -> Any:
    if not _fits(shape, value, shape["maxDepth"], [shape["maxValues"]]):
        raise _refuse(shape, value, place)
    return _copy(value)


def _fits(shape: Shape, value: Any, depth: int, left: list[int]) -> bool:
    left[0] -= 1
    if left[0] < 0 or depth < 0:
        return False
    if isinstance(value, str):
        return _is_within(value, shape["maxLength"]) and is_unicode(value)
    if isinstance(value, list):
        return len(value) <= left[0] and all(_fits(shape, v, depth - 1, left) for v in value)
    if isinstance(value, dict):
        fits = len(value) <= left[0] and all(
            _is_within(name, shape["maxLength"]) and is_unicode(name) for name in value
        )
        return fits and all(_fits(shape, v, depth - 1, left) for v in value.values())
    return value is None or isinstance(value, bool) or is_number(value)


def _copy(value: Any) -> Any:
    if isinstance(value, list):
        return [_copy(item) for item in value]
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    return _as_double(value) if type(value) is int else value


def _is_within(value: str, max_length: int) -> bool:
    length = len(value)
    if length > max_length:
        return False
    return value.isascii() or 2 * length <= max_length or utf16_length(value) <= max_length


def utf16_length(value: str) -> int:
    """Return the length of a text in UTF-16 units, as JavaScript counts."""
    return len(value) + sum(character > "\uffff" for character in value)


def is_unicode(value: str) -> bool:
    """Return whether a text has no lone surrogate: what UTF-8 can write."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def is_number(value: object) -> bool:
    """Return whether a value is a finite number of either language."""
    if type(value) is int and not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        try:
            return math.isfinite(float(value))
        except OverflowError:
            return False
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


def _as_double(value: Any) -> Any:
    """Return a number as JavaScript holds it: integers are exact up to 2⁵³."""
    return value if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER else float(value)


def describe(value: object) -> str:
    """Return a description of a value for a message: short, one line, ASCII."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        length = utf16_length(value)
        return _quote(value) + (f", {length:,} characters" if length > _EXCERPT_LENGTH else "")
    if isinstance(value, int | float):
        if not is_number(value):
            return "a number that is not finite"
        if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            return "a number beyond 2^53"
        return f"{int(value):,}" if value == int(value) else "a fraction"
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    return f"an object of {len(value):,}" if isinstance(value, dict) else "no JSON"


def quote_name(name: str) -> str:
    """Return the name of a property for a message."""
    return name if _PLAIN_NAME.fullmatch(name) else _quote(name)


def _quote(value: str) -> str:
    return json.dumps(value[:_EXCERPT_LENGTH])


@lru_cache(maxsize=256)
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


_CHECKS: Final[dict[str, Callable[[Shape, Any, str, list[int]], Any]]] = {
    "string": _check_string,
    "integer": _check_integer,
    "number": _check_number,
    "metric": _check_metric,
    "boolean": _check_boolean,
    "null": _check_null,
    "enum": _check_enum,
    "array": _check_array,
    "map": _check_map,
    "object": _check_object,
    "anyOf": _check_any_of,
    "json": _check_json,
}
