"""A run's log as server-sent events: the tail of the file, framed.

The `id` of an event is the byte offset after its line, so the client's last id is exactly where it
goes on. What does not belong to the log travels in comments, which other clients ignore:

    : writer yes|no|unknown    does a process still hold the log open? (at the start, every 5 s, and
                               when events come from one that was not there before)
    : size N                   the log has N bytes now (every 5 s): how far the reader is behind
    : skipped N                N damaged lines lie before the next event
    : caught-up                once: what the log held when it was opened has been sent

Every step of a stream reads one piece of the file, in a thread of its own: a log of any size, and a
line of any length, costs the event loop nothing and other readers a few milliseconds at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gpu_runner.log.tail import (
    CHUNK_BYTES,
    Tail,
    is_line_start,
    last_event,
    parse,
    writer_alive,
)

HEARTBEAT_SECONDS: Final = 5.0
MAX_STREAMS: Final = 32
POLL_SECONDS: Final = 0.04
WRITER: Final = {True: b"yes", False: b"no", None: b"unknown"}
NOBODY: Final = b": writer no\n\n"
CAUGHT_UP: Final = b": caught-up\n\n"
T = TypeVar("T")
_READERS: Final = CapacityLimiter(4)


class StreamError(Exception):
    """A stream cannot be opened; `status` is the HTTP status of the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class EventStreams:
    """The open streams of one server: bounded in number, ended together by `close`."""

    def __init__(self) -> None:
        self.count = 0
        self._closing = False

    def close(self) -> None:
        """End every stream at its next poll. Clients see an end without a `run.end`."""
        self._closing = True

    async def open(self, log: Path, offset: int) -> Response:
        """Stream `log` from `offset`; 204 when a finished run has nothing after it.

        Raises `StreamError` 400 for an offset that is not the end of a line, `OSError` for a log
        that cannot be read. The answer is 503 when too many streams are open.
        """
        await _in_thread(_check, log, offset)
        if await _in_thread(_is_over, log, offset):
            return Response(status_code=204)
        return _Stream(self, self._frames(Tail(log, offset)))

    async def _frames(self, tail: Tail) -> AsyncIterator[bytes]:
        try:
            async for frame in _follow(tail):
                if self._closing:
                    return
                if frame:
                    yield frame
        except OSError:  # the run was deleted or made unreadable
            return


class _Stream(StreamingResponse):
    """A stream that is counted while it is sent."""

    def __init__(self, streams: EventStreams, frames: AsyncIterator[bytes]) -> None:
        super().__init__(frames, media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            return await Response(media_type=self.media_type)(scope, receive, send)
        if self._streams.count >= MAX_STREAMS:
            text = f"{MAX_STREAMS} streams are open: close a page and try again"
            return await JSONResponse({"error": text}, 503)(scope, receive, send)
        self._streams.count += 1  # nothing was awaited since it was read
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.count -= 1


async def _follow(tail: Tail) -> AsyncIterator[bytes]:
    """Frames until the run is over; empty ones in between, so that the caller can stop."""
    yield (sent := await _in_thread(_writer, tail))
    beat_at = time.monotonic() + HEARTBEAT_SECONDS
    over = caught_up = False
    skipped = 0
    there = tail.path.stat(follow_symlinks=False).st_size  # it may grow while it is sent
    while True:
        begun = tail.offset
        lines = await _in_thread(tail.read) if tail.has_grown() else []
        if lines:
            yield _framed(lines, tail.bad_lines - skipped)
            skipped = tail.bad_lines
        if not caught_up and (tail.offset >= there or tail.offset == begun):
            caught_up = True
            yield CAUGHT_UP
        if lines:
            over = _ends(parse(lines[-1][1]))
            if sent == NOBODY and (now := await _in_thread(_writer, tail)) != sent:
                yield (sent := now)
        if time.monotonic() >= beat_at:
            beat_at = time.monotonic() + HEARTBEAT_SECONDS
            yield (sent := await _in_thread(_writer, tail))
            yield b": size %d\n\n" % tail.path.stat(follow_symlinks=False).st_size
        yield b""
        if tail.offset > begun:
            await asyncio.sleep(0)  # sending may not wait: let others run, and notice a disconnect
            continue
        if over:
            return
        await asyncio.sleep(POLL_SECONDS)


async def _in_thread(read: Callable[..., T], *arguments: Any) -> T:
    """Return what `read` returns, in a thread; only a few run at once."""
    return await to_thread.run_sync(read, *arguments, limiter=_READERS)


def _framed(lines: list[tuple[int, bytes]], skipped: int) -> bytes:
    parts = [b": skipped %d\n\n" % skipped] if skipped else []
    for end, line in lines:  # a carriage return, a blank in JSON, would end the line of an event
        parts.append(b"id: %d\ndata: %s\n\n" % (end, line.replace(b"\r", b" ")))
    return b"".join(parts)


def _writer(tail: Tail) -> bytes:
    return b": writer %s\n\n" % WRITER[writer_alive(tail.path)]


def _check(log: Path, offset: int) -> None:
    size = log.stat(follow_symlinks=False).st_size
    if offset > size or not is_line_start(log, offset):
        reason = f"after={offset} is not the end of a line in a log of {size} bytes"
        raise StreamError(400, f"{reason}: use the id of an event, or 0")


def _is_over(log: Path, offset: int) -> bool:
    at_end = offset == log.stat(follow_symlinks=False).st_size
    return at_end and _ends(last_event(log, CHUNK_BYTES))


def _ends(event: dict[str, Any] | None) -> bool:
    return event is not None and event["kind"] in ("run.end", "blend")
