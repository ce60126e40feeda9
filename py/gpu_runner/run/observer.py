"""What happens between two steps: the model is evaluated, saved, and its best weights restored.

`train` calls `RunObserver`. `Validation` evaluates the model, `EarlyStop` decides whether the run
is over, the checkpointer writes checkpoints, and the recorder logs all of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from gpu_runner.atomic import Saved
from gpu_runner.checkpoint import training_state
from gpu_runner.checkpoint.training_state import History
from gpu_runner.data.chat.messages import BadRow
from gpu_runner.data.encode import Encoder
from gpu_runner.errors import DataError, RunnerError
from gpu_runner.log.questions import Question
from gpu_runner.optim.optimizer import Optimizer
from gpu_runner.run.interval_chooser import IntervalChooser
from gpu_runner.run.recorder import BEAT_SECONDS, PATIENCE_SECONDS, Recorder
from gpu_runner.train.evaluate import Continuation, Evaluator, Score, generate
from gpu_runner.train.initial_weights import InitialWeights, swapped
from gpu_runner.train.loop import State, StepResult
from gpu_runner.world import World

SAMPLE_SECONDS: Final = 10.0
"""The time for each sample; a step may take less."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Prompts (as the model reads them) that are continued before and after training."""

    prompts: tuple[tuple[str, str], ...]
    """(prompt as given, prompt as the model reads it) pairs."""
    new_tokens: int
    most_read: int = 512
    """At most so many tokens at the end of a prompt are read."""


class SavesCheckpoints(Protocol):
    """The writer of checkpoints: `checkpointer.Checkpointer`, or a stand-in in tests."""

    def save(self, state: State) -> Saved | None:
        """Write a checkpoint; return it, or None while it is still being written."""

    def settled(self) -> tuple[State, Saved] | None:
        """Wait for the one being written, if any; return where it was taken and what it is."""

    @property
    def pending(self) -> bool:
        """Whether one is being written."""

    @property
    def writing(self) -> bool:
        """Whether this process still writes its part of it."""

    def prune(self, newest: Saved) -> None:
        """Remove the checkpoints that `newest` replaces."""


