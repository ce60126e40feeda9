"""When the memory of a watched loop is foretold: before its first step, and again when it turns out
to do things otherwise, or when a heavier batch comes.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Literal, TypeVar

from torch import Tensor

from gpu_runner.plan.predict import Prediction
from gpu_runner.watch.memory.foretelling import Autocast, Given, Habits, foretell
from gpu_runner.watch.memory.in_parts import Waiting, waiting
from gpu_runner.watch.memory.metering import States
from gpu_runner.watch.memory.settings import LoopStep
from gpu_runner.watch.steps import MicroBatch, WatchedStep
from gpu_runner.watch.taps import Inputs, tensors_of

HEAVIER: Final = 1.02
"""So many times the tokens of all batches before it makes one worth a forecast of its own."""
MOST: Final = 8
"""Forecasts of a run."""
LOOKED_AT: Final = 2
"""Steps, from the first, in which it shows what a loop does."""


Found = TypeVar("Found")


def aside(work: Callable[[], Found]) -> Found:
    """Do `work` in a thread of its own, where no mode and no autocast of the loop reaches."""
    found: list[Found] = []
    problem: list[Exception] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:  # what a model's own code does with tensors of no values
            problem.append(error)

    thread = threading.Thread(target=run, name="unfrozen-forecast")
    thread.start()
    thread.join()
    if problem:
        raise problem[0]
    return found[0]


class Forecasts:
    """Foretells the heaviest batch so far, and remembers what the loop was taken to do."""

    def __init__(
        self,
        model: Callable[[], Any],
        states: States,
        habits: Habits,
        tell: Callable[[Prediction], None],
    ) -> None:
        self.newest: Prediction | None = None
        self._model = model
        self._states = states
        self._assumed = self._seen = habits
        self._tell = tell
        self._given: Given | None = None
        self._heaviest = 0
        self._made = 0
        self._output: weakref.ref[Tensor] | None = None
        self._went_back = False
        self._waited: Waiting = ""
        """What gradients waited for in the step at hand."""
        self._keeps: Literal["backward", "step"] = "step"
        """For how long what the model returned is held, where the backward pass finds it."""
        self._steps = 0

    def batch(self, part: MicroBatch, inputs: Inputs) -> bool:
        """A micro-batch comes; whether it is heavier than all before it."""
        tokens = part.rows * part.length
        if tokens <= self._heaviest * HEAVIER:
            return False
        self._heaviest = tokens
        self._given = Given.of(inputs)
        if (now := waiting(self._model())) and not self._seen.waiting:  # so others will follow
            several = max(2, self._seen.micro_batches)
            self._seen = replace(self._seen, waiting=now, micro_batches=several)
        return True

    def make(self, autocast: Autocast) -> None:
        """Foretell the heaviest batch so far and tell it; nothing where no optimizer is known."""
        step = self.step(autocast)
        if step is None or self._made == MOST:
            return
        self._made += 1
        self._assumed = self._seen
        given = step.model, step.states, step.given, self._assumed, autocast
        self.newest = aside(lambda: foretell(*given))
        if self.newest is not None:
            self._tell(self.newest)

    def step(self, autocast: Autocast) -> LoopStep | None:
        """The heaviest step so far, as the loop does it; None where it is not known yet."""
        model = self._model()
        if not self._states.optimizers or self._given is None or model is None:
            return None
        return LoopStep(model, self._states, self._given, self._seen, autocast, self.micro_batches)

    @property
    def knows(self) -> bool:
        """Whether the first steps have shown what the loop does."""
        return self._steps >= LOOKED_AT

    @property
    def micro_batches(self) -> int:
        """Of a step, as far as is known."""
        return self._seen.micro_batches

    def share_of(self, part: MicroBatch) -> float:
        """The tokens of a micro-batch over those of the heaviest, which was foretold."""
        return part.rows * part.length / max(1, self._heaviest)

    def saw_output(self, output: Any) -> None:
        """What the model returned: does the loop still hold it when it goes back?"""
        largest = max(tensors_of(output), key=Tensor.numel, default=None)
        self._output = None if largest is None or largest.numel() < 2 else weakref.ref(largest)
        self._went_back = False

    def went_back(self) -> None:
        """The backward pass begins."""
        if not self.knows and (model := self._model()) is not None:
            self._waited = waiting(model) or self._waited
        if self._output is not None and not self._went_back:
            still = self._output() is not None
            self._seen = replace(self._seen, keeps_output=self._keeps if still else "")
        self._went_back = True

    def update_begins(self) -> None:
        """All gradients are there."""
        if self._seen.keeps_output and self._output is not None:
            self._keeps = "step" if self._output() is not None else "backward"
            self._seen = replace(self._seen, keeps_output=self._keeps)

    def gradients_stayed(self) -> None:
        """A step begins, and gradients of the one before are there, as zeros."""
        self._seen = replace(self._seen, zeroes=True)

    def step_over(self, done: WatchedStep) -> bool:
        """Whether the loop does otherwise than the newest forecast has it."""
        parts = max(1, len(done.parts))
        self._seen = replace(self._seen, micro_batches=parts, waiting=self._waited)
        self._waited, self._steps = "", self._steps + 1
        same = (self._seen.micro_batches > 1) == (self._assumed.micro_batches > 1)
        others = replace(self._seen, micro_batches=1) == replace(self._assumed, micro_batches=1)
        return not (same and others) or self.newest is None
