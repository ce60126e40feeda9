"""What a watched run writes: the same events as a run of ours, as far as there is something to say.

Numbers of a step may still be on their way from a card. So there a step is told when the next one
has ended: reading it then waits for nothing. A thread beside the loop writes what the machine does
(`gpu_runner.system`); it knows neither the model nor the run, and ends with the log.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from gpu_runner.checkpoint.training_state import History
from gpu_runner.errors import SystemFailure
from gpu_runner.log.heartbeat import Log
from gpu_runner.log.mailbox import Mailbox, Orders
from gpu_runner.log.opened import SilentLog
from gpu_runner.log.writer import EventLog, LogError, SystemClock
from gpu_runner.oom.report import PostMortem
from gpu_runner.plan.machine import card_names
from gpu_runner.plan.predict import Prediction
from gpu_runner.run.ending import losses
from gpu_runner.run.events.record import Recorder
from gpu_runner.system.cards import Cards
from gpu_runner.system.price import Spending
from gpu_runner.system.sampler import Sampler
from gpu_runner.train.evaluate import Score
from gpu_runner.train.initial_weights import Drift
from gpu_runner.train.loop import State, StepResult
from gpu_runner.train.measure import StepMemory
from gpu_runner.watch.steps import WatchedStep
from gpu_runner.watch.told.described import foretold
from gpu_runner.watch.told.voice import Voice
from unfrozen.events import RunStatus

TICK_SECONDS: Final = 0.1


def _log(place: Path) -> EventLog:
    try:
        return EventLog(place / "events.jsonl", run=place.name, clock=SystemClock())
    except LogError as error:
        raise SystemFailure(str(error)) from None


class Teller:
    """Writes one watched run, and hears what the page asks of it; without a place it does neither.

    That is one of several processes which does all that the first does, and tells nothing.
    """

    def __init__(
        self, place: Path | None, device: torch.device, spending: Spending | None = None
    ) -> None:
        self._log: Log = SilentLog() if place is None else _log(place)
        self.place = place
        self.state = State()
        self.history = History()
        self.recorder = Recorder(self._log, Voice(silent=place is None), self.history, spending)
        self.predicted_bytes = 0
        self.orders = Orders()
        self._mailbox = None if place is None else Mailbox(place, place.name, 0)
        self._late = device.type == "cuda"
        self._device = device
        self._spending = spending
        self._sampler: Sampler | None = None
        self._over = False
        self._waiting: tuple[WatchedStep, StepMemory | None, dict[str, float]] | None = None

    def start(self, payload: dict[str, Any]) -> None:
        """The first event; from now on the machine is looked at, too."""
        if self._spending is not None:
            payload["price"] = self._spending.price.as_json()
        self._log.emit("run.start", 0, **payload)
        state, cards = self.state, card_names(self._device)
        self._sampler = Sampler(
            self._log,
            lambda: state.step,
            cards=partial(Cards.open, cards) if cards else None,
            tell=self.recorder.alert,
            also=dict if self._spending is None else self._spending.now,
            wanted=self.place is not None,
        )
        self._sampler.start()

    def predict(self, prediction: Prediction) -> None:
        """What steps to come will hold, told before the first and again for heavier ones."""
        self.predicted_bytes = prediction.peak_bytes
        self._log.emit("predicted", self.state.step, **foretold(prediction))

    def alert(self, *texts: str, level: str = "warn") -> None:
        """Sentences that a person should know."""
        for text in texts:
            self.recorder.alert(level, text, self.state.step)

    def step(self, done: WatchedStep, memory: StepMemory | None, more: dict[str, float]) -> None:
        """A step has ended; `more` are metrics of it beside loss, norm, rate and time."""
        if self._late:
            self.flush()
            self._waiting = done, memory, more
        else:
            self._tell(done, memory, more)

    def flush(self) -> None:
        """Tell what still waits."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._tell(*waiting)

    def _tell(self, done: WatchedStep, memory: StepMemory | None, more: dict[str, float]) -> None:
        loss, norm = done.loss, done.grad_norm
        result = StepResult(
            number=done.number,
            loss=loss,
            grad_norm=norm,
            skipped=False,
            lr=done.lr,
            trainable_tokens=done.trained,
            seconds=done.seconds,
            memory=memory,
        )
        if done.right is not None and not math.isnan(right := float(done.right)):
            more = {**more, "train/token_accuracy": right}
        self.state.advance(result)
        self.recorder.step_done(self.state, result, more)

    def evaluated(self, scores: list[Score], drift: Drift | None, samples: list[Any]) -> None:
        """An evaluation at the step that the run has come to."""
        step = self.state.step
        self.history.take(step, {score.suite: score.loss for score in scores})
        if drift is not None:
            self.history.drift = drift.total
        self.recorder.evaluated(step, scores, drift, None)
        for index, (asked, text) in enumerate(samples):
            self.recorder.sampled(step, index, asked, text, "before" if step == 0 else "after")

    def saved(self, path: str) -> None:
        """The loop has written a checkpoint."""
        self.flush()
        self._log.emit("checkpoint", self.state.step, path=path)

    def hear(self, obey: Callable[[Orders], bool]) -> float:
        """Take in what the page asks; while it asks for a pause, stand still.

        `obey` does what can be done and tells whether to go on regardless. Returns the seconds
        that training stood still.
        """
        lost = 0.0
        if self._mailbox is None:
            return lost
        while True:
            self.orders = self._mailbox.read()
            go_on = obey(self.orders)
            heartbeat = self.recorder.heartbeat
            still = self.orders.paused and not self.orders.stop and not go_on
            changed = still != heartbeat.paused
            if changed:
                lost += self.recorder.hold(still=still)
            news = changed or heartbeat.heard != self.orders.seq
            heartbeat.heard = self.orders.seq
            if news or still:
                heartbeat.beat(self.state.step, heartbeat.promised_seconds, force=news)
            if not still:
                return lost
            time.sleep(TICK_SECONDS)

    def end(self, status: RunStatus, reason: str, found: PostMortem | None = None) -> None:
        """The last event, with what was found out of a lack of memory; the log is closed."""
        if self._over:
            return
        self._over = True
        self.flush()
        self._stop_sampling()
        measured, predicted = self.history.peak_bytes, self.predicted_bytes
        summary = {
            "steps": self.state.step,
            "tokens": self.state.tokens,
            "skipped": 0,
            "seconds": round(self.recorder.heartbeat.working_seconds, 3),
            "losses": losses(self.history),
            "drift": self.history.drift,
            "predicted_peak_bytes": predicted,
            "measured_peak_bytes": measured,
            "memory_ratio": measured / predicted if predicted else 0.0,
            "model": "",
        }
        if self._spending is not None:
            summary["cost"] = self._spending.now()["cost/spent"]
        more = {} if found is None else {"post_mortem": found.payload()}
        said: dict[str, Any] = {"status": status, "reason": reason, "summary": summary}
        self._log.emit("run.end", self.state.step, **said, **more)
        if isinstance(self._log, EventLog):
            self._log.close()
            if not self._log.path.exists():
                Voice().warn(f"{self._log.path} is gone, and with it what was told there.")

    def _stop_sampling(self) -> None:
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler = None
