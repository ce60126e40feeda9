"""Overheads beside tensors: the allocator's reserve, the CUDA context, communication buffers.

In a process that has run some steps the caching allocator has `reserved` more than tensors take,
since blocks serve one purpose only:

- where layers are recomputed gradients have their own: they are born in blocks that a few large
  tensors left, and the first moments settle in between, so that these are never whole again. On
  several GPUs they come from a stream of their own, which shares no blocks.
- the blocks of a recomputed layer whose operations run one by one are smaller than logits, and wait
  while the loss is computed; so do 16-bit logits once they are upcast. The gradient of shifted
  logits, where one kernel computes it, takes the block of the whole ones, which are a row longer
  and then need another.
- of what backward frees and allocates inside a layer, and of the smaller of activations and
  temporaries of the update, a quarter (`LEFT_OVER`) is blocks that fit nothing that follows. FSDP1
  updates flat shards of whole layers, DeepSpeed's third stage sub-groups of 10⁹ weights, for which
  none of the blocks of activations will do.
- gathered weights and buffers of reduce-scatter belong to streams of their own.

A GPU that is nearly full gives free segments back and tries again. What a step then needs is less:
of gradients and of blocks that wait for the loss a quarter stays, in segments that are in use.
Both were derived from traced steps, replayed through `docs/caching_allocator.py`;
docs/allocator_replays.py compares them: most replays needed between half of that reserve and 4%
(`OFF`) above all of it.

`device` adds the context of the driver and its kernels (`Gpu.context_bytes`), which libraries of
their own bring up to 1.8 GiB in public reports, and on several GPUs the buffers of their
communication (NCCL), 1 to 2 GiB: the middle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from unfrozen.job.recipe import BYTES
from unfrozen.memory.instants import Instants, Step
from unfrozen.memory.states import SUB_GROUP
from unfrozen.units import GIB

OFF: Final = 0.04
"""Share by which a replayed step may exceed what is derived here."""
LEFT_OVER: Final = 0.25
"""Share of freed blocks that nothing after them can use, in replayed steps."""
ROUNDING: Final = 0.03
"""Share of saved activations that blocks are too large, where no layer is recomputed."""
LEAST_CONTEXT: Final = 0.75
"""Share of what `Gpu.context_bytes` says that a driver takes at least."""
MOST_CONTEXT_BYTES: Final = 9 * GIB // 5
COMMUNICATION_BYTES: Final = 3 * GIB // 2
_WHOLE_LOGITS: Final = ("logits_fp32", "logits_bf16", "loss_parallel", "vocab_parallel", "chunked")


class Reserve(NamedTuple):
    """Bytes of the allocator: what a step needs, and what it reserves where there is room."""

    needed: int
    reserved: int


def reserve_of(step: Step, found: Instants) -> Reserve:
    """Return what the caching allocator takes for a step with these instants."""
    states = sum(size for name, size in step.states.items() if name != "grads")
    grads = 0 if step.recipe.optimizer_in_backward else step.states["grads"]
    recomputes, sharded = step.recipe.checkpointing != "none", step.cluster.stage >= 2
    apart = recomputes or sharded
    update = found["optimizer_step"].get("workspace", 0)
    passes, needs = [], [float(sum(found["optimizer_step"].values()))]
    for name in ("end_of_forward", "backward"):
        parts, waiting = found[name], _waiting(step, name, found[name])
        size, present = sum(parts.values()), parts.get("grads", 0)
        own, late = size - states - present, max(0, grads - present)
        stays = waiting * (LEFT_OVER if name == "end_of_forward" else 1)
        needs.append(size + stays + LEFT_OVER * min(late, own) * recomputes)
        beside = 0 if apart else present
        passes.append(_over_streams(step, name) + beside + waiting)
    most: float = max(passes)
    if apart:
        shared = max(most, update) + (1 if _flat(step) else LEFT_OVER) * min(most, update)
        most = grads + shared
    needed = round(max(needs))
    return Reserve(needed, max(needed, round(states + most)))


def _flat(step: Step) -> bool:
    """Return whether the update takes blocks that are larger than any of the passes: shards of
    whole layers (FSDP1), or gradients of a sub-group (DeepSpeed), unless fp32 logits are as many.
    """
    logits = step.micro_batch.loss_tokens * step.micro_batch.vocab
    if step.recipe.step == "sub_groups":
        return logits < min(SUB_GROUP, step.states["grads"] // BYTES[step.recipe.grads])
    return step.recipe.reenters and step.cluster.stage == 3


def _waiting(step: Step, instant: str, parts: Mapping[str, int]) -> int:
    """Return the free blocks that nothing can use at an instant of the forward or backward pass."""
    part, recomputes = step.micro_batch, step.recipe.checkpointing != "none"
    inside = part.recomputed(part.model.architecture.layers - 1)
    if instant == "end_of_forward":
        logits = part.loss_tokens * part.vocab
        kind, narrow = part.loss_kind, part.setup.compute == 2
        upcast = 2 if kind in ("logits_fp32", "loss_parallel") and narrow else 0
        upcast += 4 if kind == "logits_fp32" and part.one_kernel else 0
        alone = kind in _WHOLE_LOGITS and part.setup.kernels == "eager"
        return upcast * logits + (inside if alone else 0)
    if recomputes:
        return round(LEFT_OVER * (inside + parts.get("workspace", 0) + part.watched))
    return round(ROUNDING * parts.get("activations", 0))


def _over_streams(step: Step, instant: str) -> int:
    """Return the most that each stream holds in a pass, gradients aside: FSDP gathers and sums in
    streams of its own, and what one of them has freed the others cannot take."""
    traffic = step.micro_batch.gathering
    elsewhere = traffic.most_gathered + traffic.most_summed
    points = step.passes[instant] if elsewhere else (step.points[instant],)
    return max(
        sum(point.values())
        - point["grads"]
        + max(0, elsewhere - point.get("gathered", 0) - point.get("unreduced", 0))
        for point in points
    )