@dataclass(slots=True)
class Validation:
    """Held-out losses and drift at a step, and samples before and after a run of `steps`."""

    model: Any
    tokenizer: Any
    encoder: Encoder
    evaluator: Evaluator
    initial_weights: InitialWeights
    sampling: Sampling
    steps: int
    world: World
    optimizer: Optimizer
    recorder: Recorder
    seconds: float = 0.0
    """What the newest evaluation took, without samples; 0 before the first."""
    _patience: float = PATIENCE_SECONDS

    def run(self, state: State, *, counts: bool = True) -> bool:
        """Evaluate the model; return whether no earlier evaluation had a task loss as low."""
        started = time.monotonic()
        self.recorder.busy("evaluating", state.step, 3 * self._patience)
        history, reference = self.recorder.history, self.evaluator.reference
        if state.step and reference is not None and not reference.known:  # its files are gone
            with self.initial_weights.swapped_into(self.model):
                self.world.run(self.evaluator.run, self.model, self.recorder.progress)
        scores = self.world.run(self.evaluator.run, self.model, self.recorder.progress)
        drift = self.initial_weights.drift(self.model)
        averaged = self._score_average() if state.step else []
        losses = {score.suite: score.loss for score in scores}
        exact = {score.suite: score.exact for score in scores if score.exact}
        is_best = history.add_evaluation(
            state.step, losses, drift.total, exact=exact, counts=counts
        )
        load = self.evaluator.routers.load(self.world)
        shares = [] if load is None else load.tolist()
        stalled = self.optimizer.stalled_share()
        self.recorder.evaluated(state.step, scores, drift, stalled, shares, averaged)
        self.seconds = time.monotonic() - started
        if state.step in (0, self.steps):
            self.sample(state.step, "before" if state.step == 0 else "after")
        self._patience = max(BEAT_SECONDS, time.monotonic() - started)
        return is_best

    def _score_average(self) -> list[Score]:
        """Return the scores of the moving average of the weights; none where there is none."""
        pairs = list(self.optimizer.averages())
        if not pairs:
            return []
        with swapped(pairs):
            return self.world.run(self.evaluator.run, self.model, self.recorder.progress)

    def answer(self, question: Question) -> tuple[Continuation, Continuation]:
        """Return what θ₀ and the model now write. Raises `DataError`, `CheckpointError`."""
        try:
            read = self.encoder.render_question(question.prompt)
        except BadRow as error:
            raise DataError(f"{error}.") from None
        after = self._write(read, question)
        with self.initial_weights.swapped_into(self.model):
            return self._write(read, question), after

    def _write(self, read: str, question: Question) -> Continuation:
        limit = SAMPLE_SECONDS if self.world.size == 1 else None  # all write the same tokens
        write = partial(generate, temperature=question.temperature, seed=question.seed)
        sizes = question.tokens, self.sampling.most_read, limit
        return self.world.run(write, self.model, self.tokenizer, read, *sizes)

    def sample(self, step: int, when: str) -> None:
        """Let the model continue every prompt."""
        if not self.sampling.new_tokens:
            return
        self.recorder.writing()
        for index, (asked, read) in enumerate(self.sampling.prompts):
            sizes = self.sampling.new_tokens, self.sampling.most_read
            limit = SAMPLE_SECONDS if self.world.size == 1 else None  # all write the same tokens
            self.recorder.progress(index / len(self.sampling.prompts))
            written = self.world.run(generate, self.model, self.tokenizer, read, *sizes, limit)
            self.recorder.sampled(step, index, asked, written.text, when)


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """Whether the task loss has not fallen for `patience` evaluations (None: off)."""

    patience: int | None
    history: History

    @property
    def wanted(self) -> bool:
        """Whether early stopping is on: then the best model must be saved."""
        return self.patience is not None

    @property
    def reached(self) -> bool:
        """Whether the run is over."""
        return self.patience is not None and self.history.looks_since_best >= self.patience

    def reason(self) -> str:
        """Return why the run is over, once the best weights are restored."""
        return (
            f"the task loss has not fallen for {self.history.looks_since_best} evaluations:"
            f" the model is that of step {self.history.best_step}, loss"
            f" {self.history.best_loss:.4f} nats"
        )


COMPILE_SECONDS: Final = 900.0
"""The time that a first compiled step may take before the run counts as stalled."""
COMPARED: Final = 3
"""Compiled steps, of which the fastest is compared."""


class CompileGain:
    """Reports once what compiling gains: an eager step beside the fastest of some compiled ones."""

    def __init__(self, report: Callable[[str, str, int], None]) -> None:
        self._report = report
        self._written, self._first = 0.0, 0.0
        self._fastest: list[float] = []

    def step(self, result: StepResult) -> None:
        """Take in how long a step took, and whether it ran compiled."""
        if result.way == "written":
            self._written = result.seconds
        elif result.way == "usual" and self._written and not self._first:
            self._first = result.seconds  # includes the compilation
        elif result.way == "usual" and self._written:
            self._fastest.append(result.seconds)
            if len(self._fastest) == COMPARED:
                level, text = self._verdict(min(self._fastest))
                self._written = 0.0
                self._report(level, text, result.number)

    def _verdict(self, seconds: float) -> tuple[str, str]:
        spent = max(0.0, self._first - seconds)
        text = f"A step takes {seconds:.3g} s compiled and {self._written:.3g} s eager"
        if seconds >= self._written:
            return "warn", f"{text}: compiling does not pay off here. Set compile = false."
        steps = math.ceil(spent / (self._written - seconds))
        return "info", f"{text}; compiling took {spent:.3g} s, saved again after {steps:,} steps."


