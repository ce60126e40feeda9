"""Lets a cell hand numpy's numbers to `json`, as its reader expects them to go into a plot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unfrozen.publish import is_numpy, plain


@contextmanager
def numpy_in_json() -> Iterator[None]:
    """Make `json` write numpy's scalars and arrays as numbers and lists while the block runs.

    Only what `json` would refuse changes. An encoder with a `default` of its own keeps it.
    """
    before = json.JSONEncoder.default

    def default(self: json.JSONEncoder, value: Any) -> Any:
        """Stand in for JSONEncoder.default; raises TypeError as that does."""
        return plain(value) if is_numpy(value) else before(self, value)

    json.JSONEncoder.default = default  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        if json.JSONEncoder.default is default:  # a cell that has put its own there keeps it
            json.JSONEncoder.default = before  # type: ignore[method-assign]
