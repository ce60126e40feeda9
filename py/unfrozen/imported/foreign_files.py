"""One run from the bytes of its files, whichever tool wrote them."""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from hashlib import sha256
from typing import Final, Literal

from unfrozen.errors import ForeignFileError
from unfrozen.imported.csv_table import CsvReader
from unfrozen.imported.log import ForeignRun
from unfrozen.imported.tensorboard import HEAD, EventFilesReader, is_head
from unfrozen.imported.tools import EXPECTED
from unfrozen.imported.trainer import TrainerStateReader

HEAD_BYTES: Final = HEAD + 4
"""How many bytes tell the tool."""
_OWN: Final = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{"v":\d')
_WORDS: Final = re.compile(r"[\w\"' ][^\x00-\x08\x0b\x0c\x0e-\x1f]*")
_WRITTEN: Final = re.compile(r"tfevents\.(\d+)")

ToolName = Literal["trainer", "tensorboard", "csv"]


def tool_of(head: bytes) -> ToolName | None:
    """Return which tool writes files that begin like this; None for none of them."""
    if is_head(head):
        return "tensorboard"
    plain = head.removeprefix(BOM_UTF8)
    if plain.lstrip().startswith(b"{"):
        return "trainer"
    return "csv" if _WORDS.fullmatch(plain.decode(errors="ignore")) else None


def order(file: str) -> tuple[int, str]:
    """Return the sort key of a run's files: when each was begun, which event files tell."""
    found = _WRITTEN.search(file)
    return int(found[1][:18]) if found else 0, file


class ForeignFiles:
    """Reads the files of one run. All methods raise `ForeignFileError`."""

    def __init__(self) -> None:
        self._hash = sha256()
        self._reader: EventFilesReader | TrainerStateReader | CsvReader | None = None
        self._file = ""
        self._head: bytes | None = None  # while the tool of this file is not known
        self._first = ""

    def begin(self, file: str) -> None:
        """A file begins; of a run of several the others were ended."""
        self._file, self._head = file, b""

    def feed(self, data: bytes) -> None:
        """Its next bytes."""
        self._hash.update(data)
        if self._head is not None:
            self._head += data
            if len(self._head) < HEAD_BYTES:
                return
            data, self._head = self._opened(self._head), None
        if self._reader is not None:
            self._reader.feed(data)

    def end(self) -> None:
        """It has no more bytes."""
        if self._head is not None:
            head, self._head = self._head, None
            if not head and _WRITTEN.search(self._file):
                return  # an event file that was opened, and not written yet
            data = self._opened(head)
            if self._reader is not None:
                self._reader.feed(data)
        if isinstance(self._reader, EventFilesReader):
            self._reader.end()

    def run(self) -> ForeignRun:
        """Return all files as one run."""
        if self._reader is None:
            raise ForeignFileError(self._file, "there is nothing in it", EXPECTED)
        return self._reader.run(self._hash.hexdigest())

    def _opened(self, head: bytes) -> bytes:
        """Find out who reads this file, from its first bytes, which are given back."""
        tool = tool_of(head)
        if _OWN.match(head):
            remedy = "the page opens it as it is, and a folder with it under the runs is a run"
            raise ForeignFileError(self._file, "it is a log of Unfrozen already", remedy)
        if tool is None:
            problem = "it is empty" if not head else "it is of no tool that is known here"
            if head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
                problem = "it is UTF-16: save it as UTF-8"
            raise ForeignFileError(self._file, problem, EXPECTED, 0)
        if isinstance(self._reader, EventFilesReader) and tool == "tensorboard":
            self._reader.begin(self._file)
        elif self._reader is not None:
            remedy = "only event files of TensorBoard are read together; give the others one by one"
            raise ForeignFileError(self._file, f"a second file, beside {self._first}", remedy)
        elif tool == "tensorboard":
            self._reader = EventFilesReader()
            self._reader.begin(self._file)
        elif tool == "trainer":
            self._reader = TrainerStateReader(self._file)
        else:
            self._reader = CsvReader(self._file)
        self._first = self._first or self._file
        return head
