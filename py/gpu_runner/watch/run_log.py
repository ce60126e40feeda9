"""The log of a watched run, and the messages to a person: the events of a run of ours.

Numbers of a step may still be on their way from a GPU. So there a step is written when the next one
has ended: reading it then waits for nothing. A thread beside the loop samples the machine
(`gpu_runner.system`); it knows neither the model nor the run, and ends with the log.
"""

from __future__ import annotations

import math
import secrets
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from gpu_runner.checkpoint.training_state import History
from gpu_runner.errors import SystemFailure, is_lost_process, is_out_of_memory
from gpu_runner.installed import program, short
from gpu_runner.log.commands import CommandReader, Commands
from gpu_runner.log.writer import EventLog, Log, LogError, SilentLog, SystemClock
from gpu_runner.memory.out_of_memory import OutOfMemoryReport
from gpu_runner.memory.prediction import Prediction
from gpu_runner.memory.tracker import StepMemory
from gpu_runner.plan.machine import gpu_uuids
from gpu_runner.run.finish import losses
from gpu_runner.run.recorder import Display, Recorder
from gpu_runner.system.gpus import Gpus
from gpu_runner.system.price import Spending
from gpu_runner.system.sampler import Sampler
from gpu_runner.text import printable
from gpu_runner.train.evaluate import Score
from gpu_runner.train.initial_weights import Drift
from gpu_runner.train.loop import State, StepResult
from gpu_runner.watch.steps import WatchedStep
from unfrozen.events import OTHER, RunStatus

TICK_SECONDS: Final = 0.1
READ_SECONDS: Final = 0.01
NOT_JOINED: Final = (
    "The weights are sharded, and not all processes watch: no held-out example is scored. Call"
    " unfrozen.watch in every process, with the same arguments."
)
SHARED: Final = (
    "Other threads use this model while it trains: held-out examples are not scored, because the"
    " model would be in evaluation mode meanwhile."
)
TOO_MANY_ERRORS: Final = "too many errors of watching itself"
NEVER_CALLED: Final = (
    "The loop never calls {} itself, so its inputs and its memory are unknown. Loss, gradient norm,"
    " learning rate and speed are shown. For the rest, pass unfrozen.watch the module that the loop"
    " calls."
)
NOT_FINITE: Final = (
    "The loss is {} at step {}: from here on the weights are probably lost. A lower learning rate,"
    " gradient clipping or bf16 in place of fp16 are the usual remedies."
)
OWN_LOSS: Final = "what backward() was called on, as the loop computes it"
OF_EXAMPLES: Final = "the loss that the model returns, by step"
MOST_LETTERS: Final = 120  # of a name of a loop's own metric
MOST_OWN: Final = 64
"""Names of a loop's own metrics that are shown."""
GONE: Final[tuple[RunStatus, str]] = ("stopped", "the model was deleted")


def _open_log(place: Path) -> EventLog:
    try:
        return EventLog(
            place / "events.jsonl",
            run=place.name,
            clock=SystemClock(),
            report=WatchTerminal().warn,
        )
    except LogError as error:
        raise SystemFailure(str(error)) from None


