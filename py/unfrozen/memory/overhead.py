"""Overheads beside tensors: the allocator's reserve, the CUDA context, communication buffers.

`reserved` is what the caching allocator takes. Published pairs put it at 1.007 to 1.14 times
`allocated`, mostly near 1.03. Two things make it more, and can be counted: the 16-bit logits are
freed before the fp32 ones exist, and their block is too small to hold those; and under ZeRO-3 the
gradient shards and the buffers they are reduced in come from streams of their own, which share no
blocks with the stream that computes.

`device` adds the context of the driver and its libraries, 0.2 to 1.8 GiB by GPU and version (the
documentation of transformers measures 1343 MiB after one tensor, which is taken here), and
on several GPUs the buffers of their communication (NCCL), 1 to 2 GiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from unfrozen.job.recipe import BYTES
from unfrozen.memory.instants import Step
from unfrozen.units import GIB, MIB

ROUNDING: Final = 0.03
"""Share of the allocated bytes that blocks are too large."""

RESERVED_RANGE: Final = (1.0, 1.14)
CONTEXT_BYTES: Final = 1343 * MIB
CONTEXT_RANGE: Final = (GIB // 5, 9 * GIB // 5)
COMMUNICATION_BYTES: Final = GIB


def reserved_bytes(step: Step, instant: str, parts: Mapping[str, int]) -> int:
    """Return the bytes that the caching allocator reserves for an instant of these components."""
    allocated, freed = sum(parts.values()), 0
    part = step.micro_batch
    upcast = part.loss_kind in ("logits_fp32", "loss_parallel")
    if upcast and instant == "end_of_forward":
        freed = part.setup.compute * part.loss_tokens * part.vocab if part.setup.compute == 2 else 0
    more = max(round(ROUNDING * allocated), freed)
    return allocated + more + _other_streams(step, parts.get("grads", 0))


def _other_streams(step: Step, counted: int) -> int:
    """Return gradient shards beyond those `counted`, and the buffer of their reduction."""
    recipe, cluster = step.recipe, step.cluster
    if cluster.stage < 3 or cluster.shards == 1 or recipe.lora:
        return 0
    if recipe.accumulates_whole:  # they are shards after the peak, in the place of whole ones
        return 0
    shards = 0 if recipe.early_update else max(0, step.states["grads"] - counted)
    return shards + BYTES[recipe.grads] * step.local.largest_tensor
