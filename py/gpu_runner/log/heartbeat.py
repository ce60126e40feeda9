"""The sign of life of a run: when the next one is due, whether it stands still, what it heard.

`heard` is the `seq` of the newest command from the page that was obeyed (see `mailbox`). The clock
of the run stops while it is paused: its speed and its remaining time are about work.
"""

from __future__ import annotations

import math
import time
from typing import Final, Protocol

BEAT_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 120.0  # what a first evaluation or a save may take before it looks dead


class Log(Protocol):
    """Where events go; see `log`."""

    def emit(self, kind: str, step: int, **payload: object) -> bool:
        """Append one event."""


class Heartbeat:
    """Writes `beat` events, a beat every `BEAT_SECONDS` at most, and counts the seconds of work."""

    def __init__(self, log: Log) -> None:
        self.heard = 0
        self.promised_seconds = PATIENCE_SECONDS
        """When it said that it would be heard next, the last time that it was at work."""
        self._log = log
        self._last_beat = -math.inf
        self._started = time.monotonic()
        self._paused_at: float | None = None

    @property
    def paused(self) -> bool:
        """Whether the run stands still."""
        return self._paused_at is not None

    @property
    def working_seconds(self) -> float:
        """Time since the start, without pauses."""
        return (self._paused_at or time.monotonic()) - self._started

    def pause(self) -> None:
        """The clock stands still from now on."""
        self._paused_at = time.monotonic()

    def go_on(self) -> float:
        """The clock runs again; how long it stood still, in seconds."""
        if self._paused_at is None:
            return 0.0
        lost = time.monotonic() - self._paused_at
        self._started += lost
        self._paused_at = None
        return lost

    def beat(self, step: int, expect_next_in: float, *, force: bool = False) -> None:
        """Say that the run lives and when it will be heard next, unless it was said just now."""
        now = time.monotonic()
        if not force and now - self._last_beat < BEAT_SECONDS:
            return
        self._last_beat = now
        more: dict[str, object] = {"heard": self.heard} if self.heard else {}
        if self.paused:
            more["paused"] = True
        else:
            self.promised_seconds = expect_next_in
        self._log.emit("beat", step, expect_next_in=round(expect_next_in, 1), **more)
