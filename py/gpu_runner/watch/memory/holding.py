"""What the steps of one loop hold: foretold, measured, and examined where there is no room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from gpu_runner.errors import is_out_of_memory
from gpu_runner.oom.report import PostMortem
from gpu_runner.oom.scene import Sizes
from gpu_runner.plan.predict import Prediction
from gpu_runner.watch.boundary import ErrorBoundary
from gpu_runner.watch.memory.forecasts import Forecasts
from gpu_runner.watch.memory.foretelling import Autocast, Habits
from gpu_runner.watch.memory.in_parts import obstacle
from gpu_runner.watch.memory.measuring import Measuring
from gpu_runner.watch.memory.metering import States
from gpu_runner.watch.memory.settings import Words
from gpu_runner.watch.memory.shortage import Shortage
from gpu_runner.watch.memory.to_come import Outlook
from gpu_runner.watch.steps import MicroBatch, StepCollector, WatchedStep
from gpu_runner.watch.taps import Inputs, rank

CUT: Final = (
    "Its weights are spread over processes: memory is measured, and not foretold, because {}."
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a loop's memory before it begins.

    measure       whether steps are measured
    lengths       tokens of the rows that it trains on, where they are known
    rows_at_once  of a batch, where that is known
    words         how it is told to do otherwise
    """

    measure: bool = True
    habits: Habits = field(default_factory=Habits)
    words: Words = field(default_factory=Words)
    lengths: Sequence[int] = ()
    rows_at_once: int = 0


class Holding:
    """The memory of one loop, told by `predicted` and `warn`.

    quiet   inside of it no hook hears: a step that is foretold is none of the loop's
    """

    def __init__(
        self,
        model: Callable[[], Any],
        states: States,
        device: torch.device,
        known: Known,
        guard: ErrorBoundary,
        quiet: Callable[[], AbstractContextManager[None]],
        predicted: Callable[[Prediction], None],
        warn: Callable[[str], None],
    ) -> None:
        self.measuring = Measuring(model, states, device, wanted=known.measure)
        self._model, self._guard, self._quiet = model, guard, quiet
        self._forecasts = Forecasts(model, states, known.habits, predicted)
        self._shortage = Shortage(model, states, device, self._forecasts, known.words)
        self._outlook = Outlook(device, known.words, known.lengths, known.rows_at_once, warn)

    def forward_begins(
        self, part: MicroBatch, inputs: Inputs, at: tuple[int, int], autocast: Autocast
    ) -> None:
        """A micro-batch begins, at which step and as which of it, both from 1."""
        if heavier := self._forecasts.batch(part, inputs):
            self._foretell(autocast)
        self.measuring.forward_begins(at[0], first=at[1] == 1, heavier=heavier)

    def forward_ended(self, output: Any) -> None:
        """… and has given this."""
        self._forecasts.saw_output(output)
        self.measuring.forward_ended()

    def went_back(self) -> None:
        """The backward pass begins."""
        self._forecasts.went_back()

    def update_begins(self) -> None:
        """All gradients are there."""
        self._forecasts.update_begins()
        self.measuring.update_begins()

    def step_over(self) -> None:
        """A step has ended: whatever was short before it, is not."""
        self._shortage.over()

    def look_at(self, done: WatchedStep, autocast: Autocast) -> None:
        """A step: of the first, foretell it anew where the loop does otherwise than assumed."""
        if self._forecasts.knows:
            return
        model = self._model()
        if any(parameter.grad is not None for parameter in model.parameters()):
            self._forecasts.gradients_stayed()
        if self._forecasts.step_over(done):
            self._foretell(autocast)

    def raised(
        self, error: BaseException, at: StepCollector, earlier: Mapping[str, Sizes]
    ) -> PostMortem | None:
        """An error comes out of a pass; what is found where memory ran out, once.

        earlier   instant → components, as they were measured so far
        """
        seen = self.measuring.seen()
        return self._shortage.note(error, at, seen, earlier) if is_out_of_memory(error) else None

    @property
    def is_short(self) -> bool:
        """Whether memory ran out and no step has ended since."""
        return self._shortage.is_open

    def post_mortem(self, autocast: Autocast, error: BaseException | None) -> PostMortem | None:
        """Of a loop that memory ran out for at last, with what would have fitted; else None."""
        with self._guard.around("what would have fitted is not known"), self._quiet():
            return self._shortage.found(autocast, error)
        return None

    def _foretell(self, autocast: Autocast) -> None:
        if rank() > 0:
            return  # what the others hold is as much, and told by nobody
        with self._guard.around("the memory of these steps cannot be foretold"), self._quiet():
            if why := obstacle(self._model()):
                self._guard.say_once(CUT.format(why))
                return
            self._forecasts.make(autocast)
        what = "it is not known whether the heaviest batch will fit"
        with self._guard.around(what), self._quiet():
            self._outlook.look(self._forecasts, autocast)
