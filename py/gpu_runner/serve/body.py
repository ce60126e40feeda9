"""The body of a command: strict JSON of a known shape, or one sentence about what is wrong.

JSON libraries differ in what they let through, and what is let through here becomes a command. So
there is one spelling only: UTF-8 without a byte order mark, no key twice, no NaN, no half of
a surrogate pair, nothing deep; and exactly the fields of the command, of exactly their types.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from gpu_runner.serve.guard import MAX_BODY_BYTES
from unfrozen.schema.check import read

Fields = Mapping[str, type]
COMMAND: Final[Fields] = {"command": str}
START: Final[Fields] = {"recipe": str, "numbers": dict}
CANCEL: Final[Fields] = {"name": str}


def parsed(fields: Fields, body: bytes) -> dict[str, Any]:
    """The object in `body`, with these fields. Raises `ValueError` that says why it is none."""
    found = read(body, MAX_BODY_BYTES, "the body")
    if found.problem:
        raise ValueError(f"{found.problem}: send one JSON object with {', '.join(fields)}")
    data = found.value
    json.loads(body, object_pairs_hook=_once)
    try:
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("the body holds half of a surrogate pair: it is no text") from None
    if not isinstance(data, dict) or data.keys() != fields.keys():
        raise ValueError(f"the body must be an object with exactly {', '.join(fields)}")
    for name, kind in fields.items():
        if type(data[name]) is not kind:
            raise ValueError(f"{name} must be {'text' if kind is str else 'an object'}")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no key comes twice."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("the body has a key twice")
    return dict(pairs)
