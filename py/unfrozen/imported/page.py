"""Files that a reader drops on the page, read by its own interpreter.

    import_file({name, modified, data}) ─▶ {import}          one reading at a time: the newest
    import_lines({import})              ─▶ {lines, more}     of an events.jsonl

Between two of these the interpreter answers other questions, and a reader who has had enough asks
no further. A file that cannot be read is answered with `problem`.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from unfrozen.errors import ForeignFileError
from unfrozen.imported.foreign_files import read_foreign
from unfrozen.imported.log import lines
from unfrozen.imported.sanitize import number, text

LINES_AT_ONCE: Final = 500
_ASIDE: Final = "another file has taken its place"
_FULL: Final = "the memory of this page does not hold it; `unfrozen import` reads it outside of it"

__all__ = ["import_file", "import_lines"]

_held: dict[int, Iterator[str]] = {}
_begun = 0


def import_file(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Read a file, its `data` in base64, `modified` in Unix seconds; an earlier one is dropped."""
    global _begun
    name, written = text(str(asked["name"]), 200), number(asked.get("modified")) or 0.0
    _begun += 1
    _held.clear()
    try:
        run = read_foreign(name, binascii.a2b_base64(asked["data"]))
    except (ForeignFileError, MemoryError) as error:
        return {"problem": str(error) if isinstance(error, ForeignFileError) else _FULL}
    _held[_begun] = lines(run, run.name or name, written)
    return {"import": _begun}


def import_lines(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the next lines of the log; `more` says whether others follow."""
    held = _held.get(asked["import"])
    if held is None:
        return {"problem": _ASIDE}
    found = list(islice(held, LINES_AT_ONCE))
    if len(found) < LINES_AT_ONCE:
        _held.clear()
    return {"lines": "".join(found), "more": len(found) == LINES_AT_ONCE}
