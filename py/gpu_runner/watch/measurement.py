"""Which steps of a watched loop are measured, and the meters that hooks drive through them.

On a CPU the tracker follows every operator of the measured steps, and of no others. A compiled step
is not measured there: under a tracker it would run eagerly, and so compute something else. On CUDA
the allocator counts anyway. A meter starts and stops outside of backward passes only, which have a
stack of modes of their own.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.memory.fsdp import ShardView
from gpu_runner.memory.loop import LoopTracker, Optimizers, is_compiled
from gpu_runner.memory.tracker import Components, CudaMeter, Phase, StepMemory
from gpu_runner.watch.autograd_graph import in_backward
from gpu_runner.world import local

MEASURED_EVERY: Final = 100
COMPARED: Final = 4096
"""Numbers of each 16-bit tensor that are compared before and after an update."""
IN_16_BITS: Final = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True)
class MemoryNow:
    """What a meter knows in the middle of a step.

    instants   the instants so far
    now        the components alive now, at `instant`
    growing    the component of the tensors that appear now
    """

    instants: dict[str, Components] = field(default_factory=dict)
    now: Components = field(default_factory=dict)
    instant: str = ""
    growing: str = ""


class StepMeter:
    """One measured step, from its first forward pass to its last update.

    `others` are the bytes of the weights of other models, which lie in memory all the while.
    """

    def __init__(
        self, model: Any, optimizers: Optimizers, device: torch.device, others: int
    ) -> None:
        model = weakref.proxy(model)  # a loop that is left in a step may go, and its model too
        self._phase = ExitStack()
        self._others = others
        if device.type == "cuda":
            self._meter: Any = CudaMeter(ShardView(model), optimizers, device)
        else:
            self._meter = LoopTracker(model, optimizers, strict=False)
            self._meter.start()

    def enter(self, phase: Phase | None) -> None:
        """Enter `phase`; None is between two phases."""
        self._phase.close()
        if phase is not None:
            self._phase.enter_context(self._meter.phase(phase))

    def read(self) -> MemoryNow:
        """Return what is known at this moment, in the middle of a step."""
        meter = self._meter
        if isinstance(meter, LoopTracker):
            now = {name: size for name, size in meter.now.items() if size}
            now = self._with_others(now)
            return MemoryNow(self._instants(), now, meter.instant, meter.kind)
        return MemoryNow(self._instants())

    def end(self) -> StepMemory:
        """End the step and return its memory. Safe to call at any point, also after an error.

        Raises the error that ended the meter before.
        """
        try:
            self._phase.close()
        finally:
            if isinstance(self._meter, LoopTracker):
                self._meter.stop()
        if error := getattr(self._meter, "error", None):
            raise RuntimeError(f"memory cannot be measured: {error}") from error
        found: StepMemory = self._meter.memory
        more = 0 if found.source == "cuda" else self._others  # the allocator counts them anyway
        return StepMemory(found.source, self._instants(), found.peak_bytes + more)

    def _instants(self) -> dict[str, Components]:
        return {at: self._with_others(one) for at, one in self._meter.memory.instants.items()}

    def _with_others(self, components: Components) -> Components:
        """Return components in which the weights of other models count as weights."""
        found = {**components, "params": components.get("params", 0) + self._others}
        if self._meter.memory.source == "cuda":
            rest = "workspace" if "workspace" in found else "activations"
            found[rest] = max(0, found.get(rest, 0) - self._others)
        return found


class StallProbe:
    """The share of 16-bit weights that an update leaves unchanged, sampled from each tensor."""

    def __init__(self, model: Any) -> None:
        self._before = [
            (p, _sample(p).clone())
            for p in model.parameters()
            if p.requires_grad and p.dtype in IN_16_BITS and p.grad is not None
        ]

    def share(self) -> float | None:
        """Return the share after the update; None where there are no such weights."""
        if not self._before:
            return None
        same = sum((_sample(p) == old).sum() for p, old in self._before)
        count = sum(len(old) for _, old in self._before)
        self._before = []
        return float(same) / count


class StepMeasurement:
    """Measures steps 1 (moments appear) and 2, steps with heavier batches, and every 100th."""

    def __init__(
        self,
        model: Callable[[], Any],
        optimizers: Optimizers,
        device: torch.device,
        *,
        wanted: bool,
    ) -> None:
        self._model = model
        self._optimizers = optimizers
        self._device = device
        self._wanted = wanted
        self._meter: StepMeter | None = None
        self._memory: StepMemory | None = None
        self._postponed = False
        self._probe: StallProbe | None = None
        self._stalled: float | None = None
        self._updated: set[int] = set()
        self._is_over = self._is_dropped = False
        """Whether the measured step is over; its meter stops when no backward pass runs."""
        self.other_models = 0
        """Bytes of the weights of other models."""
        self.compiled = False
        """Whether the newest forward pass is one that torch.compile runs."""

    @property
    def is_running(self) -> bool:
        """Whether the current step is being measured."""
        return self._meter is not None

    def begin_forward(self, number: int, *, first: bool, heavier: bool) -> None:
        """A micro-batch of step `number` (1-based) begins, the `first` one or another."""
        if in_backward():
            return
        if first and self._meter is not None:  # the pass before did not belong to a step
            self.drop()
            self._postponed = True
        chosen = number <= 2 or heavier or self._postponed or number % MEASURED_EVERY == 0
        if first and chosen and self._can_measure():
            self._postponed = False
            self._meter = StepMeter(
                self._model(), self._optimizers, self._device, self.other_models
            )
        elif heavier:
            self._postponed = True  # within a step: the next one is measured from its beginning
        if self._meter is not None:
            self._meter.enter("forward")

    def end_forward(self) -> None:
        """The forward pass has ended."""
        if self._meter is not None:
            self._meter.enter("backward")

    def begin_update(self) -> None:
        """All gradients are complete; an optimizer is about to step."""
        if self._meter is not None:
            self._probe = StallProbe(self._model())
            self._meter.enter("optimizer_step")

    def end_update(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has stepped; when all have, the measured step is over."""
        self._updated.add(id(optimizer))
        if self._meter is None:
            return
        self._meter.enter(None)
        if self._probe is not None:
            self._stalled, self._probe = self._probe.share(), None
        self._is_over = self._updated >= {id(one) for one in self._optimizers.alive}
        self.end_if_over()

    def end_if_over(self) -> None:
        """Stop the meter of a step that is over, once that is possible."""
        if self._is_over and not in_backward():
            self._end()

    def _end(self) -> None:
        """Stop the meter. Where it failed there is no memory, and no step is measured any more."""
        meter, self._meter, self._is_over = self._meter, None, False
        dropped, self._is_dropped = self._is_dropped, False
        if meter is None:
            return
        try:
            found = meter.end()
        except RuntimeError:
            self._wanted = False
            raise
        self._memory = None if dropped else found

    def take(self) -> tuple[StepMemory | None, float | None]:
        """Return the memory of the step that is over, and its share of unchanged 16-bit weights."""
        if not in_backward():  # one of several optimizers may have made no update
            self._end()
        found = self._memory, self._stalled
        self._memory, self._stalled, self._updated = None, None, set()
        return found

    def interrupt(self) -> MemoryNow:
        """Return what is known of a step that an error has left, and stop measuring it.

        Another step is measured in its place.
        """
        if self._meter is None:
            return MemoryNow()
        found, self._postponed = self._meter.read(), True
        self.drop()
        return found

    def drop(self) -> None:
        """Stop measuring the current step."""
        self._probe = None
        self._is_over = self._is_dropped = self._meter is not None
        self.end_if_over()

    def _can_measure(self) -> bool:
        model = self._model()
        if not self._wanted or model is None:
            return False
        return self._device.type == "cuda" or not (self.compiled or is_compiled(model))


def _sample(parameter: Tensor) -> Tensor:
    """Return a few numbers of the local shard, which needs no other process."""
    return local(parameter.detach()).flatten()[:COMPARED]
