"""Threads by what they wait for: a slow answer keeps nothing else from its own.

    LISTS      the list of runs, and a run looked up in it
    OUTLINES   a whole log, one at a time
    QUESTIONS  models of runs that have ended, one question at a time
    COMMANDS   what changes something

Who leaves before its turn comes is forgotten; what has begun goes on to its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from anyio import CapacityLimiter, create_task_group, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

T = TypeVar("T")


class Pool:
    """A few threads of their own."""

    def __init__(self, threads: int) -> None:
        self._limiter = CapacityLimiter(threads)

    async def run(self, request: Request, work: Callable[..., T], *given: Any) -> T:
        """Return what `work` returns. Raises `ClientDisconnect` where nobody waits for it, and what
        `work` raises.
        """
        done: list[T] = []
        failed: list[Exception] = []

        async def answer() -> None:
            try:
                done.append(await to_thread.run_sync(work, *given, limiter=self._limiter))
            except Exception as error:  # a group of tasks would wrap it
                failed.append(error)
            group.cancel_scope.cancel()

        async with create_task_group() as group:
            group.start_soon(answer)
            while (await request.receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()
        if failed or not done:
            raise failed[0] if failed else ClientDisconnect
        return done[0]

    def answers(self, work: Callable[[Request], Response]) -> Callable[..., Awaitable[Response]]:
        """Return the endpoint whose answer `work` makes; an empty one where nobody waits for it."""

        async def endpoint(request: Request) -> Response:
            try:
                return await self.run(request, work, request)
            except ClientDisconnect:
                return GONE

        return endpoint


GONE: Final = Response(status_code=408)
LISTS: Final = Pool(4)
OUTLINES: Final = Pool(1)
QUESTIONS: Final = Pool(1)
COMMANDS: Final = Pool(8)
MOST_QUESTIONS: Final = 2
"""The most questions of a run at a time: one is answered, one waits."""
