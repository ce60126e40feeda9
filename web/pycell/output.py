"""What a cell prints: capped, so that `while True: print()` harms nobody, and under its own cell.

Cells share one `sys.stdout` for as long as their interpreter lives, so what one keeps of it (a log
handler, a name) goes on working. Whose text it takes is a matter of context: a task or a timer
prints for the run that made it, and when that is over its text is refused and counted.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextvars import ContextVar, Token

OUTPUT_LIMIT_BYTES = 200_000


class CappedOutput:
    """Takes the text of one run: passes at most `limit_bytes` on and counts the rest.

    Lone surrogates, which no UTF-8 page can carry, are written as their backslash escapes.
    """

    def __init__(self, write: Callable[[str], None], limit_bytes: int = OUTPUT_LIMIT_BYTES) -> None:
        """Pass text on to `write`; count it in UTF-8 bytes."""
        self._write = write
        self._left_bytes = limit_bytes
        self.limit_bytes = limit_bytes
        self.dropped_bytes = 0
        self.is_open = True

    def take(self, text: str) -> None:
        """Pass on what still fits."""
        data = text.encode("utf-8", "backslashreplace")
        fits = data[: self._left_bytes]
        self._left_bytes -= len(fits)
        self.dropped_bytes += len(data) - len(fits)
        if fits:
            self._write(fits.decode("utf-8", "ignore"))  # a character cut in two is dropped whole

    def notice(self) -> str:
        """Say how much was left out; an empty string when everything was shown."""
        if not self.dropped_bytes:
            return ""
        return (
            f"Output is shown up to {self.limit_bytes // 1000} kB; "
            f"{self.dropped_bytes:,} more bytes were counted and left out. "
            "Print less often to see all of it."
        )


_run: ContextVar[CappedOutput | None] = ContextVar("run", default=None)


class Streams(io.TextIOBase):
    """Stands as `sys.stdout` and `sys.stderr` of all cells, so the order of both is kept."""

    def __init__(self) -> None:
        super().__init__()
        self._on: CappedOutput | None = None
        self._late = 0

    def begin(self, output: CappedOutput) -> Token[CappedOutput | None]:
        """A run begins: what its code, and all that it sets going, prints is for `output`."""
        self._on = output
        return _run.set(output)

    def end(self, output: CappedOutput, token: Token[CappedOutput | None]) -> None:
        """It is over: what still comes for it is refused."""
        output.is_open = False
        self._on = None
        _run.reset(token)

    def owner(self) -> CappedOutput | None:
        """The run that what asks belongs to; None when it is over."""
        output = _run.get() or self._on  # a thread has no context of its own
        return output if output is not None and output.is_open else None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8, for code that asks before it prints."""
        return "utf-8"

    def writable(self) -> bool:
        """Return True: this stream can only be written to."""
        return True

    def write(self, text: str) -> int:
        """Take text for the run it belongs to and return its number of characters, all of them.

        Raises TypeError for anything that is not a string, as every text stream does.
        """
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if (output := self.owner()) is not None:
            output.take(text)
        else:
            self.refuse(len(text.encode("utf-8", "backslashreplace")))
        return len(text)

    def refuse(self, late_bytes: int) -> None:
        """Count what came for a run that was over."""
        self._late += late_bytes

    def late_notice(self) -> str:
        """Say how much came late since this was last asked; an empty string for nothing."""
        late, self._late = self._late, 0
        if not late:
            return ""
        return (
            f"Meanwhile something that an earlier run had left going put out {late:,} bytes. "
            "They are left out: that run is over, and this one is another."
        )


streams = Streams()
