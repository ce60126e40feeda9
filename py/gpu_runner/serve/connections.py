"""Connections before they are requests: how many there may be, and how long a request may take.

Anyone who can reach the port can hold connections open: silent ones, half a request, a byte a
second. None of them has shown the token. So a request has a deadline for its head and for its body,
and of the connections without the token the silent ones make room for new ones: however many there
are, one that brings the token is answered.

    STRANGERS   connections that may wait at once without having shown the token; fewer where the
                process may open few files
    HOLDERS     connections with it; beyond them the answer is 503

uvicorn knows one limit for all, and a deadline only between two requests (its keep-alive).
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections import Counter
from typing import Any, Final

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from gpu_runner.system import limits

STRANGERS: Final = min(512, limits.open_files() // 4)
HOLDERS: Final = 128
HUNG_UP: Final = getattr(select, "POLLRDHUP", 0)  # Linux only
HEAD_SECONDS: Final = 5.0
BODY_SECONDS: Final = 5.0


class Door:
    """The open connections of one server that have not shown the token, the oldest first."""

    def __init__(self) -> None:
        self._strangers: dict[Any, Connection] = {}

    def protocol(self) -> type[H11Protocol]:
        """Return the protocol class of each connection, bound to this door."""

        class Bound(Connection):
            door = self

        return Bound

    def come(self, connection: Connection) -> None:
        """Add a connection; when there are too many, the oldest half of the silent ones goes.

        One whose bytes wait to be read, or whose request is not answered yet, may have brought the
        token, so it is not silent; one that has hung up is.
        """
        self._strangers[connection.client] = connection
        if len(self._strangers) <= STRANGERS:
            return
        files = {
            c: a.transport.get_extra_info("socket").fileno() for c, a in self._strangers.items()
        }
        speaking: set[int] = set()
        if hasattr(select, "poll"):  # not on Windows
            arrived = select.poll()
            for file in files.values():
                arrived.register(file, select.POLLIN | HUNG_UP)
            speaking = {file for file, event in arrived.poll(0) if event == select.POLLIN}
        silent = [
            client
            for client, connection in self._strangers.items()
            if files[client] not in speaking and connection.is_idle
        ]
        for client in silent[: STRANGERS // 2] or [next(iter(files))]:
            self._strangers.pop(client).transport.abort()

    def go(self, connection: Connection) -> None:
        """Remove a connection that has ended."""
        if self._strangers.get(connection.client) is connection:
            del self._strangers[connection.client]

    def let_in(self, scope: Scope) -> None:
        """Count the connection of this request as one that has shown the token."""
        self._strangers.pop(scope.get("client"), None)


class Connection(H11Protocol):
    """One connection, with deadlines, whose end within an answer is no error of ours."""

    door: Door
    _deadline: asyncio.TimerHandle | None = None
    _awaited: object = None
    """The request whose body was given a deadline."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the head of a request."""
        super().connection_made(transport)
        self.door.come(self)
        self._expect(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the deadline."""
        self._expect(None)
        self.door.go(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request: the rest has its own deadline."""
        if self.is_idle and self._deadline is None:
            self._expect(HEAD_SECONDS)
        super().data_received(data)
        self._await_body()

    def on_response_complete(self) -> None:
        """End an answer; uvicorn's own keep-alive waits for the next request."""
        self._expect(None)
        super().on_response_complete()  # which may continue with a request that is there already
        self._await_body()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request; within an answer, close the connection."""
        if self.cycle is None or self.cycle.response_complete:
            return super().send_400_response(msg)
        self.cycle.disconnected = True  # nobody reads the rest of the answer
        self.cycle.message_event.set()
        return self.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _await_body(self) -> None:
        """Give the body of a request a deadline of its own, once its head is there."""
        if self.is_idle or self._awaited is self.cycle:
            return
        self._awaited = self.cycle
        self._expect(BODY_SECONDS if self.cycle.more_body else None)

    def _expect(self, seconds: float | None) -> None:
        """Close the connection in so many seconds, unless the deadline is changed before."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self._close)

    def _close(self) -> None:
        """Close it, unless a body has arrived in the meantime and is being answered."""
        if self.is_idle or self.cycle.more_body:
            self.transport.abort()


class RepeatFilter(logging.Filter):
    """Lets a message through at its 1st, 10th, 100th … time: a flood must not fill the terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._times: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to print it; from the second on with the number of times."""
        self._times[record.msg] += 1
        times = self._times[record.msg]
        if times > 1:
            record.msg, record.args = f"{record.getMessage()} ({times:,} times)", None
        return str(times).strip("0") == "1"
