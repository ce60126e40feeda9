"""Files of rows, told apart by their first bytes: compressed or not, text or a table."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shlex
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
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


def unpacked(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where it is compressed by gzip, bzip2 or xz."""
    with path.open("rb") as file:
        start = file.read(8)
    for magic, opener in _COMPRESSED.items():
        if start.startswith(magic):
            packed: IO[bytes] = opener(path, "rb")
            return packed
    return path.open("rb")


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
