"""The plan of a job: its memory, its time, and changes that help.

Here is the memory: each instant by component, and whether the GPU holds the peak. Counters:
`allocated` is the memory of tensors, `reserved` what the caching allocator takes for them, `device`
the memory of the GPU in all; see `unfrozen.memory.overhead`.

Reading order:

- `methods` — full fine-tuning, LoRA and QLoRA side by side
- `flops` — FLOPs per token
- `timing` — seconds of matmuls, attention, memory and communication, term by term
- `step_time` — seconds of a step by cause, and what bounds it
- `timeline` — two steps through time, turn by turn
- `host_memory` — what loading and saving need of a machine's own memory; what `top` shows
- `record` — how far such estimates were from published runs, by kind of job
- `compute` — time, energy and cost of a number of tokens
- `solve` — fewest GPUs, largest micro-batch, longest sequence
- `layouts` — layouts of a number of GPUs that fit, the fastest first
- `largest_model` — the largest model that each GPU can train
- `advice` — changes of a job: what each saves and costs; the smallest set that fits
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.hardware import Gpu
from unfrozen.job import Job
from unfrozen.memory.instants import Instants, Step, peak
from unfrozen.memory.overhead import (
    COMMUNICATION_BYTES,
    CONTEXT_BYTES,
    CONTEXT_RANGE,
    RESERVED_RANGE,
    reserved_bytes,
)
from unfrozen.units import gib, sig3

__all__ = ["DEFAULT_GPU", "Plan", "format_gpu", "plan", "plan_job"]


DEFAULT_GPU: Final = "A100 80GB SXM"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job needs on each GPU."""

    job: Job
    instants: Instants
    peak_instant: str
    allocated_bytes: int
    reserved_bytes: int

    @property
    def device_bytes(self) -> int:
        """What the GPU has to hold, driver and communication buffers included."""
        extra = COMMUNICATION_BYTES if self.job.cluster.gpus > 1 else 0
        return self.reserved_bytes + CONTEXT_BYTES + extra

    @property
    def fits(self) -> bool | None:
        """Whether the GPU holds it; None where no GPU is named."""
        return None if self.job.gpu is None else self.device_bytes <= self.job.gpu.capacity_bytes

    @property
    def guessed_bytes(self) -> int:
        """Activations at the peak that are estimated, and may be half as much or twice: those of a
        model whose layers nobody has traced.
        """
        guesses = self.job.model.architecture.guesses
        return self.instants[self.peak_instant].get("activations", 0) if guesses else 0

    @property
    def band_gib(self) -> tuple[float, float]:
        """Lowest and highest `device` that the overheads seen in public rows allow."""
        extra = COMMUNICATION_BYTES if self.job.cluster.gpus > 1 else 0
        guessed = self.guessed_bytes
        low = RESERVED_RANGE[0] * (self.allocated_bytes - guessed / 2) + CONTEXT_RANGE[0] + extra
        high = (
            max(RESERVED_RANGE[1] * (self.allocated_bytes + guessed), self.reserved_bytes)
            + CONTEXT_RANGE[1]
            + 2 * extra
        )
        return gib(low), gib(high)


def plan(given: object) -> Plan:
    """Plan a job given as plain data. Raises PlanError with key, value, bound and remedy."""
    return plan_job(Job.read(given))


def plan_job(job: Job) -> Plan:
    """Plan a job that has been read."""
    step = Step(job.model, job.recipe, job.cluster)
    found = step.instants()
    name, size = peak(found)
    reserved = max(reserved_bytes(step, instant, parts) for instant, parts in found.items())
    return Plan(job, found, name, size, reserved)


def format_gpu(gpu: Gpu) -> str:
    """Return the name of a GPU with its memory: "A100 80GB SXM (79.2 GiB)"."""
    return f"{gpu.name} ({sig3(gib(gpu.capacity_bytes))} GiB)"
