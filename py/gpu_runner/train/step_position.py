"""Where in a step a run is: the micro-batch, the phase, and what was resident if it failed.

A meter between the loop and the real one: it counts, and is as cheap as counting. When a phase is
left by an exception, the resident bytes are recorded before anything is freed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from gpu_runner.memory.tracker import (
    Components,
    Meter,
    OptimizerStates,
    Phase,
    SilentMeter,
    StepMemory,
    TensorTracker,
    TrackedModel,
    known_bytes,
)

BETWEEN = "between"


class StepPosition:
    """Which step (from 1), which of this process's micro-batches (from 1), and which phase.

    Outside a step `micro_batch` is 0. `instant` and `growing`, the component of what appears, are
    known in a step that is measured tensor by tensor.
    """

    def __init__(self) -> None:
        self.step = 0
        self.micro_batch = 0
        self.doing: str = BETWEEN
        self.memory: StepMemory | None = None
        self.instant = ""
        self.growing = ""
        self.resident: Components = {}
        self._meter: Meter = SilentMeter()
        self._measure: Callable[[], Components] = dict

    def begin(
        self,
        number: int,
        meter: Meter,
        memory: StepMemory | None,
        look: Callable[[], Components] = dict,
    ) -> Meter:
        """Begin step `number`, measured by `meter` into `memory`; `look` returns resident bytes."""
        self.step, self.micro_batch, self.doing = number, 0, BETWEEN
        self.memory, self._meter, self._measure = memory, meter, look
        return self

    def end(self) -> None:
        """End the step."""
        self.micro_batch, self.doing, self.memory = 0, BETWEEN, None
        self._meter, self._measure = SilentMeter(), dict

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """The same phase of the real meter."""
        self.micro_batch += name == "forward"
        self.doing = name
        try:
            with self._meter.phase(name):
                yield
        except BaseException:
            self._record()
            raise

    def _record(self) -> None:
        self.resident = self._measure()
        if isinstance(self._meter, TensorTracker):
            self.instant, self.growing = self._meter.instant, self._meter.kind


def resident_bytes(
    meter: Meter, model: TrackedModel, optimizer: OptimizerStates, device: torch.device
) -> Components:
    """Return the resident bytes by component, where a meter follows them or on a GPU; else none.

    On a GPU, `activations` are whatever is no weight, gradient or moment.
    """
    if isinstance(meter, TensorTracker):
        return {name: size for name, size in meter.now.items() if size}
    if device.type != "cuda":
        return {}
    known = known_bytes(model, optimizer)
    rest = torch.cuda.memory_allocated(device) - sum(known.values())
    return known | {"activations": max(0, rest)}
