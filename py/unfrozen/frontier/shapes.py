"""What a value may be, as plain data that Python and JavaScript read alike.

A shape is an object with `type`, the bounds of that type, and `is`, the same in words:

    text       most: UTF-16 units; like: a pattern the whole text must match, if any
    whole      low, high; a number without a fraction: 3 and 3.0 are the same in JSON
    number     low, high; finite
    measured   a number, or "NaN", "Infinity", "-Infinity": JSON has no words for them
    flag       true or false
    nothing    null
    word       words: one of these
    list       most, of
    map        most, names, of: an object whose names are data
    object     fields, needs: those that must be there; closed: no others may be; long: pairs of
               (list, list): if the first is not empty, it is as long as the second; `rows[]` are
               the lists in `rows`. A field that need not be there may be null
    either     of: the first that fits counts
    json       deep, most: any JSON of so many values, nested so deep; longest: of its texts

Patterns use ASCII classes only, so that `re` and `RegExp` read them alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Shape = Mapping[str, Any]

SAFE: Final = 2**53 - 1
"""The largest whole number that JavaScript holds exactly."""
LARGEST: Final = 1.7976931348623157e308
"""The largest finite number of either language."""


def text(most: int, like: str = "", named: str = "") -> Shape:
    """Text of at most `most` UTF-16 units, each half of a pair beside its other half.

    `like` is a pattern in ASCII; `named` says in words what it asks for.
    """
    said = f"{named or 'text'} of at most {most:,} characters"
    return {"type": "text", "most": most, "is": said} | ({"like": like} if like else {})


def whole(low: int = 0, high: int = SAFE) -> Shape:
    """A whole number within ±(2⁵³ − 1)."""
    said = f"a whole number from {low:,} to {high:,}"
    return {"type": "whole", "low": low, "high": high, "is": said}


def number(low: float = -LARGEST, high: float = LARGEST) -> Shape:
    """A finite number."""
    bounded = (low, high) != (-LARGEST, LARGEST)
    said = f"a number from {low:g} to {high:g}" if bounded else "a finite number"
    return {"type": "number", "low": low, "high": high, "is": said}


MEASURED: Final[Shape] = {
    "type": "measured",
    "words": ["NaN", "Infinity", "-Infinity"],
    "is": 'a number, or "NaN", "Infinity" or "-Infinity"',
}
FLAG: Final[Shape] = {"type": "flag", "is": "true or false"}
NOTHING: Final[Shape] = {"type": "nothing", "is": "null"}


def word(*words: str) -> Shape:
    """One of some words."""
    said = ", ".join(words[:-1]) + f" or {words[-1]}" if len(words) > 1 else words[0]
    return {"type": "word", "words": list(words), "is": said}


def listed(of: Shape, most: int) -> Shape:
    """A list of at most `most` such values."""
    return {"type": "list", "most": most, "of": of, "is": f"a list of at most {most:,}"}


def mapped(names: Shape, of: Shape, most: int) -> Shape:
    """An object with at most `most` names, which are data; `names` is a shape of text."""
    said = f"an object of at most {most:,} names"
    return {"type": "map", "most": most, "names": names, "of": of, "is": said}


def record(
    fields: Mapping[str, Shape],
    needs: Sequence[str] = (),
    *,
    closed: bool = False,
    long: Sequence[tuple[str, str]] = (),
) -> Shape:
    """An object with known fields; others are counted and left out, or refused where `closed`."""
    pairs = [list(pair) for pair in long]
    shape = {"type": "object", "fields": dict(fields), "needs": list(needs), "is": "an object"}
    return shape | {"closed": closed, "long": pairs}


def either(*of: Shape) -> Shape:
    """The first of some shapes that fits."""
    return {"type": "either", "of": list(of), "is": " or ".join(str(one["is"]) for one in of)}


def json(deep: int, most: int, longest: int = 4096) -> Shape:
    """Any JSON of at most `most` values, nested at most `deep`, for what is kept and not drawn."""
    said = f"JSON of at most {most:,} values, {deep} deep, with texts of at most {longest:,}"
    return {"type": "json", "deep": deep, "most": most, "longest": longest, "is": said}
