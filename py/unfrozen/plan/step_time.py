"""Seconds of one optimizer step by cause: a roofline of the step, from what cards were measured to
do. Every assumption has a name in `unfrozen.plan.timing` or `unfrozen.hardware.reached`.

A micro-batch computes, moves and launches; what it waits for comes on top as far as nothing hides
it. No number here was fitted to a training run: those in web/truth judge it.
"""

from __future__ import annotations

from functools import lru_cache

from unfrozen.hardware.gpus import Gpu, find
from unfrozen.hardware.reached import slowest
from unfrozen.job import Job
from unfrozen.plan.fit import DEFAULT_GPU
from unfrozen.plan.timing.calibration import Calibration
from unfrozen.plan.timing.host import (
    HOOK_KERNELS,
    activation_seconds,
    launch_seconds,
    state_seconds,
    update_seconds,
)
from unfrozen.plan.timing.parts import CAUSES, StepTime
from unfrozen.plan.timing.passes import (
    KERNEL_SECONDS,
    Machine,
    MicroBatch,
    Seconds,
    sparse_layers,
)
from unfrozen.plan.timing.pipeline import bubble_seconds
from unfrozen.plan.timing.sharing import Sharing, Waits


def step_time(job: Job, measured: Calibration | None = None) -> StepTime:
    """Seconds of one optimizer step by cause, with what was `measured` on the reader's machine."""
    return _step_time(job, measured)


@lru_cache(maxsize=512)
def _step_time(job: Job, measured: Calibration | None) -> StepTime:
    gpu, times = card_of(job), job.recipe.grad_accum
    part = MicroBatch(job, Machine.of(gpu, job.recipe.compute, measured))
    sharing = Sharing(job, part)
    forward, backward, waits = _micro_batch(part, sharing)
    once = sharing.step(backward, forward)
    both = forward.plus(backward)
    late = slowest(job.cluster.gpus) * times
    launches = times * _launches(job, both, measured)
    offloaded = max(0.0, activation_seconds(job, gpu) - times * both.busy)
    cluster = job.cluster
    weights = backward.busy / 3  # gradients of weights: about as long as the forward pass
    found = StepTime(
        products=late * both.products + times * waits.crowded + once.crowded,
        attention=late * both.attention,
        memory=late * both.memory,
        launches=launches,
        update=update_seconds(job, part.machine.wide.memory),
        host=state_seconds(job, gpu) + offloaded,
        inside=times * waits.inside + once.inside,
        between=times * waits.between + once.between,
        bubbles=bubble_seconds(
            *(cluster.pipeline_parallel, cluster.pipeline_schedule, cluster.chunks),
            *(forward.busy, backward.busy - weights, weights),
        ),
    )
    return _scaled(found, measured.step_ratio) if measured and measured.step_ratio else found


def _scaled(found: StepTime, ratio: float) -> StepTime:
    return StepTime(*(ratio * getattr(found, name) for name in CAUSES))


def _micro_batch(part: MicroBatch, sharing: Sharing) -> tuple[Seconds, Seconds, Waits]:
    """Device time and waits of one micro-batch on one card, all its layers."""
    job, a = part.job, part.job.model.architecture
    forward, backward, waits = Seconds(), Seconds(), sharing.stages()
    sparse, stages = sparse_layers(a), job.cluster.pipeline_parallel
    for is_sparse, count in ((False, a.layers - sparse), (True, sparse)):
        if count:
            one = part.layer(is_sparse)
            forward = forward.plus(one.forward, count / stages)
            backward = backward.plus(one.backward, count / stages)
            waits = waits.plus(sharing.layer(one, is_sparse), count / stages)
    ends = part.outside()
    outer = a.vocab * a.hidden * (1 if a.tied else 2) / job.cluster.tensor_parallel
    waits = waits.plus(sharing.ends(outer)).plus(sharing.logits())
    return forward.plus(ends.forward), backward.plus(ends.backward), waits


def _launches(job: Job, both: Seconds, measured: Calibration | None) -> float:
    """Seconds of a micro-batch that kernels wait for each other, or for the host."""
    gaps = KERNEL_SECONDS * both.kernels
    hooks = 0.0
    if job.cluster.stage == 3 and job.cluster.shards > 1:
        hooks = 3 * HOOK_KERNELS * job.model.architecture.layers
    host = launch_seconds(job, measured) * (both.kernels + hooks)
    return gaps + max(0.0, host - both.busy - gaps)


def card_of(job: Job) -> Gpu:
    """The job's card, or the one that is assumed where it names none."""
    return job.gpu or find(DEFAULT_GPU)


def replicas(job: Job) -> int:
    """How many cards see tokens of their own: all, divided by what shares out one sequence."""
    return max(1, job.cluster.replicas)


def step_tokens(job: Job) -> int:
    """Tokens of one optimizer step, all cards together."""
    return job.recipe.tokens * job.recipe.grad_accum * replicas(job)
