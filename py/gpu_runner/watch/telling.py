"""What a watched run writes: the same events as a run of ours, as far as there is something to say.

Numbers of a step may still be on their way from a card. So there a step is told when the next one
has ended: reading it then waits for nothing. A thread beside the loop writes what the machine does
(`gpu_runner.system`); it knows neither the model nor the run, and ends with the log.
"""

from __future__ import annotations

import math
import secrets
import sys
import time
import weakref
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import torch

from gpu_runner.checkpoint.history import History
from gpu_runner.errors import SystemFailure, is_lost_process, is_out_of_memory
from gpu_runner.log.mailbox import Mailbox, Orders
from gpu_runner.log.writer import EventLog, LogError, SystemClock
from gpu_runner.oom.report import PostMortem
from gpu_runner.plan.machine import card_names
from gpu_runner.plan.predict import Prediction
from gpu_runner.run.ending import losses
from gpu_runner.run.events.record import Recorder
from gpu_runner.system.cards import Cards
from gpu_runner.system.price import Spending
from gpu_runner.system.sampler import Sampler
from gpu_runner.text import printable
from gpu_runner.train.anchor import Drift
from gpu_runner.train.evaluate import Score
from gpu_runner.train.loop import State, StepResult
from gpu_runner.train.meter import StepMemory
from gpu_runner.watch.described import foretold
from gpu_runner.watch.steps import WatchedStep
from unfrozen.events import RunStatus

TICK_SECONDS: Final = 0.1
GONE: Final[tuple[RunStatus, str]] = ("stopped", "the model is gone")


class Voice:
    """What a person is told on the terminal: only what they should act on."""

    def say(self, text: str) -> None:
        """Nothing: the page says it."""
        del text

    def warn(self, text: str) -> None:
        """One line, on standard error."""
        print(f"unfrozen: {printable(text)}", file=sys.stderr, flush=True)

    def busy(self, text: str) -> None:
        """Nothing."""
        del text

    def hold(self, *, still: bool) -> None:
        """Whether training stands still because the page asked for it."""
        self.warn("paused by the page." if still else "training goes on.")

    def step(self, state: State, result: StepResult, measured_bytes: int) -> None:
        """Nothing."""
        del state, result, measured_bytes

    def scores(self, step: int, scores: list[Score], first: dict[str, float]) -> None:
        """Nothing."""
        del step, scores, first


def new_place(runs: Path, name: str | None) -> Path:
    """A new folder for a run, `name` or the time; a name that is taken gets a number.

    Raises `SystemFailure` where none can be made.
    """
    wanted = name or f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    if Path(wanted).name != wanted or wanted.startswith("."):
        raise SystemFailure(f"{wanted!r} is no name of a folder: give one without slashes.")
    for number in range(1, 10_000):
        place = runs / (wanted if number == 1 else f"{wanted}-{number}")
        try:
            place.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise SystemFailure(f"no run can be kept in {runs} ({error.strerror})") from None
        return place
    raise SystemFailure(f"{runs} holds 10,000 runs called {wanted}: give another name.")


class Teller:
    """Writes one watched run, and hears what the page asks of it."""

    def __init__(self, place: Path, device: torch.device, spending: Spending | None = None) -> None:
        try:
            self._log = EventLog(place / "events.jsonl", run=place.name, clock=SystemClock())
        except LogError as error:
            raise SystemFailure(str(error)) from None
        self.place = place
        self.state = State()
        self.history = History()
        self.recorder = Recorder(self._log, Voice(), self.history, spending)
        self.predicted_bytes = 0
        self.orders = Orders()
        self._mailbox = Mailbox(place, place.name, 0)
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
        )
        self._sampler.start()

    def predict(self, prediction: Prediction) -> None:
        """What steps to come will hold, told before the first and again for heavier ones."""
        self.predicted_bytes = prediction.peak_bytes
        self._log.emit("predicted", self.state.step, **foretold(prediction))

    def alert(self, text: str, level: str = "warn") -> None:
        """A sentence that a person should know."""
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
        self._log.close()

    def _stop_sampling(self) -> None:
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler = None


def end_of(error: BaseException | None) -> tuple[RunStatus, str]:
    """How a run ended whose loop was left by `error`, or by nothing."""
    if error is None:
        return "finished", ""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "stopped", "interrupted"
    text = f"{type(error).__name__}: {error}"[:1000]
    if is_lost_process(error):
        return "failed", f"another process is gone ({text})"[:1000]
    return ("oom" if is_out_of_memory(error) else "failed"), text


class Left(Protocol):
    """What can be told that its loop is over."""

    def left_by(self, error: BaseException | None) -> None:
        """By an error, or without one."""


class Closing:
    """Closes a run when the interpreter ends; keeps nothing alive until then."""

    def __init__(self, run: Left) -> None:
        self._run = weakref.ref(run)

    def __call__(self) -> None:
        """Close it, by the error that left the interpreter where there is one."""
        run = self._run()
        if run is not None:
            run.left_by(getattr(sys, "last_value", None))
