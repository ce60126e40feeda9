"""The answer to a job: what each instant holds, whether it fits, and what to change.

Counters, from the inside out: `allocated` is what tensors hold; `reserved` what the caching
allocator takes for them, 1.03 times as much (public rows: 1.007–1.14); `device` adds the context of
the driver and its libraries, 0.5 GiB (0.2–1.8 by card and version) and, on several cards, 1 GiB of
communication buffers (NCCL, 1–2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from unfrozen.cluster import Cluster
from unfrozen.errors import PlanError
from unfrozen.gpus import Gpu, find
from unfrozen.job import Job
from unfrozen.memory.instants import Instants, instants, peak
from unfrozen.recipe import Recipe
from unfrozen.units import GIB, gib, sig3

RESERVED_RATIO: Final = 1.03
RESERVED_RANGE: Final = (1.0, 1.14)
CONTEXT_BYTES: Final = GIB // 2
CONTEXT_RANGE: Final = (GIB // 5, 9 * GIB // 5)
COMMUNICATION_BYTES: Final = GIB
DEFAULT_GPU: Final = "A100 80GB SXM"
MOST_GPUS: Final = 4096


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

    def as_json(self) -> dict[str, object]:
        """The answer with its fixed keys; sizes in GiB where the key says so, else bytes."""
        return {
            "allocated_gib": gib(self.allocated_bytes),
            "reserved_gib": gib(self.reserved_bytes),
            "device_gib": gib(self.device_bytes),
            "peak_instant": self.peak_instant,
            "instants": self.instants,
            "fits": self.fits,
            "min_gpus": min_gpus(self),
            "band": list(self.band_gib),
            "advice": advice(self),
        }


def plan(given: object) -> Plan:
    """Plan a job given as plain data. Raises PlanError with key, value, bound and remedy."""
    return plan_job(Job.read(given))


def plan_job(job: Job) -> Plan:
    """Plan a job that has been read."""
    found = instants(job.model, job.recipe, job.cluster)
    name, size = peak(found)
    return Plan(job, found, name, size)


def min_gpus(planned: Plan) -> int:
    """The least number of cards, sharding everything (ZeRO-3), on which the job fits.

    Counts cards of the job's kind, or 80 GB cards where it names none. A job that no number of
    cards can hold, because one card's activations are too large, gets 0.
    """
    gpu = planned.job.gpu or find(DEFAULT_GPU)
    if _needed(planned.job, 1) <= gpu.capacity_bytes:
        return 1
    if _needed(planned.job, MOST_GPUS) > gpu.capacity_bytes:
        return 0
    low, high = 1, MOST_GPUS  # low does not fit, high does; need falls as cards are added
    while high - low > 1:
        middle = (low + high) // 2
        if _needed(planned.job, middle) <= gpu.capacity_bytes:
            high = middle
        else:
            low = middle
    return high


def _needed(job: Job, gpus: int) -> int:
    cluster = Cluster(gpus=gpus, sharding="zero3" if gpus > 1 else "none")
    return plan_job(replace(job, cluster=cluster)).device_bytes


_CHANGES: Final[tuple[tuple[str, dict[str, object]], ...]] = (
    ("recompute every layer (checkpointing: full)", {"checkpointing": "full"}),
    ("8-bit moments (moments: int8)", {"moments": "int8"}),
    ("pure bf16 (master: null, moments: bf16)", {"master": None, "moments": "bf16"}),
    ("fused kernels (kernels: fused)", {"kernels": "fused"}),
    ("one sequence at a time (micro_batch: 1, grad_accum instead)", {"micro_batch": 1}),
)


def advice(planned: Plan) -> list[str]:
    """Single changes that save memory, largest saving first, each with the new need in GiB."""
    found: list[tuple[int, str]] = []
    for words, change in _CHANGES:
        changed = _changed(planned.job, change)
        saved = planned.device_bytes - changed.device_bytes if changed else 0
        if changed and saved > 0:
            need = f"{sig3(gib(changed.device_bytes))} GiB"
            found.append((saved, f"{words}: saves {sig3(gib(saved))} GiB, needs {need}"))
    found.sort(key=lambda entry: -entry[0])
    return [text for _, text in found]


def _changed(job: Job, change: dict[str, object]) -> Plan | None:
    """The plan after a change, or None where the change does not apply to this job."""
    recipe = job.recipe
    if "moments" in change and (recipe.moments is None or recipe.params != "bf16"):
        return None
    given: dict[str, object] = {key: getattr(recipe, key) for key in Recipe.__dataclass_fields__}
    if change.get("micro_batch") == 1:
        change = change | {"grad_accum": recipe.grad_accum * recipe.micro_batch}
    try:
        return plan_job(replace(job, recipe=Recipe.read(given | change)))
    except PlanError:
        return None


def card_words(gpu: Gpu) -> str:
    """A card and what it holds: "A100 80GB SXM (79.2 GiB)"."""
    return f"{gpu.name} ({sig3(gib(gpu.capacity_bytes))} GiB)"
