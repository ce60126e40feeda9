"""A text file of another tool that is read whole, up to a bound."""

from __future__ import annotations

from typing import Final

from unfrozen.errors import ForeignFileError

MOST_BYTES: Final = 64 * 2**20


class WholeFile:
    """Collects the bytes of one file; a reader of a format begins with it."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises `ForeignFileError` for more than `MOST_BYTES`."""
        self._size += len(data)
        if self._size > MOST_BYTES:
            problem = f"it has more than {MOST_BYTES:,} bytes"
            remedy = "no log of training needs as many: is it another file?"
            raise ForeignFileError(self._file, problem, remedy, MOST_BYTES)
        self._pieces.append(data)

    def _text(self, remedy: str) -> str:
        """Return the text of the file. Raises `ForeignFileError` where it is not UTF-8."""
        try:  # editors of Windows put a byte-order mark in front
            return b"".join(self._pieces).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ForeignFileError(self._file, "it is not UTF-8", remedy, error.start) from None