class RunObserver:
    """The observer that the training loop calls between steps."""

    def __init__(
        self,
        recorder: Recorder,
        validation: Validation,
        stop: EarlyStop,
        checkpointer: SavesCheckpoints,
        chooser: IntervalChooser | None = None,
        unsaved_seconds: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stop = stop
        self.kept_step = -1
        """The step of this attempt's newest checkpoint."""
        self.looked_step = -1
        """The step of this attempt's newest evaluation."""
        self.compiles_at = 0
        """The first step of this attempt that runs compiled; 0: none does."""
        self._recorder = recorder
        self._validation = validation
        self._checkpointer = checkpointer
        self._chooser = chooser
        self._unsaved_seconds = unsaved_seconds
        self._clock = clock
        self._saved_at = math.inf
        """When the newest checkpoint, or the first step of this attempt, began."""
        self._gain = CompileGain(lambda *alert: recorder.alert(*alert))

    def step_begins(self, number: int) -> None:
        """Announce the step that compiles the model; from the first one on, work can be lost."""
        self._saved_at = min(self._saved_at, self._clock())
        if number == self.compiles_at:
            text = f"Step {number} compiles the model's blocks first, and takes that much longer."
            self._recorder.alert("info", text, number - 1)
            self._recorder.busy("compiling", number - 1, COMPILE_SECONDS)

    def step_done(self, state: State, result: StepResult) -> None:
        """Log a finished step; choose the intervals once enough steps are timed."""
        self._recorder.step_done(state, result)
        self._gain.step(result)
        if self._chooser is not None:
            self._chooser.step_done(result, self._validation.seconds)

    def look(self, state: State, *, counts: bool = True) -> None:
        """Evaluate; save the best model so far where early stopping may restore it.

        Early stopping does not count an evaluation that somebody asked for.
        """
        self.looked_step = state.step
        if self._validation.run(state, counts=counts) and self.stop.wanted:
            self.keep(state)

    def answer(self, state: State, question: Question, seq: int) -> None:
        """Answer a question with the weights of now and with θ₀; no weight changes."""
        self._recorder.busy("answering", state.step, PATIENCE_SECONDS)
        try:
            found = self._validation.answer(question)
        except RunnerError as error:  # of the prompt, or θ₀ is gone
            self._recorder.alert("warn", f"A question is not answered: {error}", state.step)
            return
        self._recorder.answered(state.step, seq, question, *found)

    def keep(self, state: State) -> None:
        """Write a checkpoint, log that it is complete, remove what it replaces.

        An asynchronous one is logged when it is complete: see `settle`.
        """
        if self.kept_step == state.step:
            return
        self.settle()
        self.kept_step, started, self._saved_at = state.step, time.monotonic(), self._clock()
        self._recorder.saving(state.step)
        saved = self._checkpointer.save(state)
        if saved is not None:
            self._complete(state, saved, time.monotonic() - started)
        self._recorder.resting()

    def is_overdue(self, state: State) -> bool:
        """Return whether steps have been done for `unsaved_seconds` without a checkpoint."""
        age = self._clock() - self._saved_at
        return state.step > 0 and state.step != self.kept_step and age >= self._unsaved_seconds

    def settle(self) -> None:
        """Wait for a checkpoint that is being written, and log it."""
        if (found := self._checkpointer.settled()) is not None:
            self._complete(*found, found[1].seconds)

    def _complete(self, state: State, saved: Saved, seconds: float) -> None:
        self._recorder.saved(state, saved)
        self._checkpointer.prune(saved)
        if self._chooser is not None:
            self._chooser.saved(state.step, seconds)

    @property
    def pending(self) -> bool:
        """Whether a checkpoint is being written; the same on all processes."""
        return self._checkpointer.pending

    @property
    def writing(self) -> bool:
        """Whether this process still writes its part of it."""
        return self._checkpointer.writing

    def restore_best(self, state: State, best: Path) -> str:
        """Restore the weights of the `best` checkpoint, and write the last samples with them.

        Returns why the run is over.
        """
        model = self._validation.model
        InitialWeights.of(best, model).restore_into(model)
        _, saved, _ = training_state.parse_state(best, training_state.read_state(best))
        self._recorder.history.restore_evaluation(saved)
        reason = self.stop.reason()
        self._recorder.alert("info", f"Early stop at step {state.step}: {reason}.", state.step)
        if state.step < self._validation.steps:
            self._validation.sample(state.step, "after")
        return reason
