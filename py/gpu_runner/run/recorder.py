"""What a run reports while it trains: the events of `events.jsonl` and the lines on the terminal.

`Recorder` writes both the log (numbers) and the display (for a person). The payloads of its events
are made here; those of the first and the last event in `payloads` and `finish`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Final

from gpu_runner.atomic import Saved
from gpu_runner.checkpoint.training_state import History
from gpu_runner.data.dataset import GENERAL, TASK
from gpu_runner.log.questions import Question
from gpu_runner.log.writer import Log
from gpu_runner.memory.tracker import StepMemory
from gpu_runner.system.price import Spending
from gpu_runner.train.evaluate import Continuation, Score
from gpu_runner.train.initial_weights import Drift
from gpu_runner.train.loop import State, StepResult
from unfrozen.held_out import paired_difference

MOST_ROWS: Final = 256
"""Examples of a set that are logged one by one."""
BEAT_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 120.0
"""The time that a first evaluation or a save may take before the run counts as stalled."""
STALLED_MUCH: Final = 0.2
"""Share of bf16 weights without movement from which on an alert is logged."""


class Heartbeat:
    """Writes `beat` events, a beat every `BEAT_SECONDS` at most, and counts the seconds of work."""

    def __init__(self, log: Log) -> None:
        self.heard = 0
        self.promised_seconds = PATIENCE_SECONDS
        """`expect_next_in` of the newest beat outside a pause."""
        self._log = log
        self._last_beat = -math.inf
        self._doing = ""
        self._started = time.monotonic()
        self._paused_at: float | None = None

    @property
    def paused(self) -> bool:
        """Whether the run is paused."""
        return self._paused_at is not None

    @property
    def working_seconds(self) -> float:
        """Seconds since the launch, without pauses."""
        return (self._paused_at or time.monotonic()) - self._started

    def pause(self) -> None:
        """Stop the clock."""
        self._paused_at = time.monotonic()

    def go_on(self) -> float:
        """Start the clock again; return how long it stood, in seconds."""
        if self._paused_at is None:
            return 0.0
        lost = time.monotonic() - self._paused_at
        self._started += lost
        self._paused_at = None
        return lost

    def beat(
        self,
        step: int,
        expect_next_in: float,
        *,
        force: bool = False,
        doing: str = "",
        done: float = 0.0,
    ) -> None:
        """Log that the run lives and when its next event is due, at most every BEAT_SECONDS.

        `doing` is what takes time instead of steps, `done` the share of it that is done. The first
        beat without it is logged at once.
        """
        now, over = time.monotonic(), self._doing != "" and doing == ""
        if not (force or over) and now - self._last_beat < BEAT_SECONDS:
            return
        self._last_beat, self._doing = now, doing
        more: dict[str, object] = {"heard": self.heard} if self.heard else {}
        if doing:
            more |= {"doing": doing, "done": round(done, 3)}
        if self.paused:
            more["paused"] = True
        else:
            self.promised_seconds = expect_next_in
        self._log.emit("beat", step, expect_next_in=round(expect_next_in, 1), **more)


class Display:
    """A display of a run. By itself it shows nothing: `terminal.Terminal` does, or the lines of a
    watched loop.
    """

    def say(self, text: str) -> None:
        """Print a line."""

    def warn(self, text: str) -> None:
        """Print a warning."""

    def busy(self, text: str) -> None:
        """Show what takes time instead of steps."""

    def hold(self, *, still: bool) -> None:
        """Show that the run is paused, or resumed."""

    def step(self, state: State, result: StepResult, measured_bytes: int) -> None:
        """Show the newest step."""

    def scores(self, step: int, scores: list[Score], first: dict[str, float]) -> None:
        """Show the newest evaluation beside the one at step 0."""


class Recorder:
    """Logs and shows what a run does, and remembers it in its history."""

    def __init__(
        self, log: Log, display: Display, history: History, spending: Spending | None = None
    ) -> None:
        self.history = history
        self.doing = ""
        """The work that takes time instead of steps."""
        self.unit = "tokens"
        """The unit that is counted: "tokens", or "samples" where those are no text."""
        self.counts_skipped = True
        """Whether it is known how many steps were skipped."""
        self.heartbeat = Heartbeat(log)
        self._expected = 0, PATIENCE_SECONDS
        self._log = log
        self._display = display
        self._spending = spending
        self._warned_stalled = False
        self._earlier_seconds = history.seconds

    def alert(self, level: str, text: str, step: int) -> None:
        """Log and print something that the user should know."""
        self._log.emit("alert", step, level=level, text=text)
        (self._display.say if level == "info" else self._display.warn)(text)

    def hold(self, *, still: bool) -> float:
        """Pause the run (0 is returned), or resume it; return how many seconds the pause took."""
        self._display.hold(still=still)
        if not still:
            return self.heartbeat.go_on()
        self.heartbeat.pause()
        return 0.0

    def step_done(
        self,
        state: State,
        result: StepResult,
        more: Mapping[str, float] | None = None,
        meanings: Mapping[str, str] | None = None,
    ) -> None:
        """Log the scalars of a step, its memory if measured, and that the next one is due.

        `more` are metrics beside those of every run, `meanings` those that mean something else than
        their names say.
        """
        self._clock()
        self.doing = ""
        if result.memory is not None:
            self._memory(state.step, result.memory)
        speed = result.trainable_tokens / result.seconds
        seen = {"train/loss": result.loss, "train/grad_norm": result.grad_norm}
        m = {
            **{name: value for name, value in seen.items() if value is not None},
            f"train/{self.unit}": state.tokens,
            **({"train/skipped": state.skipped} if self.counts_skipped else {}),
            "opt/lr": 0.0 if result.skipped else result.lr,
            "opt/lr_planned": result.lr,
            "perf/step_seconds": round(result.seconds, 6),
            f"perf/{self.unit}_per_second": round(speed, 3),
            **(more or {}),
        }
        if result.balance is not None:
            m["router/balance_loss"] = result.balance
        if self.history.peak_bytes:
            m["mem/peak_bytes"] = self.history.peak_bytes
        if self._spending is not None:
            m |= self._spending.after(state.step, self.heartbeat.working_seconds)
        self._log.emit("metrics", state.step, m=m, **({"meanings": meanings} if meanings else {}))
        if result.skipped:
            text = f"step {state.step} was skipped: its gradients were not finite"
            text += f" (loss {result.loss:g})."
            if state.loss_scale:  # which finds its height in this way
                text += f" The loss of fp16 is now scaled by {state.loss_scale:g}."
            scaled = state.loss_scale and not state.skipped_in_a_row
            self.alert("info" if scaled else "warn", text, state.step)
        self.heartbeat.beat(state.step, max(BEAT_SECONDS, 3 * result.seconds))
        self._display.step(state, result, self.history.peak_bytes)

    def busy(self, what: str, step: int, seconds: float) -> None:
        """Announce something other than a step, which takes about so many seconds."""
        self.doing, self._expected = what, (step, seconds)
        self._display.busy(what)
        self.heartbeat.beat(step, seconds, force=True, doing=what)

    def progress(self, share: float) -> None:
        """Report how much of what takes time is done."""
        step, seconds = self._expected
        self._display.busy(f"{self.doing}: {share:.0%}")
        self.heartbeat.beat(step, seconds, doing=self.doing, done=share)

    def writing(self) -> None:
        """Announce that samples are being generated."""
        self.doing = "writing samples"
        self._display.busy(self.doing)

    def resting(self) -> None:
        """Announce that an evaluation or a save is over; a paused run stays paused."""
        self.doing = ""
        if self.heartbeat.paused:
            self._display.busy("paused")

    def saving(self, step: int) -> None:
        """Announce a checkpoint, and bring the seconds that it will record up to date."""
        self.busy("saving", step, PATIENCE_SECONDS)
        self._clock()

    def saved(self, state: State, saved: Saved) -> None:
        """Log a checkpoint, or the model, that is complete on disk."""
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
        self.history.set_seconds(self._earlier_seconds + self.heartbeat.working_seconds)

    def evaluated(
        self,
        step: int,
        scores: list[Score],
        drift: Drift | None,
        stalled: float | None,
        load: Sequence[Sequence[float]] = (),
        averaged: Sequence[Score] = (),
    ) -> None:
        """Log an evaluation: every loss beside that at step 0, KL and drift from θ₀, the share
        of bf16 weights that did not change, and, of a mixture of experts, the load of each expert;
        task and general loss and KL of the `averaged` weights.
        """
        m = {} if drift is None else {"drift/total": drift.total}
        for score in scores:
            baseline = self.history.first.get(score.suite, score.loss)
            answers: dict[str, object] = {"exact": score.exact.as_json()} if score.exact else {}
            if score.examples:
                answers["examples"] = score.examples
            if 0 < len(score.row_losses) <= MOST_ROWS:
                rows = [float(f"{loss:.5g}") for loss in score.row_losses]
                answers |= {"row_losses": rows} | self._change(score.suite, rows)
            if 0 < len(score.row_right) <= MOST_ROWS:
                answers["row_right"] = "".join("01"[right] for right in score.row_right)
            if score.kl is not None:
                answers["kl"] = score.kl
            self._log.emit(
                "eval",
                step,
                suite=score.suite,
                loss=score.loss,
                delta=score.loss - baseline,
                baseline=baseline,
                tokens=score.tokens,
                **answers,
            )
        for of, found in (("", scores), ("ema_", averaged)):
            for score in found:
                if score.suite in (TASK, GENERAL):
                    m[f"eval/{of}{score.suite}_loss"] = score.loss
                    m |= {} if score.kl is None else {f"eval/{of}{score.suite}_kl": score.kl}
        m |= self._stalled(step, stalled)
        m |= self._load(load)
        if m:
            self._log.emit("metrics", step, m=m)
        self._display.scores(step, scores, self.history.first)
        if drift is None:
            return
        layers = {name: float(f"{ratio:.6g}") for name, ratio in drift.layers.items()}
        self._log.emit("drift", step, layers=layers, total=drift.total)

    def _change(self, suite: str, rows: list[float]) -> dict[str, object]:
        """Return the interval of how much the mean of these losses lies over the first ones."""
        first = self.history.first_losses(suite, rows)
        found = paired_difference(first, rows) if first != rows else None
        if found is None or not math.isfinite(found.mean):
            return {}
        return {"change": [float(f"{end:.5g}") for end in (found.low, found.high)]}

    def _stalled(self, step: int, share: float | None) -> dict[str, float]:
        """Return the share of bf16 weights that did not change; warn once if it is large."""
        if share is None:
            return {}
        if share > STALLED_MUCH and not self._warned_stalled:
            self._warned_stalled = True
            self.alert(
                "warn",
                f"{share:.0%} of the bf16 weights did not change in the last step measured: their"
                " updates were rounded away. Give --rounding stochastic or kahan, or --params"
                " fp32.",
                step,
            )
        return {"opt/stalled_ratio": share}

    def _load(self, load: Sequence[Sequence[float]]) -> dict[str, float]:
        """Return the metrics of router loads (L, E): the busiest and the idlest expert over an even
        share, and how far the loads have moved since the first evaluation: half the sum of
        differences, the mean over layers.
        """
        if not load:
            return {}
        first = self.history.first_load(load)
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
        """Log the model's answer to prompt `index`, "before" or "after" training."""
        self._log.emit("sample", step, prompt=asked, text=text, when=when)
        self.history.add_sample(index, asked, text, when)

    def answered(
        self, step: int, seq: int, question: Question, before: Continuation, after: Continuation
    ) -> None:
        """Log the answers of θ₀ and of the model now to question `seq`."""
        sides = {
            name: {"text": found.text, "ended": found.ended, "pieces": list(found.pieces)}
            for name, found in (("before", before), ("after", after))
        }
        how = {"temperature": question.temperature, "seed": question.seed}
        self._log.emit("answer", step, prompt=question.prompt, asked=seq, **how, **sides)

    def _memory(self, step: int, memory: StepMemory) -> None:
        """Log instants whose memory is higher than before in this run."""
        for instant, components in self.history.add_memory(
            memory.peak_bytes, memory.instants
        ).items():
            self._log.emit(
                "mem",
                step,
                instant=instant,
                components=components,
                total_bytes=sum(components.values()),
                source=memory.source,
            )
