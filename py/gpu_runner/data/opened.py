"""Files of rows, told apart by their first bytes: compressed or not, text or a table.

Reading tells how far it has come, for those who watch.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shlex
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import IO, Any, Final

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
