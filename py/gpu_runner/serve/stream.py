"""A run's log as server-sent events: the tail of the file, framed.

The `id` of an event is the byte offset after its line, so the client's last id is exactly where it
goes on. What does not belong to the log travels in comments, which other clients ignore:

    : writer yes|no|unknown    does a process still hold the log open? (at the start, every 5 s, and
                               when events come from one that was not there before)
    : skipped N                N damaged lines lie before the next event
    : caught-up                once: what the log held when it was opened has been sent
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from gpu_runner.log.tail import Tail, is_line_start, last_event, parse, writer_alive

HEARTBEAT_SECONDS: Final = 5.0
MAX_STREAMS: Final = 32
POLL_SECONDS: Final = 0.04
WRITER: Final = {True: b"yes", False: b"no", None: b"unknown"}
NOBODY: Final = b": writer no\n\n"
CAUGHT_UP: Final = b": caught-up\n\n"


class StreamError(Exception):
    """A stream cannot be opened; `status` is the HTTP status of the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class EventStreams:
    """The open streams of one server: bounded in number, ended together by `close`."""

    def __init__(self) -> None:
        self._open = 0
        self._closing = False

    def close(self) -> None:
        """End every stream at its next poll. Clients see an end without a `run.end`."""
        self._closing = True

    def open(self, log: Path, offset: int) -> Response:
        """Stream `log` from `offset`; 204 when a finished run has nothing after it.

        Raises `StreamError` 400 for an offset that is not the end of a line, 503 when too many
        streams are open.
        """
        size = log.stat().st_size
        if offset > size or not is_line_start(log, offset):
            reason = f"after={offset} is not the end of a line in a log of {size} bytes"
            raise StreamError(400, f"{reason}: use the id of an event, or 0")
        if offset == size and _is_over(log):
            return Response(status_code=204)
        if self._open >= MAX_STREAMS:
            raise StreamError(503, f"{MAX_STREAMS} streams are open: close a page and try again")
        return StreamingResponse(self._frames(Tail(log, offset)), media_type="text/event-stream")

    async def _frames(self, tail: Tail) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            async for frame in _follow(tail):
                if self._closing:
                    return
                if frame:
                    yield frame
        except FileNotFoundError:  # the run was deleted under the reader
            return
        finally:
            self._open -= 1


async def _follow(tail: Tail) -> AsyncIterator[bytes]:
    """Frames until the run is over; empty ones in between, so that the caller can stop."""
    yield (told := _writer(tail))
    beat_at = time.monotonic() + HEARTBEAT_SECONDS
    over = caught_up = False
    there = tail.path.stat().st_size  # it may grow faster than it is sent
    while True:
        skipped = tail.bad_lines
        lines = tail.read()
        frames = _framed(lines, tail.bad_lines - skipped)
        if not caught_up and (not lines or tail.offset >= there):
            caught_up = True
            frames += CAUGHT_UP
        if frames:
            yield frames
        if lines:
            over = _ends(parse(lines[-1][1]))
            if told == NOBODY and (now := _writer(tail)) != told:
                yield (told := now)
            await asyncio.sleep(0)  # sending may not wait: let others in, and a disconnect be seen
            continue
        if over:
            return
        if time.monotonic() >= beat_at:
            beat_at = time.monotonic() + HEARTBEAT_SECONDS
            yield (told := _writer(tail))
        yield b""
        await asyncio.sleep(POLL_SECONDS)


def _framed(lines: list[tuple[int, bytes]], skipped: int) -> bytes:
    parts = [b": skipped %d\n\n" % skipped] if skipped else []
    parts += [b"id: %d\ndata: %s\n\n" % line for line in lines]
    return b"".join(parts)


def _writer(tail: Tail) -> bytes:
    return b": writer %s\n\n" % WRITER[writer_alive(tail.path)]


def _is_over(log: Path) -> bool:
    return _ends(last_event(log))


def _ends(event: dict[str, Any] | None) -> bool:
    return event is not None and event["kind"] == "run.end"
