"""The memory of a watched loop: predicted, measured, and explained where it runs out.

An error from the forward or backward pass is examined while it passes, when the memory it was short
of is still in use; only numbers are kept, and the error goes on unchanged. A loop may catch it and
go on with a smaller batch: then the report ends with the next step. Otherwise it is how the run
ended, and the settings that would have fit are computed when it is closed.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch

from gpu_runner.errors import is_out_of_memory
from gpu_runner.memory.fsdp import ShardView, find_obstacle
from gpu_runner.memory.limit import AllocatorMessage, find_other_processes, read_limit
from gpu_runner.memory.loop import Autocast, LoopBehavior, Optimizers
from gpu_runner.memory.loop_advice import LoopOptions, suggest_for_loop
from gpu_runner.memory.out_of_memory import (
    BatchSize,
    Failure,
    OutOfMemoryReport,
    Sizes,
    describe_failure,
    explain,
)
from gpu_runner.memory.prediction import Prediction, Suggestion
from gpu_runner.memory.tracker import Components, known_bytes
from gpu_runner.watch.hooks import ErrorBoundary, Inputs, SeveralModels, rank
from gpu_runner.watch.measurement import MemoryNow, StepMeasurement
from gpu_runner.watch.predictions import FitWarning, LoopPredictions, run_in_thread
from gpu_runner.watch.steps import MicroBatch, StepCollector, WatchedStep

NOT_PREDICTED: Final = "The weights are sharded: memory is measured and not predicted, because {}."
SEVERAL: Final = "Several models train together: their memory is measured and not predicted."
_MESSAGE_LENGTH: Final = 4096


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """What is known of a loop's memory before it starts.

    measure    whether steps are measured
    options    how its options are typed
    lengths    tokens of the examples it trains on, where they are known
    per_batch  examples per batch, where that is known
    """

    measure: bool = True
    behavior: LoopBehavior = field(default_factory=LoopBehavior)
    options: LoopOptions = field(default_factory=LoopOptions)
    lengths: Sequence[int] = ()
    per_batch: int = 0


class LoopMemory:
    """The memory of one loop, reported through `report` (predictions) and `warn`.

    `silence` is a context in which no hook listens: a traced step is not one of the loop's.
    """

    def __init__(
        self,
        model: Callable[[], Any],
        optimizers: Optimizers,
        device: torch.device,
        options: MemoryOptions,
        guard: ErrorBoundary,
        silence: Callable[[], AbstractContextManager[None]],
        report: Callable[[Prediction], None],
        warn: Callable[[str], None],
    ) -> None:
        self.measurement = StepMeasurement(model, optimizers, device, wanted=options.measure)
        self._model, self._guard, self._silence = model, guard, silence
        typed = options.options
        self.predictions = LoopPredictions(model, optimizers, device, options.behavior, report)
        self.shortage = Shortage(model, optimizers, device, self.predictions, typed)
        self._measured: list[tuple[int, list[int], bool]] = []
        """Peak, tokens of each micro-batch, and whether there were moments, of measured steps."""
        self._updates = 0
        self._fit = FitWarning(device, typed, options.lengths, options.per_batch, warn)

    def begin_forward(
        self, part: MicroBatch, inputs: Inputs, at: tuple[int, int], autocast: Autocast
    ) -> None:
        """A micro-batch begins; `at` is its step and its number in it, both from 1."""
        if heavier := self.predictions.add_batch(part, inputs):
            self._predict(autocast)
        self.measurement.begin_forward(at[0], first=at[1] == 1, heavier=heavier)

    def end_forward(self, output: Any) -> None:
        """The forward pass has returned `output`."""
        self.predictions.observe_output(output)
        self.measurement.end_forward()

    def begin_update(self) -> None:
        """All gradients are complete."""
        self.predictions.observe_update()
        self.measurement.begin_update()

    def observe(self, done: WatchedStep, autocast: Autocast) -> None:
        """Predict anew where one of the first steps shows that the loop behaves differently."""
        self._updates += 1
        if self.predictions.is_settled:
            return
        if any(parameter.grad is not None for parameter in self._model().parameters()):
            self.predictions.observe_zeroed_gradients()
        if self.predictions.end_step(done):
            self._predict(autocast)

    def compare(self, peak_bytes: int, done: WatchedStep) -> None:
        """Remember the measured peak of a step, to be compared with what it should have needed."""
        tokens = [part.sequences * part.length for part in done.parts]
        self._measured.append((peak_bytes, tokens, self._updates > 0))

    def ratio(self) -> float:
        """Return measured over predicted memory of the heaviest measured step; 0 if unknown."""
        compared = [
            (self.predictions.expected_peak(tokens, has_moments=has_moments), peak)
            for peak, tokens, has_moments in self._measured
        ]
        expected, peak = max(compared, default=(0, 0))
        return peak / expected if expected else 0.0

    def examine(
        self, error: BaseException, at: StepCollector, earlier: Mapping[str, Sizes]
    ) -> OutOfMemoryReport | None:
        """Return a report of an error from a pass if memory ran out, and None the second time.

        `earlier` is the memory measured so far, instant → components.
        """
        now = self.measurement.interrupt()
        return self.shortage.examine(error, at, now, earlier) if is_out_of_memory(error) else None

    def report_end(
        self, autocast: Autocast, error: BaseException | None
    ) -> OutOfMemoryReport | None:
        """Return the report of a loop that ended without memory, with settings; else None."""
        what = "the settings that would have fit could not be computed"
        with self._guard.around(what), self._silence():
            return self.shortage.report(autocast, error)
        return None

    def _predict(self, autocast: Autocast) -> None:
        if rank() > 0:
            return  # the other processes need as much memory, and the first one reports it
        with self._guard.around("memory could not be predicted"), self._silence():
            if isinstance(self._model(), SeveralModels):
                self._guard.warn_once(SEVERAL)
                return
            if why := find_obstacle(self._model()):
                self._guard.warn_once(NOT_PREDICTED.format(why))
                return
            self.predictions.predict(autocast)
            self.measurement.other_models = self.predictions.other_models
        what = "it is not known whether the heaviest batch will fit"
        with self._guard.around(what), self._silence():
            self._fit.check(self.predictions, autocast)


class Shortage:
    """The last time that memory ran out: `examine` it at once, and `report` it at the end."""

    def __init__(
        self,
        model: Callable[[], Any],
        optimizers: Optimizers,
        device: torch.device,
        predictions: LoopPredictions,
        options: LoopOptions,
    ) -> None:
        self._model, self._optimizers, self._device = model, optimizers, device
        self._predictions, self._options = predictions, options
        self._message = ""
        self._failure: Failure | None = None
        self._error = 0

    def examine(
        self,
        error: BaseException,
        at: StepCollector,
        now: MemoryNow,
        earlier: Mapping[str, Sizes],
    ) -> OutOfMemoryReport | None:
        """Return a report of `error` from what is in memory now; None if it was examined before."""
        if self._failure is not None and id(error) == self._error:
            return None
        self._error = id(error)
        self._message = str(error)[:_MESSAGE_LENGTH] or type(error).__name__
        self._failure = self._describe(AllocatorMessage.parse(error), at, now, earlier)
        return explain(RuntimeError(self._message), self._failure)

    @property
    def is_open(self) -> bool:
        """Whether memory ran out and no step has ended since."""
        return self._failure is not None

    def clear(self) -> None:
        """A step has ended since: the loop found a way to go on."""
        self._failure = None

    def report(
        self, autocast: Autocast, error: BaseException | None = None
    ) -> OutOfMemoryReport | None:
        """Return the last report with settings that would have fit; None where there is none.

        Tracing needs some memory itself. Where there is none, the frames of `error` are cleared,
        which only a debugger would look into, and it is tried again.
        """
        if self._failure is None:
            return None
        suggestions = self._suggest(autocast)
        if not suggestions and error is not None:
            traceback.clear_frames(error.__traceback__)
            suggestions = self._suggest(autocast)
        failure = replace(self._failure, suggestions=suggestions)
        return explain(RuntimeError(self._message), failure)

    def _suggest(self, autocast: Autocast) -> tuple[Suggestion, ...]:
        failure, newest = self._failure, self._predictions.newest
        step = self._predictions.step(autocast)
        if failure is None or step is None or newest is None or not failure.budget_bytes:
            return ()
        budget = failure.suggestion_bytes
        return run_in_thread(lambda: suggest_for_loop(step, newest, budget, self._options))

    def _describe(
        self,
        message: AllocatorMessage,
        at: StepCollector,
        now: MemoryNow,
        earlier: Mapping[str, Sizes],
    ) -> Failure:
        on_gpu = self._device.type == "cuda"
        limit = read_limit(self._device)
        alive = now.now or self._alive(message, on_gpu=on_gpu)
        part = at.parts[-1] if at.parts else None
        predicted = self._predictions.newest
        if part is not None and predicted is not None:
            predicted = predicted.scaled(self._predictions.share_of(part))
        return describe_failure(
            message,
            limit,
            alive,
            {**earlier, **now.instants},
            on_gpu=on_gpu,
            measuring=now.instant,
            complete=bool(now.now) or on_gpu,
            doing=at.doing,
            step=at.number + 1 if part is not None else at.number,
            micro_batch=len(at.parts),
            micro_batches=max(len(at.parts), self._predictions.micro_batches),
            batch=None if part is None else BatchSize(*part.shape, int(part.trained)),
            predicted={} if predicted is None else predicted.instants,
            growing=now.growing,
            others=find_other_processes(message, self._device),
        )

    def _alive(self, message: AllocatorMessage, *, on_gpu: bool) -> Components:
        """Return what is known of a step without tracker: states, and on a GPU all the rest."""
        known = known_bytes(ShardView(self._model()), self._optimizers)
        known["params"] += self._predictions.other_models
        if on_gpu:
            allocated = message.allocated_bytes or torch.cuda.memory_allocated(self._device)
            known["activations"] = max(0, allocated - sum(known.values()))
        return known
