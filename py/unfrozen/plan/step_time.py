"""Seconds of one optimizer step by cause: a roofline of the step, from what cards were measured to
do. Every assumption has a name in `unfrozen.plan.timing` or `unfrozen.hardware.reached`.

A micro-batch computes, moves and launches; what it waits for comes on top as far as nothing hides
it. No number here was fitted to a training run: those in web/truth judge it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from unfrozen.hardware.gpus import Gpu, find
from unfrozen.hardware.reached import memory_bytes_per_second, slowest
from unfrozen.job import Job
from unfrozen.plan.fit import DEFAULT_GPU
from unfrozen.plan.timing.host import (
    HOOK_KERNELS,
    TENSORS_A_LAYER,
    UPDATE_KERNELS,
    activation_seconds,
    launch_seconds,
    state_seconds,
)
from unfrozen.plan.timing.outside import trained, update_bytes
from unfrozen.plan.timing.passes import (
    KERNEL_SECONDS,
    Layer,
    Machine,
    MicroBatch,
    Seconds,
    sparse_layers,
)
from unfrozen.plan.timing.pipeline import bubble_seconds
from unfrozen.plan.timing.sharing import Sharing, Waits


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of one optimizer step on every card.

    products   matrix products, and what collectives beside them slow them down
    attention  scores, softmax and their products
    memory     norms, activation functions, additions, the loss: kernels that only read and write
    launches   gaps between kernels, and the host where it launches slower than the card computes
    update     the optimizer's
    host       states and activations that go to the host and back, as far as nothing hides it
    inside     waits for cards of the same machine
    between    waits for other machines
    bubbles    waits of a pipeline's ranks for each other
    """

    products: float
    attention: float
    memory: float
    launches: float
    update: float
    host: float
    inside: float
    between: float
    bubbles: float

    @property
    def seconds(self) -> float:
        """All of them."""
        return self.passes + self.update + self.host + self.communication + self.bubbles

    @property
    def passes(self) -> float:
        """What the forward and backward passes of all micro-batches take the card itself."""
        return self.products + self.attention + self.memory + self.launches

    @property
    def communication(self) -> float:
        """Waits for other cards, those of a pipeline apart."""
        return self.inside + self.between


def step_time(job: Job) -> StepTime:
    """Seconds of one optimizer step by cause."""
    return _step_time(job)


@lru_cache(maxsize=256)
def _step_time(job: Job) -> StepTime:
    gpu, recipe = card_of(job), job.recipe
    part = MicroBatch(job, Machine.of(gpu, recipe.compute))
    sharing = Sharing(job, part)
    forward, backward, waits = _micro_batch(part, sharing)
    times = recipe.grad_accum
    late = slowest(job.cluster.gpus) * times
    waits = waits.plus(sharing.step(backward, forward), 1 / times)
    both = forward.plus(backward)
    launches = _launches(job, both)
    device = times * (both.busy + KERNEL_SECONDS * both.kernels)
    moved = state_seconds(job, gpu) + max(0.0, activation_seconds(job, gpu) - device)
    weight = 1 / 3 * backward.busy
    return StepTime(
        products=late * (both.products + waits.crowded),
        attention=late * both.attention,
        memory=late * both.memory,
        launches=times * launches,
        update=_update(job, gpu),
        host=moved,
        inside=times * waits.inside,
        between=times * waits.between,
        bubbles=bubble_seconds(
            job.cluster.pipeline_parallel,
            job.cluster.pipeline_schedule,
            job.cluster.chunks,
            forward.busy,
            backward.busy - weight,
            weight,
        ),
    )


def _micro_batch(part: MicroBatch, sharing: Sharing) -> tuple[Seconds, Seconds, Waits]:
    """Device time and waits of one micro-batch on one card, all its layers."""
    job, a = part.job, part.job.model.architecture
    forward, backward, waits = Seconds(), Seconds(), Waits()
    sparse = sparse_layers(a)
    outer = 2 * a.vocab * a.hidden if not a.tied else a.vocab * a.hidden
    inner = (job.model.num_parameters - outer) / a.layers
    stages = job.cluster.pipeline_parallel
    for is_sparse, count in ((False, a.layers - sparse), (True, sparse)):
        if count:
            one: Layer = part.layer(is_sparse)
            forward = forward.plus(one.forward, count / stages)
            backward = backward.plus(one.backward, count / stages)
            weights = inner / job.cluster.tensor_parallel
            waits = waits.plus(sharing.layer(one, weights), count / stages)
    ends = part.outside()
    waits = waits.plus(sharing.ends(outer / job.cluster.tensor_parallel)).plus(sharing.logits())
    return forward.plus(ends.forward), backward.plus(ends.backward), waits


def _launches(job: Job, both: Seconds) -> float:
    """Seconds of a micro-batch that kernels wait for each other, or for the host."""
    gaps = KERNEL_SECONDS * both.kernels
    hooks = 0.0
    if job.cluster.stage == 3 and job.cluster.shards > 1:
        hooks = 3 * HOOK_KERNELS * job.model.architecture.layers
    host = launch_seconds(job) * (both.kernels + hooks)
    return gaps + max(0.0, host - both.busy - gaps)


def _update(job: Job, gpu: Gpu) -> float:
    """Seconds of the update on the card: bytes of its own share, and kernels."""
    cluster, recipe = job.cluster, job.recipe
    if cluster.offload != "none":
        return 0.0
    parts = cluster.tensor_parallel * cluster.pipeline_parallel
    own = trained(job) / parts / (cluster.shards if cluster.stage else 1)
    kernels = UPDATE_KERNELS[recipe.step] * TENSORS_A_LAYER * job.model.architecture.layers
    return own * update_bytes(recipe) / memory_bytes_per_second(gpu) + kernels * launch_seconds(job)


def utilisation(job: Job) -> float:
    """Share of the card's peak that the matrix products of a step reach while they run."""
    from unfrozen.hardware.boards import peak_tflops  # noqa: PLC0415
    from unfrozen.plan.flops import flops  # noqa: PLC0415

    gpu = card_of(job)
    found = step_time(job)
    done = flops(job).total * step_tokens(job) / job.cluster.gpus
    return done / (found.products + found.attention) / (1e12 * peak_tflops(gpu, job.recipe.compute))


_DEFAULT: Final = DEFAULT_GPU


def card_of(job: Job) -> Gpu:
    """The job's card, or the one that is assumed where it names none."""
    return job.gpu or find(_DEFAULT)


def replicas(job: Job) -> int:
    """How many cards see tokens of their own: all, divided by what shares out one sequence."""
    return max(1, job.cluster.replicas)


def step_tokens(job: Job) -> int:
    """Tokens of one optimizer step, all cards together."""
    return job.recipe.tokens * job.recipe.grad_accum * replicas(job)
