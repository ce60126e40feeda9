"""Signals as a polite request: the step in progress is finished and everything saved.

A person presses Ctrl-C; a second one means that even saving takes too long. A scheduler sends
SIGTERM, some of them twice (Slurm to every process of a step, and torchrun passes on what it gets),
and SIGKILL when its patience is over: SIGTERM never means more by coming again. A terminal that is
closed sends SIGHUP, and nobody reads what is printed from then on.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from types import FrameType, TracebackType
from typing import Any, Final

_HANGUP: Final = getattr(signal, "SIGHUP", None)  # Windows has none
_WATCHED: Final = tuple(s for s in (signal.SIGINT, signal.SIGTERM, _HANGUP) if s is not None)


class StopRequest:
    """A context manager that turns signals into `requested()`, and Ctrl-C after one into a stop.

    Inside, a signal only sets a flag that the training loop reads between steps; SIGINT after any
    other raises KeyboardInterrupt. SIGHUP that was ignored before (`nohup`) stays ignored. Outside
    the main thread it watches nothing.
    """

    def __init__(self) -> None:
        self._name = ""
        self._previous: dict[int, Any] = {}

    def requested(self) -> bool:
        """Whether someone asked the run to stop."""
        return bool(self._name)

    @property
    def reason(self) -> str:
        """The signal that came first, by name."""
        return self._name

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            watched = (s for s in _WATCHED if s != _HANGUP or not _ignored(s))
            self._previous = {number: signal.signal(number, self._ask) for number in watched}
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
        if self._name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._name = self._name or signal.Signals(number).name
        if number == _HANGUP:
            _let_go_of_the_terminal()


def _ignored(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


def _let_go_of_the_terminal() -> None:
    """Send to nowhere what went to a terminal: writing to one that is gone is an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        try:
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(nowhere, descriptor)
        except OSError:  # closed already
            continue
    os.close(nowhere)