class RunLog:
    """Writes one watched run to `place`, and reads the commands of the page.

    Without a place it does neither: so in all processes but the first one.
    """

    def __init__(
        self, place: Path | None, device: torch.device, spending: Spending | None = None
    ) -> None:
        self._log: Log = SilentLog() if place is None else _open_log(place)
        self.place = place
        self.state = State()
        self.history = History()
        self.recorder = Recorder(
            self._log, WatchTerminal(silent=place is None), self.history, spending
        )
        self.recorder.counts_skipped = False  # a scaler skips a step without a call that we see
        self.predicted_bytes = 0
        self.orders = Commands()
        self._mailbox = None if place is None else CommandReader(place, place.name, 0)
        self._reads_again = 0.0
        self._delayed = device.type == "cuda"
        self._device = device
        self._spending = spending
        self._sampler: Sampler | None = None
        self._over = False
        self.lost_at = 0
        """The step since which the loss is not finite; 0 while it is."""
        self._alerted_loss = False
        self._own_names: dict[str, None] = {}
        self._waiting: tuple[WatchedStep, StepMemory | None, dict[str, float]] | None = None

    def start(self, payload: dict[str, Any]) -> None:
        """Write the first event and start sampling the machine."""
        if self._spending is not None:
            payload["price"] = self._spending.price.as_json()
        self._log.emit("run.start", 0, **payload)
        state, uuids = self.state, gpu_uuids(self._device)
        self._sampler = Sampler(
            self._log,
            lambda: state.step,
            open_gpus=partial(Gpus.open, uuids) if uuids else None,
            report=self.recorder.alert,
            more_metrics=dict if self._spending is None else self._spending.now,
            enabled=self.place is not None,
        )
        self._sampler.start()

    def write_rows(self, payload: dict[str, Any]) -> None:
        """Write what is known of the examples."""
        self._log.emit("rows", self.state.step, **payload)

    def write_prediction(self, prediction: Prediction) -> None:
        """Write the predicted memory of the following steps."""
        self.predicted_bytes = prediction.peak_bytes
        self._log.emit("predicted", self.state.step, **prediction.as_event())

    def alert(self, *texts: str, level: str = "warn") -> None:
        """Write sentences that a person should read."""
        for text in texts:
            self.recorder.alert(level, text, self.state.step)

    def write_step(
        self, done: WatchedStep, memory: StepMemory | None, more: dict[str, float]
    ) -> None:
        """Write a finished step; `more` are metrics beside loss, norm, rate and time."""
        if self._delayed:
            self.flush()
            self._waiting = done, memory, more
        else:
            self._write_step(done, memory, more)

    def flush(self) -> None:
        """Write the step that is still waiting, if there is one."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._write_step(*waiting)

    def _write_step(
        self, done: WatchedStep, memory: StepMemory | None, more: dict[str, float]
    ) -> None:
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
        self._check_loss(done.number, loss)
        accuracy = math.nan if done.accuracy is None else float(done.accuracy)
        if not math.isnan(accuracy):
            more = {**more, "train/token_accuracy": accuracy}
        self.state.advance(result)
        self.recorder.unit = "tokens" if done.has_tokens else "samples"
        self.recorder.step_done(self.state, result, more, _meanings(done))

    def _check_loss(self, number: int, loss: float | None) -> None:
        """Alert once when the loss is no number any more; the end says so if it stays that way."""
        if loss is None or math.isfinite(loss):
            self.lost_at = 0 if loss is not None else self.lost_at
        elif not self.lost_at:
            self.lost_at = number
            if not self._alerted_loss:
                self.recorder.alert("error", NOT_FINITE.format(loss, number), number)
            self._alerted_loss = True

    def write_own_metrics(self, values: dict[str, float]) -> None:
        """Write numbers of the loop's own, at the newest step."""
        self.flush()
        self._own_names |= dict.fromkeys(values)
        shown = set(list(self._own_names)[:MOST_OWN])
        found = {name: value for name, value in values.items() if name in shown}
        self._log.emit("metrics", self.state.step, m=found)

    def write_evaluation(
        self, scores: list[Score], drift: Drift | None, samples: list[Any]
    ) -> None:
        """Write an evaluation at the current step."""
        step = self.state.step
        losses = {score.suite: score.loss for score in scores}
        self.history.add_evaluation(step, losses, None if drift is None else drift.total)
        self.recorder.evaluated(step, scores, drift, None)
        for index, (prompt, text) in enumerate(samples):
            self.recorder.sampled(step, index, prompt, text, "before" if step == 0 else "after")

    def write_checkpoint(self, path: str) -> None:
        """Write that the loop has saved a checkpoint."""
        self.flush()
        self._log.emit("checkpoint", self.state.step, path=path)

    def read_commands(self, obey: Callable[[Commands], bool]) -> None:
        """Read the commands of the page, READ_SECONDS after the last time; wait while it pauses.

        `obey` does what the loop allows and returns whether to go on regardless.
        """
        if self._mailbox is None or time.monotonic() < self._reads_again:
            return
        self._reads_again = time.monotonic() + READ_SECONDS
        while True:
            self.orders = self._mailbox.read()
            goes_on = obey(self.orders)
            heartbeat = self.recorder.heartbeat
            still = self.orders.paused and not self.orders.stop and not goes_on
            changed = still != heartbeat.paused
            if changed:
                self.recorder.hold(still=still)
            news = changed or heartbeat.heard != self.orders.seq
            heartbeat.heard = self.orders.seq
            if news or still:
                heartbeat.beat(self.state.step, heartbeat.promised_seconds, force=news)
            if not still:
                return
            time.sleep(TICK_SECONDS)

    def write_end(
        self,
        status: RunStatus,
        reason: str,
        report: OutOfMemoryReport | None = None,
        memory_ratio: float = 0.0,
    ) -> None:
        """Write the last event, with the report if memory ran out, and close the log.

        `memory_ratio` is measured over predicted memory of one step, the heaviest one measured.
        """
        if self._over:
            return
        self._over = True
        self.flush()
        self._stop_sampling()
        if self.lost_at and status != "oom":
            lost = f"the loss is not finite since step {self.lost_at}"
            status, reason = "failed", f"{lost}; {reason}" if reason else lost
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
            "memory_ratio": memory_ratio,
            "model": "",
        }
        if self._spending is not None:
            summary["cost"] = self._spending.now()["cost/spent"]
        end: dict[str, Any] = {"status": status, "reason": reason, "summary": summary}
        if report is not None:
            end["post_mortem"] = report.payload()
        self._log.emit("run.end", self.state.step, **end)
        if isinstance(self._log, EventLog):
            self._log.close()
            if not self._log.path.exists():
                WatchTerminal().warn(
                    f"{self._log.path} was deleted, and with it the log of this run."
                )

    def _stop_sampling(self) -> None:
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler = None


