"""Everything a run says: the events of `events.jsonl` and the lines on the terminal.

`Recorder` is the observer that `train` calls between steps. It evaluates, measures drift, samples,
saves, and tells both the log (numbers) and the progress display (people). The shapes of the
payloads live here and, for the first and the last event, in `session`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from gpu_runner.checkpoint.directory import Saved
from gpu_runner.checkpoint.history import History
from gpu_runner.data.rows import GENERAL, TASK
from gpu_runner.log.pulse import BEAT_SECONDS, PATIENCE_SECONDS, Log, Pulse
from gpu_runner.train.anchor import Anchor
from gpu_runner.train.evaluate import Evaluator, Score, continuation
from gpu_runner.train.loop import State, StepResult
from gpu_runner.world import World

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


@dataclass(slots=True)
class Sampling:
    """Prompts (as the model reads them) that are continued before and after training."""

    prompts: tuple[tuple[str, str], ...]
    """(what a person asked, what the model reads) pairs."""
    new_tokens: int
    most_read: int = 512
    """Tokens at the end of a prompt that are read."""


class Checkpoints(Protocol):
    """Who writes checkpoints; see `keep`."""

    def save(self, state: State) -> Saved:
        """Write one that is complete."""

    def prune(self, newest: Saved) -> None:
        """Remove those it replaces."""


class Recorder:
    """The observer of a training run."""

    def __init__(
        self,
        *,
        log: Log,
        display: Display,
        model: Any,
        tokenizer: Any,
        evaluator: Evaluator,
        anchor: Anchor,
        sampling: Sampling,
        steps: int,
        history: History,
        keeper: Checkpoints,
        world: World,
        early_stop: int | None = None,
        stalled_share: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.history = history
        self.pulse = Pulse(log)
        self.kept_step = -1
        """The step of the newest checkpoint of this attempt."""
        self._early_stop = early_stop
        self._stalled_share = stalled_share
        self._said_stalled = False
        self._log = log
        self._display = display
        self._model = model
        self._tokenizer = tokenizer
        self._evaluator = evaluator
        self._anchor = anchor
        self._sampling = sampling
        self._steps = steps
        self._keeper = keeper
        self._world = world
        self._earlier_seconds = history.seconds
        self._look_seconds = PATIENCE_SECONDS

    def alert(self, level: str, text: str, step: int) -> None:
        """Something the reader should know, in the log and on the terminal."""
        self._log.emit("alert", step, level=level, text=text)
        (self._display.say if level == "info" else self._display.warn)(text)

    def hold(self, *, still: bool) -> float:
        """The run stands still from here, or goes on after as many seconds as are returned."""
        self._display.hold(still=still)
        if not still:
            return self.pulse.go_on()
        self.pulse.pause()
        return 0.0

    def step_done(self, state: State, result: StepResult) -> None:
        """Log the scalars of a step, its memory if measured, and that the next one is due."""
        self._clock()
        if result.memory is not None:
            self._memory(state.step, result.memory)
        speed = result.trainable_tokens / result.seconds
        m = {
            "train/loss": result.loss,
            "train/grad_norm": result.grad_norm,
            "train/tokens": state.tokens,
            "train/skipped": state.skipped,
            "opt/lr": 0.0 if result.skipped else result.lr,
            "opt/lr_planned": result.lr,
            "perf/step_seconds": round(result.seconds, 6),
            "perf/tokens_per_second": round(speed, 3),
        }
        if self.history.peak_bytes:
            m["mem/peak_bytes"] = self.history.peak_bytes
        self._log.emit("metrics", state.step, m=m)
        if result.skipped:
            text = f"step {state.step} was skipped: its gradients were not finite"
            self.alert("warn", f"{text} (loss {result.loss:g}).", state.step)
        self.pulse.beat(state.step, max(BEAT_SECONDS, 3 * result.seconds))
        self._display.step(state, result, self.history.peak_bytes)

    def look(self, state: State) -> None:
        """Evaluate every suite, measure drift, and sample at both ends of the run."""
        started = time.monotonic()
        self._display.busy("evaluating")
        self.pulse.beat(state.step, 3 * self._look_seconds, force=True)
        scores = self._world.run(self._evaluator.run, self._model)
        drift = self._anchor.drift(self._model)
        is_best = self.history.take(state.step, {score.suite: score.loss for score in scores})
        self.history.drift = drift.total
        self._scores(state.step, scores)
        layers = {name: float(f"{ratio:.6g}") for name, ratio in drift.layers.items()}
        self._log.emit("drift", state.step, layers=layers, total=drift.total)
        if state.step in (0, self._steps):
            self._sample(state.step, "before" if state.step == 0 else "after")
        if is_best and self._early_stop:
            self.keep(state)  # or there would be nothing to go back to
        self._look_seconds = max(BEAT_SECONDS, time.monotonic() - started)

    def keep(self, state: State) -> None:
        """Write a checkpoint, say that it is complete, remove what it replaces."""
        if self.kept_step == state.step:
            return
        self.kept_step = state.step
        self._display.busy("saving")
        self.pulse.beat(state.step, PATIENCE_SECONDS, force=True)
        self._clock()
        saved = self._keeper.save(state)
        self.saved(state, saved)
        self._keeper.prune(saved)
        if self.pulse.paused:
            self._display.busy("paused")

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

    @property
    def has_converged(self) -> bool:
        """Whether the task loss has not fallen for as many evaluations as `early_stop` allows."""
        return self._early_stop is not None and self.history.looks_since_best >= self._early_stop

    def go_back(self, state: State, best: Path) -> str:
        """Take the weights of the `best` checkpoint, and write the last samples with them.

        Returns why the run is over.
        """
        Anchor.of(best, self._model).take_back(self._model)
        kept = json.loads((best / "state.json").read_text("utf-8"))["history"]
        self.history.latest, self.history.drift = kept["latest"], kept["drift"]
        reason = (
            f"the task loss has not fallen for {self.history.looks_since_best} evaluations:"
            f" the model is that of step {self.history.best_step}, loss"
            f" {self.history.best_loss:.4f} nats"
        )
        self.alert("info", f"Early stop at step {state.step}: {reason}.", state.step)
        if state.step < self._steps:
            self._sample(state.step, "after")
        return reason

    def _clock(self) -> None:
        self.history.seconds = self._earlier_seconds + self.pulse.working_seconds

    def _scores(self, step: int, scores: list[Score]) -> None:
        m = {"drift/total": self.history.drift}
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
        m |= self._stalled(step)
        self._log.emit("metrics", step, m=m)
        self._display.scores(step, scores, self.history.first)

    def _stalled(self, step: int) -> dict[str, float]:
        """The share of 16-bit weights that did not move, as a metric; said once if it is large."""
        share = self._stalled_share()
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

    def _sample(self, step: int, when: str) -> None:
        if not self._sampling.new_tokens:
            return
        self._display.busy("writing samples")
        for index, (asked, read) in enumerate(self._sampling.prompts):
            sizes = self._sampling.new_tokens, self._sampling.most_read
            text = self._world.run(continuation, self._model, self._tokenizer, read, *sizes)
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
