"""Predictions of a watched loop's memory, and whether its heaviest batch will fit.

A step is predicted before the first one runs, again when the loop turns out to behave differently,
and for heavier batches. A padded batch has as many tokens per sequence as its longest example, so
the heaviest batch to come contains the longest example of all. Packed without padding, it contains
the longest examples of all. The first batch shows which of the two applies.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final, Literal, TypeVar

import torch
from torch import Tensor

from gpu_runner.memory.fsdp import DeferredSync, ShardView, deferred_sync
from gpu_runner.memory.limit import bytes_for_tensors, read_limit
from gpu_runner.memory.loop import (
    Autocast,
    LoopBehavior,
    LoopStep,
    Optimizers,
    StepInputs,
    other_weights,
    predict_loop_step,
)
from gpu_runner.memory.loop_advice import LoopOptions, suggest_for_loop
from gpu_runner.memory.prediction import MARGIN, Prediction
from gpu_runner.memory.tracker import known_bytes
from gpu_runner.watch.hooks import Inputs, tensors_of
from gpu_runner.watch.steps import MicroBatch, WatchedStep
from unfrozen.units import format_bytes

HEAVIER: Final = 1.02
"""A batch with this many times the tokens of all before it is predicted anew."""
MOST_PREDICTIONS: Final = 8  # of a run
OBSERVED_STEPS: Final = 2
"""The first steps, which show how the loop behaves."""
MOST_SECONDS: Final = 1.0  # for reading the lengths of the examples
MOST_LENGTHS: Final = 4096  # of the longest that are kept
_SLICE: Final = 4096
_IDS: Final = "input_ids"

Found = TypeVar("Found")


def run_in_thread(work: Callable[[], Found]) -> Found:
    """Return the result of `work`, run in a thread that no mode or autocast of the loop reaches."""
    found: list[Found] = []
    problem: list[Exception] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:  # a model's own code may raise anything under fake tensors
            problem.append(error)

    thread = threading.Thread(target=run, name="unfrozen-prediction")
    thread.start()
    thread.join()
    if problem:
        raise problem[0]
    return found[0]


class LoopPredictions:
    """Predicts the heaviest batch so far, and observes how the loop behaves."""

    def __init__(
        self,
        model: Callable[[], Any],
        optimizers: Optimizers,
        device: torch.device,
        behavior: LoopBehavior,
        report: Callable[[Prediction], None],
    ) -> None:
        self.newest: Prediction | None = None
        self._model = model
        self._optimizers = optimizers
        self._device = device
        self.other_models = 0
        """Bytes of the weights of other models when the first step began."""
        self._assumed = self._observed = behavior
        self._report = report
        self._inputs: StepInputs | None = None
        self._heaviest = 0
        self._made = 0
        self._output: weakref.ref[Tensor] | None = None
        self._in_backward = False
        self._deferred: DeferredSync = ""
        """The gradient reduction that the current step has deferred."""
        self._keeps: Literal["backward", "step"] = "step"
        """How long the model's output stays alive, if it does in the backward pass."""
        self._steps = 0

    def add_batch(self, part: MicroBatch, inputs: Inputs) -> bool:
        """Take in a micro-batch; return whether it is heavier than all before it."""
        tokens = part.sequences * part.length
        if tokens <= self._heaviest * HEAVIER:
            return False
        self._heaviest = tokens
        self._inputs = StepInputs.of(inputs)
        deferred = deferred_sync(self._model())
        if deferred and not self._observed.deferred_sync:  # so another micro-batch will follow
            parts = max(2, self._observed.micro_batches)
            self._observed = replace(self._observed, deferred_sync=deferred, micro_batches=parts)
        return True

    def predict(self, autocast: Autocast) -> None:
        """Predict the heaviest batch so far and report it; nothing without a known optimizer."""
        step = self.step(autocast)
        if step is None or self._made == MOST_PREDICTIONS:
            return
        if not self._made:  # looking for them takes a tenth of a second and more
            self.other_models = other_weights(step.model, self._optimizers, self._device)
        self._made += 1
        step = replace(step, other_models=self.other_models)
        self._assumed = self._observed
        self.newest = run_in_thread(lambda: predict_loop_step(step))
        self._report(self.newest)

    def step(self, autocast: Autocast) -> LoopStep | None:
        """Return the heaviest step so far as the loop takes it; None while that is unknown."""
        model = self._model()
        if not self._optimizers.alive or self._inputs is None or model is None:
            return None
        own = model, self._optimizers, self._inputs, self._observed, autocast
        return LoopStep(*own, self.other_models)

    @property
    def is_settled(self) -> bool:
        """Whether the first steps have shown how the loop behaves."""
        return self._steps >= OBSERVED_STEPS

    @property
    def micro_batches(self) -> int:
        """Micro-batches per step, as far as is known."""
        return self._observed.micro_batches

    def expected_peak(self, tokens: Sequence[int], *, has_moments: bool) -> int:
        """Return the predicted peak of a step of micro-batches with so many tokens; 0 if unknown.

        Before the first update there are no moments, and in the first forward pass of a step that
        accumulates there are no gradients.
        """
        if self.newest is None or not tokens:
            return 0
        accumulates = self._observed.micro_batches > 1
        shares = [count / max(1, self._heaviest) for count in tokens]
        first = self.newest.scaled(shares[0]).without("grads", ("end_of_forward",), accumulates)
        others = [self.newest.scaled(share) for share in shares[1:]]
        absent = ("end_of_forward", "backward", "end_of_backward")
        found = [one.without("moments", absent, not has_moments) for one in (first, *others)]
        return max(one.peak_bytes for one in found)

    def share_of(self, part: MicroBatch) -> float:
        """Return the tokens of a micro-batch over those of the heaviest one, which is predicted."""
        return part.sequences * part.length / max(1, self._heaviest)

    def observe_output(self, output: Any) -> None:
        """Take in what the model returned, to see whether it is alive in the backward pass."""
        if self.is_settled:
            return
        largest = max(tensors_of(output), key=Tensor.numel, default=None)
        self._output = None if largest is None or largest.numel() < 2 else weakref.ref(largest)
        self._in_backward = False

    def observe_backward(self) -> None:
        """The backward pass begins."""
        if self.is_settled:
            return
        if (model := self._model()) is not None:
            self._deferred = deferred_sync(model) or self._deferred
        if self._output is not None and not self._in_backward:
            alive = self._output() is not None
            self._observed = replace(self._observed, keeps_output=self._keeps if alive else "")
        self._in_backward = True

    def observe_update(self) -> None:
        """The optimizer step begins: all gradients are complete."""
        if not self.is_settled and self._observed.keeps_output and self._output is not None:
            self._keeps = "step" if self._output() is not None else "backward"
            self._observed = replace(self._observed, keeps_output=self._keeps)

    def observe_zeroed_gradients(self) -> None:
        """A step begins with the zeroed gradients of the one before."""
        self._observed = replace(self._observed, keeps_zeroed_gradients=True)

    def end_step(self, done: WatchedStep) -> bool:
        """Return whether the loop behaves differently than the newest prediction assumed."""
        parts = max(1, done.backwards)
        self._observed = replace(
            self._observed,
            micro_batches=parts,
            passes=max(1, len(done.parts) // parts),
            deferred_sync=self._deferred,
        )
        self._deferred, self._steps = "", self._steps + 1
        observed, assumed = self._observed, self._assumed
        same = (observed.micro_batches > 1) == (assumed.micro_batches > 1)
        others = replace(observed, micro_batches=1) == replace(assumed, micro_batches=1)
        return not (same and others) or self.newest is None


class FitWarning:
    """Warns once that a batch will not fit.

    lengths       tokens of the examples
    per_batch     examples per batch
    """

    def __init__(
        self,
        device: torch.device,
        options: LoopOptions,
        lengths: Sequence[int],
        per_batch: int,
        warn: Callable[[str], None],
    ) -> None:
        self._device, self._options, self._warn = device, options, warn
        self._longest = sorted((int(n) for n in lengths), reverse=True)[:MOST_LENGTHS]
        self._per_batch = per_batch
        self._warned = False

    def check(self, predictions: LoopPredictions, autocast: Autocast) -> None:
        """Compare the newest prediction, or that of a heavier batch to come, with what is free."""
        step, newest = predictions.step(autocast), predictions.newest
        if self._warned or step is None or newest is None:
            return
        now, heaviest = step.inputs.shape, self.heaviest(*step.inputs.shape)
        if heaviest[0] * heaviest[1] > HEAVIER * now[0] * now[1]:
            step = replace(step, inputs=step.inputs.resized(*heaviest))
            newest = run_in_thread(lambda: predict_loop_step(step))
        available = self._available(step)
        if newest.peak_bytes > available:
            self._warned = True
            self._warn(self._format(step, newest, available, is_now=step.inputs.shape == now))

    def heaviest(self, sequences: int, length: int) -> tuple[int, int]:
        """Return (sequences, tokens per sequence) of the heaviest batch after one of this shape."""
        if not self._longest:
            return sequences, length
        if sequences == 1 and self._per_batch > 1:  # packed without padding
            return 1, max(length, sum(self._longest[: self._per_batch]))
        return max(sequences, self._per_batch), max(length, self._longest[0])

    def _format(self, step: LoopStep, newest: Prediction, available: int, *, is_now: bool) -> str:
        budget = round(MARGIN * available)
        found = run_in_thread(lambda: suggest_for_loop(step, newest, budget, self._options))
        fitting = [one for one in found if one.fits]
        changes = "; or ".join(one.options for one in fitting or found)
        advice = "To make it fit" if fitting else "It needs least with"
        sequences, length = step.inputs.shape
        size = f"{sequences:,} examples" if length == 1 else f"{sequences:,} × {length:,} tokens"
        what = "This step" if is_now else "A later batch"
        return (
            f"{what} will not fit: {size} are predicted to need {format_bytes(newest.peak_bytes)},"
            f" and {format_bytes(available)} are available."
            + (f" {advice}: {changes}." if changes else "")
        )

    def _available(self, step: LoopStep) -> int:
        """Return how many bytes of tensors fit in all, those alive now included."""
        limit, on_gpu = read_limit(self._device), self._device.type == "cuda"
        alive = known_bytes(ShardView(step.model), step.optimizers)
        alive["params"] += step.other_models
        return bytes_for_tensors(limit, alive, on_gpu=on_gpu)


def read_lengths(dataset: Any, collator: Any = None) -> list[int]:
    """Return the tokens of a data set's examples as its collator pads or cuts them.

    The result is empty for a data set that is code of its own, which might draw random numbers.
    Examples that are not read within MOST_SECONDS are left out.
    """
    multiple = getattr(collator, "pad_to_multiple_of", None) or 1
    most = getattr(collator, "max_length", None)
    found = []
    deadline = time.monotonic() + MOST_SECONDS
    for lengths in _read_slices(dataset):
        found += [-(-n // multiple) * multiple for n in lengths]
        if time.monotonic() > deadline:
            break
    return [min(n, most) for n in found] if isinstance(most, int) else found


def _read_slices(dataset: Any) -> Iterator[list[int]]:
    if isinstance(dataset, list | tuple):
        for start in range(0, len(dataset), _SLICE):
            rows = dataset[start : start + _SLICE]
            yield list(chain.from_iterable(_read_length(row) for row in rows))
    elif _IDS in (getattr(dataset, "column_names", None) or ()) and _is_table(dataset):
        table = dataset.select_columns([_IDS]).with_format("arrow")
        for start in range(0, len(table), _SLICE):
            yield [len(row) for row in table[start : start + _SLICE].column(0)]


def _is_table(dataset: Any) -> bool:
    """Return whether rows are stored in it, not computed by a transform."""
    return getattr(dataset, "format", {}).get("type") != "custom" and hasattr(dataset, "data")


def _read_length(row: Any) -> Iterator[int]:
    ids = row.get(_IDS) if isinstance(row, Mapping) or hasattr(row, "get") else None
    if ids is not None and hasattr(ids, "__len__"):
        yield len(ids)
