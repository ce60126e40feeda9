"""Between two steps: what the page and the signals ask of a run, obeyed by all processes alike.

The first process reads the mailbox, each process has its signals, and one sum over all of them says
what everybody does next. A paused run comes back here ten times a second: it beats, it can be saved
and stopped, and no process waits for another longer than that.
"""

from __future__ import annotations

import time
from typing import Final

from gpu_runner.log.heartbeat import BEAT_SECONDS
from gpu_runner.log.mailbox import Mailbox, Orders
from gpu_runner.run.events.record import Recorder
from gpu_runner.run.observe import RunObserver
from gpu_runner.run.signals import StopRequest
from gpu_runner.train.loop import State
from gpu_runner.world import World
from unfrozen.units import format_elapsed

TICK_SECONDS: Final = 0.1


class ControlLoop:
    """Who is asked after every step whether there is another one."""

    def __init__(
        self,
        *,
        world: World,
        state: State,
        recorder: Recorder,
        observer: RunObserver,
        signals: StopRequest,
        mailbox: Mailbox | None,
    ) -> None:
        self._world = world
        self._state = state
        self._recorder = recorder
        self._observer = observer
        self._signals = signals
        self._mailbox = mailbox  # of the first process only
        self._orders = Orders()
        self._saved = self._looked = 0
        self._said = ""

    @property
    def asked_by(self) -> str:
        """Who asked the run to stop, in words."""
        by_page = "the page" if self._orders.stop else ""
        return self._signals.reason or by_page or "another process"

    def go_on(self) -> bool:
        """Whether to take another step; returns when a pause is over. All processes call it."""
        while True:
            stop, pause, save, look, writing = self._agreed()
            if self._observer.pending and not writing:
                self._observer.settle()
            if save:
                self._save()
            if look:
                self._look()
            still = pause and not stop
            changed = still != self._recorder.heartbeat.paused
            if changed:
                self._hold(still=still)
            self._answer(news=changed)
            if not still:
                return not stop
            time.sleep(TICK_SECONDS)

    def _agreed(self) -> tuple[bool, ...]:
        """Whether to stop, to pause, to save, to evaluate: what any process was told; and whether
        any writes.
        """
        if self._mailbox is not None:
            self._orders = self._mailbox.read()
            self._complain(self._mailbox.problem)
        orders = self._orders
        stop = self._signals.requested() or self._observer.stop.reached or orders.stop
        wishes = orders.paused, orders.save > self._saved, orders.look > self._looked
        return self._world.any(stop, *wishes, self._observer.writing)

    def _save(self) -> None:
        self._saved = self._orders.save
        step = self._state.step
        if step == 0:
            self._recorder.alert("info", "Nothing to save yet: no step is done.", step)
        elif self._observer.kept_step == step:
            how = "being saved" if self._observer.pending else "saved already"
            self._recorder.alert("info", f"Step {step} is {how}.", step)
        else:
            self._observer.keep(self._state)

    def _look(self) -> None:
        self._looked = self._orders.look
        if self._observer.looked_step == self._state.step:
            text = f"Step {self._state.step} is evaluated already."
            self._recorder.alert("info", text, self._state.step)
        else:
            self._observer.look_now(self._state)
            self._recorder.resting()

    def _hold(self, *, still: bool) -> None:
        step = self._state.step
        lost_seconds = self._recorder.hold(still=still)
        if still:
            text = f"Paused after step {step}, as the page asked. Ctrl-C still saves and stops."
        else:
            text = f"The pause after step {step} is over; it lasted {format_elapsed(lost_seconds)}."
        self._recorder.alert("info", text, step)

    def _answer(self, *, news: bool) -> None:
        """Tell the page what was heard, at once; while paused, also that the run lives."""
        heartbeat = self._recorder.heartbeat
        news = news or self._orders.seq != heartbeat.heard
        heartbeat.heard = self._orders.seq
        if news or heartbeat.paused:
            due = BEAT_SECONDS if heartbeat.paused else heartbeat.promised_seconds
            heartbeat.beat(self._state.step, due, force=news)

    def _complain(self, problem: str) -> None:
        if problem and problem != self._said:
            self._recorder.alert("warn", f"{problem}.", self._state.step)
        self._said = problem