def _meanings(done: WatchedStep) -> dict[str, str]:
    """Return what the loss of a step is, where it is not nats per trained token."""
    if done.has_own_loss:
        return {} if done.has_tokens else {"train/loss": OF_EXAMPLES}
    return {"train/loss": OWN_LOSS}


def own_metrics(values: Mapping[str, Any]) -> tuple[dict[str, float], list[str]]:
    """Return a loop's own numbers under the names of the page, and the names of all others."""
    found, others = {}, []
    for name, value in values.items():
        number = value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value
        try:
            found[OTHER + printable(str(name))[:MOST_LETTERS]] = float(number)
        except (TypeError, ValueError):
            others.append(str(name)[:MOST_LETTERS])
    return found, others


class WatchTerminal(Display):
    """Prints what a person should act on, and nothing else: the page shows the rest."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent

    def warn(self, text: str) -> None:
        """Print one line to standard error."""
        if not self._silent:
            print(f"unfrozen: {printable(text)}", file=sys.stderr, flush=True)

    def hold(self, *, still: bool) -> None:
        """Print that the page has paused training, or let it go on."""
        self.warn("The page paused training." if still else "Training goes on.")


def create_run_directory(runs: Path, name: str | None) -> Path:
    """Create a directory for a run, called `name` or by the time; a taken name gets a number.

    Raises `SystemFailure` where that is impossible.
    """
    wanted = name or f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    if Path(wanted).name != wanted or wanted.startswith("."):
        raise SystemFailure(f"name {wanted!r} is not a directory name: pass one without slashes.")
    for number in range(1, 10_000):
        place = runs / (wanted if number == 1 else f"{wanted}-{number}")
        try:
            place.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise SystemFailure(f"no run can be written to {runs} ({error.strerror})") from None
        return place
    raise SystemFailure(f"{runs} contains 10,000 runs called {wanted}: pass another name.")


def format_start(place: Path) -> str:
    """Return the message when a run starts."""
    runs = short(place.parent)
    return f"watching run {place.name}: see it with {program()} serve --runs {runs}"


def exit_status(error: BaseException | None) -> tuple[RunStatus, str]:
    """Return the status and reason of a run whose loop ended with `error`, or without one."""
    if error is None:
        return "finished", ""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "interrupted"
    if isinstance(error, SystemExit):
        if not error.code:
            return "finished", ""
        return "failed", f"the script ended itself: sys.exit({error.code!r})"[:1000]
    text = f"{type(error).__name__}: {error}"[:1000]
    if is_lost_process(error):
        return "failed", f"another process ended ({text})"[:1000]
    return ("oom" if is_out_of_memory(error) else "failed"), text


def is_interactive() -> bool:
    """Return whether somebody types at a prompt, or runs the cells of a notebook."""
    return hasattr(sys, "ps1") or hasattr(sys.modules.get("builtins"), "__IPYTHON__")


class CloseAtExit:
    """Closes a run when the interpreter exits; keeps nothing alive until then."""

    def __init__(self, run: Any) -> None:
        self._run = weakref.ref(run)
        self._earlier = id(getattr(sys, "last_value", None))
        self.leaving: SystemExit | None = None
        """What `sys.exit` raised, if it was called and no step came after."""

    def __call__(self) -> None:
        """Close the run, with the error that ended the interpreter where there is one.

        An error of a notebook or a prompt ends a cell and not the interpreter.
        """
        error = None if is_interactive() else getattr(sys, "last_value", None)
        if id(error) == self._earlier:
            error = None
        run = self._run()
        if run is not None:
            run.close_after(error or self.leaving)
