"""The answer to a job: what each instant holds, and whether the card holds it.

Counters, from the inside out: `allocated` is what tensors hold; `reserved` what the caching
allocator takes for them, 1.03 times as much (public rows: 1.007–1.14); `device` adds the context of
the driver and its libraries, 0.5 GiB (0.2–1.8 by card and version) and, on several cards, 1 GiB of
communication buffers (NCCL, 1–2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.gpus import Gpu
from unfrozen.job import Job
from unfrozen.memory.instants import Instants, instants, peak
from unfrozen.units import GIB, gib, sig3

RESERVED_RATIO: Final = 1.03
RESERVED_RANGE: Final = (1.0, 1.14)
CONTEXT_BYTES: Final = GIB // 2
CONTEXT_RANGE: Final = (GIB // 5, 9 * GIB // 5)
COMMUNICATION_BYTES: Final = GIB
DEFAULT_GPU: Final = "A100 80GB SXM"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job needs on each card."""

    job: Job
    instants: Instants
    peak_instant: str
    allocated_bytes: int

    @property
    def reserved_bytes(self) -> int:
        """What the caching allocator takes."""
        return round(RESERVED_RATIO * self.allocated_bytes)

    @property
    def device_bytes(self) -> int:
        """What the card has to hold, driver and communication buffers included."""
        extra = COMMUNICATION_BYTES if self.job.cluster.gpus > 1 else 0
        return self.reserved_bytes + CONTEXT_BYTES + extra

    @property
    def fits(self) -> bool | None:
        """Whether the card holds it; None where no card is named."""
        return None if self.job.gpu is None else self.device_bytes <= self.job.gpu.capacity_bytes

    @property
    def band_gib(self) -> tuple[float, float]:
        """Lowest and highest `device` that the overheads seen in public rows allow."""
        extra = COMMUNICATION_BYTES if self.job.cluster.gpus > 1 else 0
        low = RESERVED_RANGE[0] * self.allocated_bytes + CONTEXT_RANGE[0] + extra
        high = RESERVED_RANGE[1] * self.allocated_bytes + CONTEXT_RANGE[1] + 2 * extra
        return gib(low), gib(high)


def plan(given: object) -> Plan:
    """Plan a job given as plain data. Raises PlanError with key, value, bound and remedy."""
    return plan_job(Job.read(given))


def plan_job(job: Job) -> Plan:
    """Plan a job that has been read."""
    found = instants(job.model, job.recipe, job.cluster)
    name, size = peak(found)
    return Plan(job, found, name, size)


def card_words(gpu: Gpu) -> str:
    """A card and what it holds: "A100 80GB SXM (79.2 GiB)"."""
    return f"{gpu.name} ({sig3(gib(gpu.capacity_bytes))} GiB)"