<<<<<<< HEAD
=======


def _traffic_bytes(job: Job) -> float:
    """Bytes through one card's memory that no matrix product hides."""
    recipe, cluster = job.recipe, job.cluster
    ranks = cluster.tensor_parallel
    matrices = layer_matrices(job.model.architecture) / ranks
    unpacked = 2.5 + 2 if recipe.base else 0  # 4 bits or 8 read, 16 written, 16 read
    weights = BYTES[recipe.params] + unpacked
    trained = _trained(job) / ranks
    gradients = 2 * BYTES[recipe.grads] * trained
    micro = _passes(job) * weights * matrices + (gradients if recipe.grad_accum > 1 else 0)
    if recipe.attention == "eager":
        a = job.model.architecture
        scores = a.layers * a.heads * recipe.seq_len * recipe.tokens / ranks
        again = 1 if recipe.checkpointing != "none" else 0
        micro += (2 + again) * SCORE_BYTES * scores / cluster.context_parallel
    share = trained / _shards(job)
    states = 2 * (BYTES[recipe.params] + (4 if recipe.master else 0) + _moment_width(job))
    update = 0 if cluster.offload != "none" else states * share + gradients
    return recipe.grad_accum * micro + update


def _state_transfer_seconds(job: Job) -> float:
    """Gradients down, weights up, and the host's own update; or moments there and back."""
    recipe, cluster = job.recipe, job.cluster
    shards = cluster.tensor_parallel * _shards(job)
    trained, link = _trained(job) / shards, GB * host_link_gb_s(card_of(job))
    seconds = 0.0
    if cluster.offload != "none":
        moved = BYTES[recipe.grads] + BYTES[recipe.params]
        states = 2 * ((4 if recipe.master else 0) + _moment_width(job)) + moved
        seconds += trained * (moved / link + states / (GB * HOST_MEMORY_GB_S))
    elif recipe.paged:
        seconds += 2 * trained * _moment_width(job) / link
    if cluster.offload == "params":
        weights = BYTES[recipe.params] * job.model.num_parameters / shards
        seconds += recipe.grad_accum * _passes(job) * weights / link
    return seconds


def _activation_transfer_seconds(job: Job) -> float:
    """What activation offload moves, there and back: what the card keeps without it."""
    if not job.recipe.activation_offload:
        return 0.0
    kept = plan_job(replace(job, recipe=replace(job.recipe, activation_offload=False)))
    here, there = (
        planned.instants["end_of_forward"].get("activations", 0)
        for planned in (plan_job(job), kept)
    )
    return 2 * job.recipe.grad_accum * max(0, there - here) / (GB * host_link_gb_s(card_of(job)))


def _communication_seconds(job: Job, gpu: Gpu) -> float:
    """Ring all-reduce moves 2Ψ a card, ZeRO-3 gathers twice and scatters once: 3Ψ (1910.02054)."""
    recipe, ranks = job.recipe, job.cluster.gpus // job.cluster.tensor_parallel
    if ranks <= 1:
        return 0.0
    weights = min(2, BYTES[recipe.params]) if job.cluster.stage == 3 else BYTES[recipe.params]
    whole = weights * job.model.num_parameters
    gradients = BYTES[recipe.grads] * _trained(job)
    accum = recipe.grad_accum
    if job.cluster.stage == 3:
        moved = accum * (2 * whole + gradients)
    elif job.cluster.stage == 2:
        moved = accum * gradients + weights * _trained(job)
    else:
        moved = 2 * gradients
    link = between_cards_gb_s(gpu, job.cluster.gpus)
    return moved / job.cluster.tensor_parallel * (ranks - 1) / ranks / (GB * link)


def _tensor_parallel_seconds(job: Job, gpu: Gpu) -> float:
    """Two all-reduces of the residual stream a layer and direction (arXiv 1909.08053, section 3);
    nothing hides them.
    """
    ranks, a = job.cluster.tensor_parallel, job.model.architecture
    tokens = job.recipe.tokens * job.recipe.grad_accum / job.cluster.context_parallel
    moved = 4 * 2 * (ranks - 1) / ranks * a.layers * tokens * a.hidden * 2
    return moved / (GB * between_cards_gb_s(gpu, ranks))


def _shards(job: Job) -> int:
    """Cards over which each rank's states are spread."""
    cluster = job.cluster
    return max(1, cluster.gpus // cluster.tensor_parallel) if cluster.stage else 1


def _trained(job: Job) -> int:
    return adapter_parameters(job) if frozen(job) else job.model.num_parameters


def _moment_width(job: Job) -> float:
    recipe = job.recipe
    width = {"int8": 1.0, "int4": 0.5, None: 0.0}.get(recipe.moments)
    each = BYTES[str(recipe.moments)] if width is None else width
    return _MOMENTS.get(recipe.optimizer, 0) * each


def _passes(job: Job) -> int:
    return 3 if job.recipe.checkpointing == "full" else 2
>>>>>>> mem14
