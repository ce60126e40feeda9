"""Files of examples, told apart by their first bytes: compressed or not, text, a table, an array.

CSV, TSV and Parquet are read as rows. A JSON array that is too long to be parsed in one piece is
read value by value. Whoever watches is told how much of a file has been read.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import os
import re
import shlex
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import IO, Any, Final, TextIO

from gpu_runner.errors import DataError

PARQUET: Final = b"PAR1"
_COMPRESSED: Final[dict[bytes, Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_NOT_READ: Final = {
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unpack it: zstd -d {}"),
    b"PK\x03\x04": ("a zip or a spreadsheet", "unzip it, or save the sheet as CSV: {}"),
    b"ARROW1": ("an Arrow file", "save its table as Parquet: {}"),
    b"\xff\xfe": ("UTF-16 text", "save it as UTF-8: iconv -f UTF-16 -t UTF-8 {} > rows.jsonl"),
    b"\xfe\xff": ("UTF-16 text", "save it as UTF-8: iconv -f UTF-16 -t UTF-8 {} > rows.jsonl"),
    b"SQLite format 3": ("a database", "write its rows as JSON, an object a line: {}"),
}
_BAD: Final = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


def first_bytes(path: Path) -> bytes:
    """The beginning of a file, unpacked where it is compressed.

    Raises `DataError` for a kind of file that is not read, `OSError` for one that cannot be.
    """
    with damage(path), unpacked(path) as file:
        found = file.read(64)
    for magic, (what, remedy) in _NOT_READ.items():
        if found.startswith(magic):
            raise DataError(f"{path} is {what}: {remedy.format(shlex.quote(str(path)))}.")
    return found


Watch = Callable[[str, float, int], None]
"""Is told what is going on, which share of it is done, and how many rows that are."""


def unwatched(what: str, share: float, rows: int) -> None:
    """Nobody looks."""


class ReadShare:
    """How far the reading of a source has come: `share` of it, from 0 to 1."""

    def __init__(self) -> None:
        self.share = 0.0


class _Counted(FileIO):
    """A file that tells how much of it has been read."""

    def __init__(self, path: Path, reading: ReadShare) -> None:
        super().__init__(path)
        self._reading = reading
        self._size = max(1, os.fstat(self.fileno()).st_size)

    def readinto(self, buffer: Any) -> int | None:
        """As a file does."""
        count = super().readinto(buffer)
        self._reading.share += (count or 0) / self._size
        return count


@contextmanager
def unpacked(path: Path, reading: ReadShare | None = None) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where it is compressed by gzip, bzip2 or xz."""
    with BufferedReader(_Counted(path, reading or ReadShare()), 2**20) as file:
        start = file.peek(8)
        for magic, opener in _COMPRESSED.items():
            if start.startswith(magic):
                with opener(file, "rb") as packed:
                    yield packed
                return
        yield file


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """A packed file that is cut off or damaged, as `DataError`."""
    try:
        yield
    except _BAD as error:
        raise DataError(
            f"{path} is compressed, and cut off or damaged ({str(error).rstrip('.')}): fetch or"
            " pack it again."
        ) from None


CHUNK: Final = 2**20
"""Characters that are read at a time."""
_LONGEST_WORD: Final = 16
"""More than the characters of what can be cut, texts apart: -Infinity, two escapes of one sign."""
_SPACE: Final = re.compile(r"[ \t\n\r]*")


