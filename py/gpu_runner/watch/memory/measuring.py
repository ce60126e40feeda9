"""Which watched steps are measured, and how the meter follows them from hook to hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch

from gpu_runner.train.measure import StepMemory
from gpu_runner.watch.memory.metering import Seen, StallProbe, States, StepMeter, is_compiled

MEASURED_EVERY: Final = 100


class Measuring:
    """Measures steps 1 and 2 (moments appear; like all others), heavier ones, and some more.

    Not a step that is compiled on a CPU: under a tracker it would run as written.
    """

    def __init__(
        self, model: Callable[[], Any], states: States, device: torch.device, *, wanted: bool
    ) -> None:
        self._model = model
        self._states = states
        self._device = device
        self._wanted = wanted
        self._meter: StepMeter | None = None
        self._memory: StepMemory | None = None
        self._again = False
        self._probe: StallProbe | None = None
        self._stalled: float | None = None
        self._updated: set[int] = set()

    @property
    def running(self) -> bool:
        """Whether the step at hand is being measured."""
        return self._meter is not None

    def forward_begins(self, number: int, *, first: bool, heavier: bool) -> None:
        """A micro-batch of step `number` (1-based) begins, the `first` one or another."""
        if first and self._meter is not None:  # the pass before was none of a step
            self.drop()
            self._again = True
        chosen = number <= 2 or heavier or self._again or number % MEASURED_EVERY == 0
        if first and chosen and self._can():
            self._again = False
            self._meter = StepMeter(self._model(), self._states, self._device)
        elif heavier:
            self._again = True  # inside a step: the next one is measured from its beginning
        if self._meter is not None:
            self._meter.enter("forward")

    def forward_ended(self) -> None:
        """… and has its loss."""
        if self._meter is not None:
            self._meter.enter("backward")

    def update_begins(self) -> None:
        """All gradients are there."""
        if self._meter is not None:
            self._probe = StallProbe(self._model())
            self._meter.enter("optimizer_step")

    def update_ended(self, optimizer: torch.optim.Optimizer) -> None:
        """One optimizer has stepped; when all have, the measured step is over."""
        self._updated.add(id(optimizer))
        if self._meter is None:
            return
        self._meter.enter(None)
        if self._probe is not None:
            self._stalled, self._probe = self._probe.share(), None
        if self._updated >= {id(one) for one in self._states.optimizers}:
            self._memory, self._meter = self._meter.end(), None

    def take(self) -> tuple[StepMemory | None, float | None]:
        """What the step that is over held, and the share of 16-bit weights that did not move."""
        if self._meter is not None:  # one of several optimizers made no update
            self._memory, self._meter = self._meter.end(), None
        found = self._memory, self._stalled
        self._memory, self._stalled, self._updated = None, None, set()
        return found

    def seen(self) -> Seen:
        """What lives now, as far as the step at hand is measured; then the step is left alone.

        To be asked where an error comes out of it: another step is measured for this one.
        """
        if self._meter is None:
            return Seen()
        found, self._again = self._meter.seen(), True
        self.drop()
        return found

    def drop(self) -> None:
        """Leave a step that is being measured alone."""
        if self._meter is not None:
            self._meter.end()
        self._meter = self._probe = None

    def _can(self) -> bool:
        model = self._model()
        if not self._wanted or model is None:
            return False
        return self._device.type == "cuda" or not is_compiled(model)
