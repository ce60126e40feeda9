"""The log of a run as its processes have it: the first one writes, the others do not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from gpu_runner.errors import CheckpointError
from gpu_runner.log.heartbeat import Log
from gpu_runner.log.tail import LOG_NAME
from gpu_runner.log.writer import EventLog, LogError, SystemClock


class SilentLog:
    """The log of every process but the first: nothing is written twice."""

    def emit(self, kind: str, step: int, **payload: object) -> bool:
        """Nothing."""
        del kind, step, payload
        return True


def open_log(directory: Path, attempt: int, *, first: bool) -> AbstractContextManager[Log]:
    """The log of the run in `directory`, a new one for attempt 0. Raises `CheckpointError`."""
    if not first:
        return nullcontext(SilentLog())
    try:
        path = directory / LOG_NAME
        return EventLog(path, run=directory.name, clock=SystemClock(), attempt=attempt)
    except LogError as error:
        raise CheckpointError(str(error)) from None
