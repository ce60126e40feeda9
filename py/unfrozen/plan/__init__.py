"""The plan of a job: its memory, its time, and changes that help.

Here is the memory: each instant by component, and whether the GPU holds the peak. Counters:
`allocated` is the memory of tensors, `reserved` what the caching allocator takes for them, `device`
the memory of the GPU in all; see `unfrozen.memory.overhead`.

Reading order:

- `methods` — full fine-tuning, LoRA and QLoRA side by side; the largest model of each GPU
- `flops` — FLOPs per token
- `timing` — seconds of matmuls, attention, memory and communication, term by term
- `step_time` — seconds of a step by cause, and what bounds it
- `timeline` — two steps through time, turn by turn
- `host_memory` — what loading and saving need of a machine's own memory; what `top` shows
- `record` — how far such estimates were from published runs, by kind; which verdicts held
- `compute` — time, energy and cost of a number of tokens
- `rent` — the timeout of a run, and the flavors of providers that have its GPUs
- `solve` — fewest GPUs, largest micro-batch, longest sequence
- `layouts` — layouts of a number of GPUs that fit, the fastest first
- `advice` — changes of a job: what each saves and costs; the smallest set that fits
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from unfrozen.hardware import Gpu, find
from unfrozen.job import Job
from unfrozen.memory.instants import Instants, Step, peak
from unfrozen.memory.overhead import (
    COMMUNICATION_BYTES,
    LEAST_CONTEXT,
    MOST_CONTEXT_BYTES,
    OFF,
    reserve_of,
)
from unfrozen.units import gib, sig3

__all__ = ["DEFAULT_GPU", "Plan", "format_gpu", "plan", "plan_job"]


DEFAULT_GPU: Final = "A100 80GB SXM"
SURE: Final = 0.9
"""The margin of every layout, solved number and advice: the probability with which it fits."""
VERDICTS: Final = ("fits", "tight", "does not fit")
"""Words for a probability: `SURE` and more, between, 1 − `SURE` and less."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job needs on each GPU."""

    job: Job
    instants: Instants
    peak_instant: str
    allocated_bytes: int
    needed_bytes: int
    roomy_reserved_bytes: int
    """The allocator's blocks on a GPU that has room to spare."""

    @property
    def reserved_bytes(self) -> int:
        """The allocator's blocks on this GPU: a full one has the unused ones given back."""
        return self.device_bytes - self.beside_bytes

    @property
    def beside_bytes(self) -> int:
        """What the GPU holds beside tensors: driver, communication buffers and vLLM."""
        buffers = COMMUNICATION_BYTES if self.job.cluster.gpus > 1 else 0
        return self.context_bytes + buffers + self.rollout_bytes

    @property
    def rollout_bytes(self) -> int:
        """What vLLM takes of the GPU, or of the assumed one where none is named."""
        share = self.job.recipe.rollout_share or 0.0
        return round(share * (self.job.gpu or find(DEFAULT_GPU)).capacity_bytes)

    @property
    def context_bytes(self) -> int:
        """The driver's context on the GPU, or on the assumed one where none is named."""
        return (self.job.gpu or find(DEFAULT_GPU)).context_bytes

    @property
    def context_range(self) -> tuple[int, int]:
        """The least and most that such a context may take."""
        return round(LEAST_CONTEXT * self.context_bytes), MOST_CONTEXT_BYTES

    @property
    def device_bytes(self) -> int:
        """The bytes that the GPU shows: no more than it has, where the step may run in that."""
        size, gpu = self.roomy_bytes, self.job.gpu
        least = (self.allocated_bytes + self.needed_bytes) // 2 + self.beside_bytes
        return min(size, max(least, gpu.capacity_bytes)) if gpu and self.chance else size

    @property
    def roomy_bytes(self) -> int:
        """What a GPU shows that has room to spare."""
        return self.roomy_reserved_bytes + self.beside_bytes

    @property
    def safe_bytes(self) -> int:
        """What a GPU must have for the step to run with probability `SURE`."""
        least, most = self._needs
        return round(least + SURE * (most - least)) + self.beside_bytes

    @property
    def _needs(self) -> tuple[float, float]:
        """Between what the allocator needs, every number as likely as any other."""
        least, most = (self.allocated_bytes + self.needed_bytes) / 2, (1 + OFF) * self.needed_bytes
        return least - self.guessed_bytes / 2, most + self.guessed_bytes

    @property
    def chance(self) -> float | None:
        """The probability that the step runs on its GPU; None where no GPU is named."""
        if self.job.gpu is None:
            return None
        least, most = self._needs
        room = self.job.gpu.capacity_bytes - self.beside_bytes
        return min(1.0, max(0.0, (room - least) / (most - least)))

    @property
    def fits(self) -> bool | None:
        """Whether the step is sure to run, `SURE`; None where no GPU is named."""
        return None if self.chance is None else self.chance >= SURE

    @property
    def verdict(self) -> str | None:
        """One of `VERDICTS`; None where no GPU is named."""
        if self.chance is None:
            return None
        return VERDICTS[0 if self.chance >= SURE else 1 if self.chance > 1 - SURE else 2]

    @property
    def guessed_bytes(self) -> int:
        """The estimated part of the peak, half as much or twice: activations of layers
        that nobody has traced or of an objective that no run was published of, and all of a model
        whose tensors are not known.
        """
        a, parts = self.job.model.architecture, self.instants[self.peak_instant]
        if a.counted == "bounded":
            return sum(parts.values())
        guesses = a.guesses or self.job.recipe.objective != "sft"
        return parts.get("activations", 0) if guesses else 0

    @property
    def band_gib(self) -> tuple[float, float]:
        """Lowest and highest memory that the GPU may show, from tensors alone to all blocks."""
        guessed, vllm = self.guessed_bytes, self.rollout_bytes
        communication = self.beside_bytes - self.context_bytes - vllm
        least, most = self.context_range
        low = self.allocated_bytes - guessed / 2 + least + communication + vllm
        high = (1 + OFF) * self.roomy_reserved_bytes + guessed + most + 2 * communication + vllm
        if (gpu := self.job.gpu) and self.chance and self.device_bytes <= gpu.capacity_bytes:
            high = min(high, gpu.capacity_bytes)
        return gib(min(low, high)), gib(high)


def plan(given: object) -> Plan:
    """Plan a job given as plain data. Raises PlanError with key, value, bound and remedy."""
    return plan_job(Job.read(given))


def plan_job(job: Job) -> Plan:
    """Plan a job that has been read."""
    step = Step(job.model, job.recipe, job.cluster)
    found = step.instants()
    name, size = peak(found)
    return Plan(job, found, name, size, *reserve_of(step, found))


def format_gpu(gpu: Gpu) -> str:
    """Return the name of a GPU with its memory: "A100 80GB SXM (79.2 GiB)"."""
    return f"{gpu.name} ({sig3(gib(gpu.capacity_bytes))} GiB)"


class _Callable(ModuleType):
    """This package, which is also the function that a program calls: `unfrozen.plan(model=…)`."""

    def __call__(self, *given: Any, **options: Any) -> Any:
        """Return the `PlanAnswer` of `unfrozen.request.plan`."""
        return import_module("unfrozen.request").plan(*given, **options)


sys.modules[__name__].__class__ = _Callable
