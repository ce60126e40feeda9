"""Files that a reader drops on the page, read by its own interpreter, piece by piece.

    import_files({files: [{name, modified}]}) ─▶ {import, order}   one reading at a time: the newest
    import_piece({import, data, last})        ─▶ {}                bytes of the files, in that order
    import_lines({import})                    ─▶ {lines, more}     of an events.jsonl

Between two of these the interpreter answers other questions, and a reader who has had enough asks
no further. A file that cannot be read is answered with `problem`.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from unfrozen.errors import ForeignFileError
from unfrozen.imported.foreign_files import ForeignFiles, order
from unfrozen.imported.log import lines
from unfrozen.imported.sanitize import number, text

LINES_AT_ONCE: Final = 500
MOST_FILES: Final = 200
_ASIDE: Final = "another file has taken its place"
_FULL: Final = "the memory of this page does not hold it; `unfrozen import` reads it outside of it"


class _Dropped:
    """An import: its files in their order, and the log once all are read."""

    def __init__(self, files: list[tuple[str, float]]) -> None:
        self._names = [name for name, _ in files]
        self._written = max(when for _, when in files)
        self._reading = ForeignFiles()
        self._reading.begin(self._names[0])
        self._next = 1
        self._lines: Iterator[str] | None = None

    def take(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._reading.feed(binascii.a2b_base64(asked["data"]))
        if asked["last"]:
            self._reading.end()
            if self._next < len(self._names):
                self._reading.begin(self._names[self._next])
                self._next += 1
        return {}

    def lines(self, _: Mapping[str, Any]) -> dict[str, Any]:
        if self._lines is None:
            run = self._reading.run()
            self._lines = lines(run, run.name or self._names[0], self._written)
        found = list(islice(self._lines, LINES_AT_ONCE))
        return {"lines": "".join(found), "more": len(found) == LINES_AT_ONCE}


__all__ = ["import_files", "import_lines", "import_piece"]

_held: dict[int, _Dropped] = {}
_begun = 0


def import_files(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Begin to read `files`, {name, modified: Unix seconds}; an earlier reading is dropped.

    `order` are their places in the order in which their bytes are wanted.
    """
    global _begun
    named = [text(str(file["name"]), 200) for file in asked["files"]]
    if not 0 < len(named) <= MOST_FILES:
        return {"problem": f"{len(named):,} files: from 1 to {MOST_FILES} are read at once"}
    places = sorted(range(len(named)), key=lambda place: order(named[place]))
    times = [number(asked["files"][place].get("modified")) or 0.0 for place in places]
    _begun += 1
    _held.clear()
    _held[_begun] = _Dropped([(named[p], when) for p, when in zip(places, times, strict=True)])
    return {"import": _begun, "order": places}


def import_piece(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Read the next bytes, `data` in base64; `last` says that they end their file."""
    return _answer(asked, _Dropped.take)


def import_lines(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the next lines of the log; `more` says whether others follow."""
    return _answer(asked, _Dropped.lines)


_Take = Callable[[_Dropped, Mapping[str, Any]], dict[str, Any]]


def _answer(asked: Mapping[str, Any], take: _Take) -> dict[str, Any]:
    held = _held.get(asked["import"])
    if held is None:
        return {"problem": _ASIDE}
    try:
        found = take(held, asked)
    except (ForeignFileError, MemoryError) as error:
        found = {"problem": str(error) if isinstance(error, ForeignFileError) else _FULL}
    if "problem" in found or found.get("more") is False:
        _held.clear()
    return found
