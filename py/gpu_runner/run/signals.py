"""Ctrl-C and SIGTERM as a polite request: the step in progress is finished and everything saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final

_WATCHED: Final = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """A context manager that turns the first signal into `requested()`, and the second into a stop.

    Inside, one Ctrl-C or SIGTERM only sets a flag that the training loop reads between steps; one
    more raises KeyboardInterrupt. Outside the main thread it watches nothing.
    """

    def __init__(self) -> None:
        self._name = ""
        self._previous: dict[int, Any] = {}

    def requested(self) -> bool:
        """Whether someone asked the run to stop."""
        return bool(self._name)

    @property
    def reason(self) -> str:
        """The signal that came, by name."""
        return self._name

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._ask) for number in _WATCHED}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._name:
            raise KeyboardInterrupt
        self._name = signal.Signals(number).name
