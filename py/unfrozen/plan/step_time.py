"""Seconds of one optimizer step by cause: a roofline of the step from measured rates of
GPUs. Every assumption has a name in `unfrozen.plan.timing` or `unfrozen.hardware`.

A micro-batch computes, moves and launches; what it waits for comes on top as far as nothing hides
it. No number here was fitted to a training run: those in web/measurements judge it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final

from unfrozen.hardware import Gpu, find, slowest_factor
from unfrozen.job import Job
from unfrozen.job.layout import stage_layers, stages_of
from unfrozen.model import Architecture
from unfrozen.plan import DEFAULT_GPU
from unfrozen.plan.timing.communication import Sharing, Waits, bubble_seconds
from unfrozen.plan.timing.host import (
    activation_seconds,
    hook_seconds,
    launch_seconds,
    state_seconds,
    update_seconds,
)
from unfrozen.plan.timing.passes import (
    KERNEL_SECONDS,
    BatchTime,
    LayerKind,
    LayerTime,
    Machine,
    Seconds,
    layer_order,
)
from unfrozen.plan.timing.rollouts import rollout_seconds


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of one optimizer step on every GPU.

    matmuls   matmuls, and what collectives beside them slow them down
    attention  scores, softmax and their matmuls
    memory     norms, activation functions, additions, the loss: kernels that only read and write
    launches   gaps between kernels, and the host where it launches slower than the GPU computes
    update     the optimizer's
    host       states and activations that go to the host and back, as far as nothing hides it
    inside     waits for GPUs of the same machine
    between    waits for other machines
    bubbles    waits of a pipeline's ranks for each other
    rollouts   the time in which vLLM writes completions, of GRPO
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
    rollouts: float = 0.0

    @property
    def seconds(self) -> float:
        """All of them."""
        waits = self.host + self.communication + self.bubbles
        return self.passes + self.update + waits + self.rollouts

    @property
    def passes(self) -> float:
        """What the forward and backward passes of all micro-batches take the GPU itself."""
        return self.products + self.attention + self.memory + self.launches

    @property
    def communication(self) -> float:
        """Waits for other GPUs, those of a pipeline apart."""
        return self.inside + self.between

    def parts(self) -> dict[str, float]:
        """Return the seconds by cause, the longest first, without those of 0."""
        found = {name: getattr(self, name) for name in CAUSES if getattr(self, name) > 0}
        return dict(sorted(found.items(), key=lambda item: -item[1]))


CAUSES: Final = {
    "products": "matmuls",
    "attention": "attention",
    "memory": "memory-bound kernels",
    "launches": "kernel launches",
    "update": "the optimizer step",
    "host": "CPU offload",
    "inside": "communication within a machine",
    "between": "communication between machines",
    "bubbles": "pipeline bubbles",
    "rollouts": "rollouts",
}
"""What each part of a step's time is spent on, or waits for."""

