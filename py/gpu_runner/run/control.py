"""Between two steps: commands of the page and signals, obeyed by all processes alike.

The first process reads the commands, each process has its signals, and one sum over all of them
decides what everybody does next. A paused run comes back here ten times a second: it sends beats,
it can be saved and stopped, and no process waits for another longer than that.

A signal is a polite request: the step in progress is finished and everything saved. A person
presses Ctrl-C; a second one means that even saving takes too long. A scheduler sends SIGTERM, some
of them twice (Slurm to every process of a step, and torchrun passes on what it gets), and SIGKILL
when its patience is over: SIGTERM never means more by coming again. A terminal that is closed sends
SIGHUP, and nobody reads what is printed from then on.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, TextIO, TypeVar

from gpu_runner.log.commands import CommandReader, Commands
from gpu_runner.log.questions import Question, read_question
from gpu_runner.run.observer import RunObserver
from gpu_runner.run.recorder import BEAT_SECONDS, Recorder
from gpu_runner.train.loop import State
from gpu_runner.world import World
from unfrozen.units import format_elapsed

T = TypeVar("T")

TICK_SECONDS: Final = 0.1
_HANGUP: Final = getattr(signal, "SIGHUP", None)  # Windows has none
_WATCHED: Final = (signal.SIGINT, signal.SIGTERM, *([_HANGUP] if _HANGUP else []))


class StopRequest:
    """A context manager that turns signals into `requested()`, and a later Ctrl-C into an exit.

    Inside, a signal only sets a flag that the training loop reads between steps; SIGINT after any
    other raises KeyboardInterrupt. SIGHUP that was ignored before (`nohup`) stays ignored. Outside
    the main thread it watches nothing.
    """

    def __init__(self) -> None:
        self._name = ""
        self._previous: dict[int, Any] = {}
        self._streams: tuple[TextIO, TextIO] | None = None

    def requested(self) -> bool:
        """Return whether a signal asked the run to stop."""
        return bool(self._name)

    @property
    def reason(self) -> str:
        """The name of the signal that came first."""
        return self._name

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            watched = (s for s in _WATCHED if s != _HANGUP or not _ignored(s))
            self._previous = {number: signal.signal(number, self._ask) for number in watched}
            self._streams = sys.stdout, sys.stderr
            sys.stdout, sys.stderr = map(_GuardedStream, self._streams)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._streams is not None:
            sys.stdout, sys.stderr = self._streams

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._name = self._name or signal.Signals(number).name
        if number == _HANGUP:
            _detach_terminal()


def _ignored(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


def _detach_terminal() -> None:
    """Redirect the terminal to /dev/null: writing to one that is gone is an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        try:
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(nowhere, descriptor)
        except OSError:  # closed already
            continue
    os.close(nowhere)


class _GuardedStream:
    """A stream that prints nothing from when its terminal is gone, which a write may see first."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text`; what a terminal refuses that is gone is lost."""
        return self._guard(lambda: self._stream.write(text)) or len(text)

    def flush(self) -> None:
        """Flush, likewise."""
        self._guard(self._stream.flush)

    def _guard(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            _detach_terminal()
            return None


class ControlLoop:
    """Obeys commands and signals between two steps."""

    def __init__(
        self,
        *,
        world: World,
        state: State,
        recorder: Recorder,
        observer: RunObserver,
        signals: StopRequest,
        commands: CommandReader | None,
    ) -> None:
        self._world = world
        self._state = state
        self._recorder = recorder
        self._observer = observer
        self._signals = signals
        self._reader = commands  # of the first process only
        self._commands = Commands()
        self._saved = self._looked = self._asked = 0
        self._reported = ""

    @property
    def stopped_by(self) -> str:
        """Who asked the run to stop: a signal, the page or another process."""
        by_page = "the page" if self._commands.stop else ""
        return self._signals.reason or by_page or "another process"

    def go_on(self) -> bool:
        """Return whether to take another step, once a pause is over. All processes call it."""
        while True:
            stop, pause, save, look, asked, writing = self._agree()
            if self._observer.pending and not writing:
                self._observer.settle()
            if save:
                self._save()
            if look:
                self._evaluate()
            if asked and not writing:
                self._answer()
            still = pause and not stop
            changed = still != self._recorder.heartbeat.paused
            if changed:
                self._pause(still=still)
            self._acknowledge(news=changed)
            if not still:
                return not stop
            time.sleep(TICK_SECONDS)

    def _agree(self) -> tuple[bool, ...]:
        """Return whether any process is to stop, pause, save, evaluate, and whether any writes."""
        if self._reader is not None:
            self._commands = self._reader.read()
            self._report(self._reader.problem)
        commands = self._commands
        stop = self._signals.requested() or self._observer.stop.reached or commands.stop
        save = commands.save > self._saved or self._observer.is_overdue(self._state)
        news = save, commands.look > self._looked
        wanted = commands.paused, *news, commands.ask > self._asked
        return self._world.any(stop, *wanted, self._observer.writing)

    def _save(self) -> None:
        self._saved = self._commands.save
        step = self._state.step
        if step == 0:
            self._recorder.alert("info", "Nothing to save yet: no step is done.", step)
        elif self._observer.kept_step == step:
            how = "being saved" if self._observer.pending else "saved already"
            self._recorder.alert("info", f"Step {step} is {how}.", step)
        else:
            self._observer.keep(self._state)

    def _evaluate(self) -> None:
        self._looked = self._commands.look
        if self._observer.looked_step == self._state.step:
            text = f"Step {self._state.step} is evaluated already."
            self._recorder.alert("info", text, self._state.step)
        else:
            self._observer.look(self._state, counts=False)
            self._recorder.resting()

    def _answer(self) -> None:
        """Answer the newest question; processes answer it together."""
        seq = self._asked = self._commands.ask
        question = self._world.on_first(lambda: self._read_question(seq))
        if question is not None:
            self._observer.answer(self._state, question, seq)
            self._recorder.resting()

    def _read_question(self, seq: int) -> Question | None:
        """Return the question, on the process that reads commands."""
        reader = self._reader
        if reader is None:
            return None
        return read_question(reader.directory, reader.run, reader.attempt, seq)

    def _pause(self, *, still: bool) -> None:
        step = self._state.step
        lost_seconds = self._recorder.hold(still=still)
        if still:
            text = f"Paused after step {step}, as the page asked. Ctrl-C saves and stops."
        else:
            text = f"Resumed after step {step}; the pause took {format_elapsed(lost_seconds)}."
        self._recorder.alert("info", text, step)

    def _acknowledge(self, *, news: bool) -> None:
        """Log which command was obeyed, at once; while paused, also that the run lives."""
        heartbeat = self._recorder.heartbeat
        news = news or self._commands.seq != heartbeat.heard
        heartbeat.heard = self._commands.seq
        if news or heartbeat.paused:
            due = BEAT_SECONDS if heartbeat.paused else heartbeat.promised_seconds
            heartbeat.beat(self._state.step, due, force=news)

    def _report(self, problem: str) -> None:
        if problem and problem != self._reported:
            self._recorder.alert("warn", f"{problem}.", self._state.step)
        self._reported = problem
