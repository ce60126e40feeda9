"""Everything a run says: the events of `events.jsonl` and the lines on the terminal.

`Recorder` tells both the log (numbers) and the progress display (people); what there is to tell,
`observe` finds out. The shapes of the payloads live here and, for the first and the last event, in
`start_event` and `ending`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from gpu_runner.checkpoint.directory import Saved
from gpu_runner.checkpoint.training_state import History
from gpu_runner.data.dataset import GENERAL, TASK
from gpu_runner.log.heartbeat import BEAT_SECONDS, PATIENCE_SECONDS, Heartbeat, Log
from gpu_runner.system.price import Spending
from gpu_runner.train.evaluate import Score
from gpu_runner.train.initial_weights import Drift
from gpu_runner.train.loop import State, StepResult

STALLED_MUCH: Final = 0.2  # share of bf16 weights without movement that a reader is told of


class Display(Protocol):
    """Who shows the run to a person; `progress` draws on a terminal."""

    def say(self, text: str) -> None:
        """One line that stays."""

    def warn(self, text: str) -> None:
        """One line that stays, marked."""

    def busy(self, text: str) -> None:
        """What is going on instead of steps."""

    def hold(self, *, still: bool) -> None:
        """The run stands still from here, or goes on."""

    def step(self, state: State, result: StepResult, measured_bytes: int) -> None:
        """Show the newest step."""

    def scores(self, step: int, scores: list[Score], first: dict[str, float]) -> None:
        """Show the newest evaluation beside the one at step 0."""


class Recorder:
    """Who writes down what a run does, and remembers it in its history."""

    def __init__(
        self, log: Log, display: Display, history: History, spending: Spending | None = None
    ) -> None:
        self.history = history
        self.doing = ""
        """What goes on instead of steps."""
        self.heartbeat = Heartbeat(log)
        self._log = log
        self._display = display
        self._spending = spending
        self._said_stalled = False
        self._earlier_seconds = history.seconds

    def alert(self, level: str, text: str, step: int) -> None:
        """Something the reader should know, in the log and on the terminal."""
        self._log.emit("alert", step, level=level, text=text)
        (self._display.say if level == "info" else self._display.warn)(text)

    def hold(self, *, still: bool) -> float:
        """The run stands still from here, or goes on after as many seconds as are returned."""
        self._display.hold(still=still)
        if not still:
            return self.heartbeat.go_on()
        self.heartbeat.pause()
        return 0.0

    def step_done(
        self, state: State, result: StepResult, more: Mapping[str, float] | None = None
    ) -> None:
        """Log the scalars of a step, its memory if measured, and that the next one is due.

        `more` are metrics beside those of every run.
        """
        self._clock()
        self.doing = ""
        if result.memory is not None:
            self._memory(state.step, result.memory)
        speed = result.trainable_tokens / result.seconds
        seen = {"train/loss": result.loss, "train/grad_norm": result.grad_norm}
        m = {
            **{name: value for name, value in seen.items() if value is not None},
            "train/tokens": state.tokens,
            "train/skipped": state.skipped,
            "opt/lr": 0.0 if result.skipped else result.lr,
            "opt/lr_planned": result.lr,
            "perf/step_seconds": round(result.seconds, 6),
            "perf/tokens_per_second": round(speed, 3),
            **(more or {}),
        }
        if result.balance is not None:
            m["router/balance_loss"] = result.balance
        if self.history.peak_bytes:
            m["mem/peak_bytes"] = self.history.peak_bytes
        if self._spending is not None:
            m |= self._spending.after(state.step, self.heartbeat.working_seconds)
        self._log.emit("metrics", state.step, m=m)
        if result.skipped:
            text = f"step {state.step} was skipped: its gradients were not finite"
            self.alert("warn", f"{text} (loss {result.loss:g}).", state.step)
        self.heartbeat.beat(state.step, max(BEAT_SECONDS, 3 * result.seconds))
        self._display.step(state, result, self.history.peak_bytes)

    def busy(self, what: str, step: int, seconds: float) -> None:
        """Something else than a step takes about so long."""
        self.doing = what
        self._display.busy(what)
        self.heartbeat.beat(step, seconds, force=True)

    def writing(self) -> None:
        """Samples are being written."""
        self.doing = "writing samples"
        self._display.busy(self.doing)

    def resting(self) -> None:
        """Whatever was going on beside the steps is over; a run that was paused is still."""
        self.doing = ""
        if self.heartbeat.paused:
            self._display.busy("paused")

    def saving(self, step: int) -> None:
        """A checkpoint of `step` is about to be written: what it keeps of the time is right."""
        self.busy("saving", step, PATIENCE_SECONDS)
        self._clock()

    def saved(self, state: State, saved: Saved) -> None:
        """Log what is complete on disk."""
        self._clock()
        self._log.emit(
            "checkpoint",
            state.step,
            path=saved.path.name,
            bytes=saved.size_bytes,
            sha256=saved.sha256,
            best=state.step == self.history.best_step,
        )

    def _clock(self) -> None:
        self.history.seconds = self._earlier_seconds + self.heartbeat.working_seconds

    def evaluated(
        self,
        step: int,
        scores: list[Score],
        drift: Drift | None,
        stalled: float | None,
        load: Sequence[Sequence[float]] = (),
    ) -> None:
        """Log every score beside that at step 0, how far the layers have moved, and the share of
        16-bit weights that stand still, and of a mixture how its experts share the tokens.
        """
        m = {} if drift is None else {"drift/total": drift.total}
        for score in scores:
            baseline = self.history.first.get(score.suite, score.loss)
            self._log.emit(
                "eval",
                step,
                suite=score.suite,
                loss=score.loss,
                delta=score.loss - baseline,
                baseline=baseline,
                tokens=score.tokens,
            )
            if score.suite in (TASK, GENERAL):
                m[f"eval/{score.suite}_loss"] = score.loss
        m |= self._stalled(step, stalled)
        m |= self._load(load)
        if m:
            self._log.emit("metrics", step, m=m)
        self._display.scores(step, scores, self.history.first)
        if drift is None:
            return
        layers = {name: float(f"{ratio:.6g}") for name, ratio in drift.layers.items()}
        self._log.emit("drift", step, layers=layers, total=drift.total)

    def _stalled(self, step: int, share: float | None) -> dict[str, float]:
        """The share of 16-bit weights that did not move, as a metric; said once if it is large."""
        if share is None:
            return {}
        if share > STALLED_MUCH and not self._said_stalled:
            self._said_stalled = True
            self.alert(
                "warn",
                f"{share:.0%} of the bf16 weights did not move in the last step that was looked at:"
                " their updates were rounded away. Give --set rounding=stochastic or kahan, or"
                " --params fp32.",
                step,
            )
        return {"opt/stalled_ratio": share}

    def _load(self, load: Sequence[Sequence[float]]) -> dict[str, float]:
        """Of shares (L, E): the busiest and idlest expert, beside an even share, and how far all of
        them are from those at the first look: half the sum of differences, the mean over layers.
        """
        if not load:
            return {}
        first = self.history.load
        if list(map(len, first)) != list(map(len, load)):
            first = self.history.load = [list(layer) for layer in load]
        times = [len(layer) * share for layer in load for share in layer]
        apart = [
            sum(abs(a - b) for a, b in zip(*pair, strict=True)) / 2
            for pair in zip(load, first, strict=True)
        ]
        return {
            "router/load_max": max(times),
            "router/load_min": min(times),
            "router/load_drift": sum(apart) / len(apart),
        }

    def sampled(self, step: int, index: int, asked: str, text: str, when: str) -> None:
        """Log what the model says to prompt `index`, "before" or "after" training."""
        self._log.emit("sample", step, prompt=asked, text=text, when=when)
        if when == "before":
            self.history.samples.append([asked, text, ""])
        else:
            self.history.samples[index][2] = text

    def _memory(self, step: int, memory: Any) -> None:
        """Log instants that reached a new height since the run began."""
        self.history.peak_bytes = max(self.history.peak_bytes, memory.peak_bytes)
        for instant, components in memory.instants.items():
            total = sum(components.values())
            if total <= sum(self.history.measured.get(instant, {}).values()):
                continue
            self.history.measured[instant] = dict(components)
            self._log.emit(
                "mem",
                step,
                instant=instant,
                components=components,
                total_bytes=total,
                source=memory.source,
            )
