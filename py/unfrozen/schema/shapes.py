"""What a value may be, as plain data that Python and JavaScript read alike.

A shape is an object with `type`, the bounds of that type, and `is`, the same in a sentence. The
words are JSON Schema's where it has one:

    string     maxLength in UTF-16 units; pattern: the whole text must match, if given
    integer    minimum, maximum; a number without a fraction: 3 and 3.0 are the same in JSON
    number     minimum, maximum; finite
    metric     a number, or "NaN", "Infinity", "-Infinity": JSON cannot write them
    boolean    true or false
    null       null
    enum       values: one of these strings
    array      maxItems, items
    map        maxProperties, names, values: an object whose names are data
    object     properties; required; closed: other properties are refused, not left out;
               sameLength: pairs of (array, array): unless it is empty, the first is as long as the
               second; `rows[]` stands for the arrays in `rows`. An optional property may be null
    anyOf      anyOf: the first that fits counts
    json       maxDepth, maxValues: any JSON within them; maxLength: of its strings

Patterns use ASCII classes only, so that `re` and `RegExp` read them alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Shape = Mapping[str, Any]

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""The largest whole number that JavaScript holds exactly."""
MAX_NUMBER: Final = 1.7976931348623157e308
"""The largest finite number of either language."""


def string(max_length: int, pattern: str = "", described: str = "text") -> Shape:
    """Return the shape of text of at most `max_length` UTF-16 units, without lone surrogates.

    `pattern` is in ASCII; `described` says in words what it asks for.
    """
    sentence = f"{described} of at most {max_length:,} characters"
    shape = {"type": "string", "maxLength": max_length, "is": sentence}
    return shape | ({"pattern": pattern} if pattern else {})


def integer(minimum: int = 0, maximum: int = MAX_SAFE_INTEGER) -> Shape:
    """Return the shape of a whole number within ±(2⁵³ − 1)."""
    sentence = f"a whole number from {minimum:,} to {maximum:,}"
    return {"type": "integer", "minimum": minimum, "maximum": maximum, "is": sentence}


def number(minimum: float = -MAX_NUMBER, maximum: float = MAX_NUMBER) -> Shape:
    """Return the shape of a finite number."""
    bounded = (minimum, maximum) != (-MAX_NUMBER, MAX_NUMBER)
    sentence = f"a number from {minimum:g} to {maximum:g}" if bounded else "a finite number"
    return {"type": "number", "minimum": minimum, "maximum": maximum, "is": sentence}


METRIC: Final[Shape] = {
    "type": "metric",
    "values": ["NaN", "Infinity", "-Infinity"],
    "is": 'a number, or "NaN", "Infinity" or "-Infinity"',
}
BOOLEAN: Final[Shape] = {"type": "boolean", "is": "true or false"}
NULL: Final[Shape] = {"type": "null", "is": "null"}


def enum(*values: str) -> Shape:
    """Return the shape of one of some strings."""
    sentence = ", ".join(values[:-1]) + f" or {values[-1]}" if len(values) > 1 else values[0]
    return {"type": "enum", "values": list(values), "is": sentence}


def array(items: Shape, max_items: int) -> Shape:
    """Return the shape of a list of at most `max_items` such values."""
    sentence = f"a list of at most {max_items:,}"
    return {"type": "array", "maxItems": max_items, "items": items, "is": sentence}


def mapping(names: Shape, values: Shape, max_properties: int) -> Shape:
    """Return the shape of an object whose names are data; `names` is the shape of a string."""
    sentence = f"an object of at most {max_properties:,} names"
    bounds = {"maxProperties": max_properties, "names": names, "values": values}
    return {"type": "map", **bounds, "is": sentence}


def record(
    properties: Mapping[str, Shape],
    required: Sequence[str] = (),
    *,
    closed: bool = False,
    same_length: Sequence[tuple[str, str]] = (),
) -> Shape:
    """Return the shape of an object with known properties.

    Others are counted and left out, or refused where it is `closed`.
    """
    pairs = [list(pair) for pair in same_length]
    lists = {"required": list(required), "closed": closed, "sameLength": pairs}
    sentence = f"an object with {', '.join(required)}" if required else "an object"
    return {"type": "object", "properties": dict(properties), **lists, "is": sentence}


def any_of(*shapes: Shape, described: str = "") -> Shape:
    """Return the shape of a value that fits one of `shapes`; `described` says it in words."""
    sentence = described or " or ".join(str(shape["is"]) for shape in shapes)
    return {"type": "anyOf", "anyOf": list(shapes), "is": sentence}


def json(max_depth: int, max_values: int, max_length: int = 4096) -> Shape:
    """Return the shape of any JSON within bounds, for what is stored and not drawn."""
    sentence = f"JSON of at most {max_values:,} values, {max_depth} deep"
    sentence += f", with texts of at most {max_length:,}"
    bounds = {"maxDepth": max_depth, "maxValues": max_values, "maxLength": max_length}
    return {"type": "json", **bounds, "is": sentence}
