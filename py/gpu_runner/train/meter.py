"""What a step held: by instant, by component, and at its highest; the meter of a card.

On CUDA the allocator's own statistics are exact and free; weights, gradients and moments are known
by identity, and only the split of the rest is missing. What cuBLAS works in comes from the same
allocator, 8 to 32 MiB a thread and stream whatever the model: no tensor of the step, and taken off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import torch
from torch import Tensor

from gpu_runner.optim.optimizer import StepOptimizer
from gpu_runner.world import local

Components = dict[str, int]
Phase = Literal["forward", "backward", "optimizer_step"]
_REST: Final = ("activations", "workspace")


@dataclass
class StepMemory:
    """What one measured step held: bytes by instant and component, and the peak of all moments."""

    source: Literal["tensors", "cuda"]
    instants: dict[str, Components] = field(default_factory=dict)
    peak_bytes: int = 0

    def keep_larger(self, instant: str, components: Components) -> None:
        """Remember `components` at `instant` if their sum is the largest seen there."""
        if sum(components.values()) >= sum(self.instants.get(instant, {}).values()):
            self.instants[instant] = {name: size for name, size in components.items() if size}


class Meter(Protocol):
    """What a training step tells about where it is; the silent one measures nothing."""

    def phase(self, name: Phase) -> Any:
        """Context manager around one phase of the step."""


class SilentMeter:
    """For the steps that are not measured."""

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Nothing."""
        del name
        yield


class CudaMeter:
    """The allocator's statistics, around a step (`with meter:`)."""

    def __init__(self, model: Any, optimizer: StepOptimizer, device: torch.device) -> None:
        self.memory = StepMemory("cuda")
        self._model = model
        self._optimizer = optimizer
        self._device = device

    def __enter__(self) -> CudaMeter:
        """The step begins."""
        return self

    def __exit__(self, *exc: object) -> None:
        """The step is over: find out what cuBLAS holds by taking it away, and take it off.

        It is taken again by the next product, from where it was.
        """
        before = torch.cuda.memory_allocated(self._device)
        torch._C._cuda_clearCublasWorkspaces()
        self._take_off(before - torch.cuda.memory_allocated(self._device))

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Read the peak of the phase; forward and backward meet in `end_of_forward`."""
        if name != "backward":
            torch.cuda.reset_peak_memory_stats(self._device)
        yield
        peak = torch.cuda.max_memory_allocated(self._device)
        self.memory.peak_bytes = max(self.memory.peak_bytes, peak)
        if name == "forward":
            self.memory.keep_larger("end_of_forward", self._split(peak, "activations"))
        elif name == "backward":
            now = torch.cuda.memory_allocated(self._device)
            self.memory.instants["end_of_backward"] = self._split(now, "workspace")
        else:
            self.memory.keep_larger("optimizer_step", self._split(peak, "workspace"))

    def _split(self, total: int, rest: str) -> Components:
        known = known_bytes(self._model, self._optimizer)
        return known | {rest: max(0, total - sum(known.values()))}

    def _take_off(self, size: int) -> None:
        self.memory.peak_bytes -= size
        for components in self.memory.instants.values():
            for name in set(_REST) & components.keys():
                components[name] = max(0, components[name] - size)


def known_bytes(model: Any, optimizer: StepOptimizer) -> Components:
    """Bytes of weights, gradients and moments that exist now."""
    parameters = list(model.parameters())
    states = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
    return {
        "params": sum(local(t).nbytes for t in (*parameters, *model.buffers())),
        "grads": sum(local(p.grad).nbytes for p in parameters if p.grad is not None),
        "moments": sum(local(value).nbytes for value in states),
    }