class NotAnArray(ValueError):
    """What stands in a line that is no JSON, or more than one array."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def array_values(begun: str, file: TextIO, decoded: Callable[[str], Any]) -> Iterator[Any]:
    """Each value of the array that begins in `begun` and goes on in `file`, by `decoded` of its
    text. Raises `NotAnArray` where it ends too early, goes on too long or is no JSON.
    """
    text = _Text(begun, file)
    text.expect("[")
    if text.next() == "]":
        text.expect("]")
    else:
        yield decoded(text.value())
        while text.expect(",", "]") == ",":
            yield decoded(text.value())
    if text.next():
        raise NotAnArray(text.line, "the array has ended, and more follows")


class _Text:
    """What is read of a file and not yet taken; more is read when it is looked for."""

    def __init__(self, begun: str, file: TextIO) -> None:
        self._text, self._at, self._file = begun, 0, file
        self._lines = 1

    @property
    def line(self) -> int:
        """Where it is."""
        return self._lines + self._text.count("\n", 0, self._at)

    def next(self) -> str:
        """The next character that is no space; none at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(CHUNK):
                return ""

    def expect(self, *signs: str) -> str:
        """Take one of these characters."""
        if self.next() not in signs:
            raise NotAnArray(self.line, f"{' or '.join(map(repr, signs))} is missing")
        self._at += 1
        return self._text[self._at - 1]

    def value(self) -> str:
        """Take the text of one value, of which as much is read as it is long."""
        size = CHUNK
        self.next()
        while True:
            try:
                _, end = _END.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._is_wrong(error) or not self._more(size):
                    line = self._lines + self._text.count("\n", 0, error.pos)
                    raise NotAnArray(line, f"not JSON ({error.msg})") from None
            except RecursionError:
                raise NotAnArray(self.line, "not usable JSON (nested too deeply)") from None
            else:
                if end < len(self._text) or not self._more(size):  # a number may go on
                    found = self._text[self._at : end]
                    self._at = end
                    return found
            size *= 2

    def _is_wrong(self, error: json.JSONDecodeError) -> bool:
        """Whether it is so far from the end that no more text would mend it."""
        left = len(self._text) - error.pos
        return left > _LONGEST_WORD and not error.msg.startswith("Unterminated")

    def _more(self, size: int) -> bool:
        """Read on; what was taken is let go of."""
        self._lines = self.line
        found = self._file.read(size)
        self._text = self._text[self._at :] + found
        self._at = 0
        return bool(found)


_END: Final = json.JSONDecoder(
    object_pairs_hook=lambda _: None, parse_int=len, parse_float=len, parse_constant=len
)
"""Finds where a value ends, and makes nothing of it."""


Row = dict[str, Any]
_SEPARATORS: Final = ",;\t|"
_LONGEST_CELL: Final = 2**31 - 1
TABLES: Final = (".csv", ".tsv")


def is_table(path: Path) -> bool:
    """Whether a file of text is a table, by its name, however it is compressed."""
    return any(suffix.lower() in TABLES for suffix in path.suffixes[-2:])


def cells(path: Path, text: Iterable[str]) -> Iterator[tuple[str, Row | str]]:
    """(where, row or why it is none) for every line below the first, which names the columns.

    Raises `DataError` for a table without columns.
    """
    csv.field_size_limit(_LONGEST_CELL)
    lines = iter(text)
    first = next(lines, "")
    tabs = any(suffix.lower() == ".tsv" for suffix in path.suffixes[-2:])
    separator = "\t" if tabs else max(_SEPARATORS, key=first.count)
    header = next(csv.reader([first], delimiter=separator), [])
    columns = [name.strip() for name in header]
    if not any(columns):
        raise DataError(f"{path}:1: the first line of a table names its columns, and it is empty.")
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise DataError(f"{path}:1: two columns are called {twice!r}: rename one of them.")
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        number = reader.line_num + 2
        try:
            found = next(reader, None)
        except csv.Error as error:
            yield f"{path}:{number}", f"not a line of a table ({error})"
            continue
        if found is None:
            return
        if len(found) == len(columns):
            yield f"{path}:{number}", dict(zip(columns, found, strict=True))
        elif found:
            yield (
                f"{path}:{number}",
                f"it has {len(found)} cells, but the first line names {len(columns)} columns: put"
                ' cells with a separator or a line break in them between "…"',
            )


def parquet(path: Path, reading: ReadShare) -> Iterator[tuple[str, Row]]:
    """(where, row) pairs of a Parquet file. Raises `DataError`."""
    try:
        import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]
        from pyarrow import parquet as files
    except ImportError:
        raise DataError(
            f"{path} is a Parquet file, which pyarrow reads: first `pip install pyarrow`."
        ) from None
    try:
        file, number = files.ParquetFile(path), 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                yield f"{path}[{number}]", without_none(row)
                number += 1
            reading.share = number / file.metadata.num_rows
    except (pyarrow.ArrowException, ValueError) as error:  # a name in it that is not UTF-8
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path} is no Parquet file that can be read ({reason}).") from None


def without_none(value: Any) -> Any:
    """The same without the empty fields that a table gives to every row that has others."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_none(item) for item in value]
    return value
