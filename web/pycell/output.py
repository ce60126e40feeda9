"""What a cell prints: one text stream, capped, so that `while True: print()` harms nobody."""

from __future__ import annotations

import io
from collections.abc import Callable

OUTPUT_LIMIT_BYTES = 200_000


class CappedOutput(io.TextIOBase):
    """A writable text stream that passes at most `limit_bytes` on and counts the rest.

    Stands in for both `sys.stdout` and `sys.stderr` of a cell, so their order is kept. Lone
    surrogates, which no UTF-8 page can carry, are written as their backslash escapes.
    """

    def __init__(self, write: Callable[[str], None], limit_bytes: int = OUTPUT_LIMIT_BYTES) -> None:
        """Pass text on to `write`; count it in UTF-8 bytes."""
        super().__init__()
        self._write = write
        self._left_bytes = limit_bytes
        self.limit_bytes = limit_bytes
        self.dropped_bytes = 0

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8, for code that asks before it prints."""
        return "utf-8"

    def writable(self) -> bool:
        """Return True: this stream can only be written to."""
        return True

    def write(self, text: str) -> int:
        """Pass on what still fits and return the number of characters taken, all of them.

        Raises TypeError for anything that is not a string, as every text stream does.
        """
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        data = text.encode("utf-8", "backslashreplace")
        fits = data[: self._left_bytes]
        self._left_bytes -= len(fits)
        self.dropped_bytes += len(data) - len(fits)
        if fits:
            self._write(fits.decode("utf-8", "ignore"))  # a character cut in two is dropped whole
        return len(text)

    def notice(self) -> str:
        """Say how much was left out; an empty string when everything was shown."""
        if not self.dropped_bytes:
            return ""
        return (
            f"Output is shown up to {self.limit_bytes // 1000} kB; "
            f"{self.dropped_bytes:,} more bytes were counted and left out. "
            "Print less often to see all of it."
        )