_NUMBERS: Final = (
    *("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
)
RECOMPUTED: Final = {"none": 0.0, "selective": 0.5, "full": 1.0}
"""Of the kernels of the forward pass, those that recomputation launches again."""
_NEARLY_ALL: Final = 0.95


def bound_words(found: StepTime) -> str:
    """Return the cause that takes most of a step: "Bound by matmuls: three of four seconds."."""
    name, seconds = next(iter(found.parts().items()))
    share = seconds / found.seconds
    if share > _NEARLY_ALL:
        return f"Bound by {CAUSES[name]}: nearly every second."
    part = Fraction(share).limit_denominator(10)
    part = part or Fraction(1, 10)
    fraction = f"{_NUMBERS[part.numerator]} of {_NUMBERS[part.denominator]} seconds"
    second = next(iter(list(found.parts().items())[1:]), None)
    then = f", then {CAUSES[second[0]]}" if second and second[1] > 0.1 * found.seconds else ""
    return f"Bound by {CAUSES[name]}: {fraction}{then}."


def spent_words(found: StepTime) -> str:
    """Return the shares of a step by cause, the largest first, without those below a hundredth."""
    shares = {name: value / found.seconds for name, value in found.parts().items()}
    return ", ".join(
        f"{share:.0%} {CAUSES[name]}" for name, share in shares.items() if share >= 0.01
    )


@lru_cache(maxsize=512)
def step_time(job: Job) -> StepTime:
    """Return the seconds of one optimizer step by cause."""
    gpu, times = job_gpu(job), job.recipe.grad_accum
    part = BatchTime(job, Machine.of(gpu, job.recipe.compute))
    sharing = Sharing(job, part)
    forward, backward, waits = _micro_batch(part, sharing)
    once = sharing.step(backward, forward)
    both = forward.plus(backward)
    late = slowest_factor(job.cluster.gpus) * times
    launches = times * _launches(job, forward, both)
    offloaded = max(0.0, activation_seconds(job, gpu) - times * both.busy)
    cluster = job.cluster
    return StepTime(
        products=late * both.matmuls + times * waits.crowded + once.crowded,
        attention=late * both.attention,
        memory=late * both.memory,
        launches=launches,
        update=update_seconds(job, part.machine.wide.memory),
        host=state_seconds(job, gpu) + offloaded,
        inside=times * waits.inside + once.inside,
        between=times * waits.between + once.between,
        bubbles=bubble_seconds(cluster.pipeline_parallel, cluster.chunks, both.busy),
        rollouts=rollout_seconds(job, gpu),
    )


def _micro_batch(part: BatchTime, sharing: Sharing) -> tuple[Seconds, Seconds, Waits]:
    """Return the device time and the waits of one micro-batch on one GPU, all its layers: in a
    pipeline, of the rank that takes longest, for which the others wait.
    """
    job, a = part.job, part.job.model.architecture
    layers = {key: part.layer(*key) for key in set(layer_order(part.local))}
    ends = part.outside()
    held, outside = _slowest_rank(job, part.local, layers, ends)
    forward, backward, waits = Seconds(), Seconds(), sharing.stages()
    extra = job.recipe.extra_passes
    for (sparse, kind), times in held.items():
        one = layers[sparse, kind]
        forward = forward.plus(one.forward, times)
        backward = backward.plus(one.backward, times)
        waits = waits.plus(sharing.layer(one, sparse, kind), times)
        waits = waits.plus(sharing.extra_pass(one, sparse, kind), extra * times)
    if outside:
        outer = a.vocab * a.hidden * (1 if a.tied else 2) / job.cluster.tensor_parallel
        waits = waits.plus(sharing.ends(outer)).plus(sharing.logits())
        forward, backward = forward.plus(ends.forward), backward.plus(ends.backward)
    return forward.plus(forward, extra), backward, waits


def _slowest_rank(
    job: Job, a: Architecture, layers: dict[LayerKind, LayerTime], ends: LayerTime
) -> tuple[Counter[LayerKind], bool]:
    """Return how many layers of each kind the slowest pipeline rank holds, and whether it is the
    one with the last stage, to which embedding, head and loss are counted.
    """
    cluster, order = job.cluster, layer_order(a)
    stages = stage_layers(len(order), cluster)
    busy = {key: _busy(one) for key, one in layers.items()}
    found: list[tuple[float, Counter[LayerKind], bool]] = []
    for rank in range(cluster.pipeline_parallel):
        own = stages_of(rank, cluster)
        held = Counter(order[index] for stage in own for index in stages[stage])
        last = len(stages) - 1 in own
        seconds = sum(times * busy[key] for key, times in held.items())
        found.append((seconds + (_busy(ends) if last else 0.0), held, last))
    _, held, last = max(found, key=lambda each: each[0])
    return held, last


def _busy(one: LayerTime) -> float:
    return one.forward.busy + one.backward.busy


def _launches(job: Job, ahead: Seconds, both: Seconds) -> float:
    """Return the seconds of a micro-batch that kernels wait for each other, or for the host."""
    gaps = KERNEL_SECONDS * both.kernels
    forward, backward = launch_seconds(job)
    written = ahead.kernels * (1 + RECOMPUTED[job.recipe.checkpointing])  # in Python
    host = forward * written + backward * (both.kernels - written) + hook_seconds(job)
    return gaps + max(0.0, host - both.busy - gaps)


def job_gpu(job: Job) -> Gpu:
    """Return the job's GPU, or the assumed one where it names none."""
    return job.gpu or find(DEFAULT_GPU)


def replicas(job: Job) -> int:
    """Return how many GPUs see tokens of their own."""
    return max(1, job.cluster.replicas)


def step_tokens(job: Job) -> int:
    """Return the tokens of one optimizer step, all GPUs together."""
    return job.recipe.tokens * job.recipe.grad_accum * replicas(job)
