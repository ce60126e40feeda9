"""What may be shared out between cards: every layout of a cluster that a model and a step allow.

A layout is a mesh (cards that share a layer, a sequence, the depth) and how the states of cards
that hold the same are spread. What does not divide is left out, and so is what nobody would run:
tensor parallelism leaves the cards that fast links join, or else the machine, in nobody's advice
(Narayanan et al., arXiv 2104.04473, takeaway 1; Llama 3, arXiv 2407.21783, section 3.3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from math import prod
from typing import Any, Final

from unfrozen.errors import ModelError, PlanError
from unfrozen.job import Job
from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.plan.step_time import card_of

MOST_CARDS: Final = 4096
RECOMPUTED: Final = ("none", "selective", "full")
"""Of `recipe.checkpointing`, the fastest first."""
WHOLE_LOGITS: Final = ("logits_fp32", "logits_bf16")
SCHEDULES: Final = ("1f1b", "interleaved")
"""Those that both torchtitan and Megatron-LM run; the second with two stages a card."""


def clusters(job: Job, gpus: int) -> Iterator[Cluster]:
    """Every layout of this many cards that can be planned, what the job offloads kept.

    Raises PlanError for a number of cards that cannot be searched.
    """
    if type(gpus) is not int or not 1 <= gpus <= MOST_CARDS:
        bound = f"layouts are searched for 1 … {MOST_CARDS:,} cards"
        raise PlanError("gpus", gpus, bound, "name a number in between")
    for mesh in _meshes(job, gpus, DIMENSIONS):
        for sharing in _sharings(job, mesh, gpus):
            try:
                yield Cluster.read(_kept(job.cluster) | mesh | sharing | {"gpus": gpus})
            except PlanError:
                continue


def divisors(number: int) -> list[int]:
    """Of a whole number above 0, ascending."""
    low = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return low + [number // d for d in reversed(low) if d * d != number]


def joined(job: Job) -> int:
    """Cards of the job's kind that fast links join; those of a machine where there are none."""
    gpu = card_of(job)
    return gpu.linked_gpus if gpu.link_gb_s else gpu.node_gpus


def _meshes(job: Job, gpus: int, dimensions: tuple[Dimension, ...]) -> Iterator[dict[str, int]]:
    """Every way to deal cards out over the dimensions; data takes those that are left."""
    if not dimensions:
        yield {}
        return
    (key, allows), *rest = dimensions
    for ranks in divisors(gpus):
        if allows(job, ranks):
            for others in _meshes(job, gpus // ranks, tuple(rest)):
                yield {key: ranks, **others}


def _shares_layers(job: Job, ranks: int) -> bool:
    if ranks > joined(job):
        return False
    try:
        job.model.split(ranks)
    except ModelError:
        return False
    return True


def _shares_sequences(job: Job, ranks: int) -> bool:
    """Each takes one part from the head of a sequence and one from its tail, as causal attention
    makes them equal work: torchtitan and Megatron-LM both demand this.
    """
    return ranks == 1 or job.recipe.seq_len % (2 * ranks) == 0


def _shares_depth(job: Job, ranks: int) -> bool:
    return ranks <= job.model.architecture.layers


Dimension = tuple[str, Callable[[Job, int], bool]]
DIMENSIONS: Final[tuple[Dimension, ...]] = (
    ("tensor_parallel", _shares_layers),
    ("context_parallel", _shares_sequences),
    ("pipeline_parallel", _shares_depth),
)
"""Keys of a cluster that multiply to its cards, each with what a job allows; innermost first."""


def _sharings(job: Job, mesh: dict[str, int], gpus: int) -> Iterator[dict[str, Any]]:
    """What else a layout says: how states are spread, who holds which experts, in what order
    micro-batches pass.
    """
    alike, tensor = gpus // prod(mesh.values()), mesh["tensor_parallel"]
    alike *= mesh["context_parallel"]
    experts = job.model.architecture.experts
    counts = divisors(experts.count) if experts else [1]
    for spread in _spreads(alike, joined(job) // tensor):
        for schedule in SCHEDULES if mesh["pipeline_parallel"] > 1 else SCHEDULES[:1]:
            for count in counts:
                if count <= alike * tensor:
                    # cards that hold experts of their own hold them whole
                    whole = {"expert_tensor_parallel": 1} if count > 1 and tensor > 1 else {}
                    yield {
                        **spread,
                        **whole,
                        "pipeline_schedule": schedule,
                        "expert_parallel": count,
                        "sequence_parallel": tensor > 1,
                    }


def _spreads(alike: int, near: int) -> Iterator[dict[str, Any]]:
    """ZeRO stages over all that hold the same, and over those of them that fast links join."""
    if alike == 1:
        yield {"sharding": "none"}
        return
    for sharding in SHARDINGS:
        yield {"sharding": sharding}
    if 1 < near < alike and alike % near == 0:
        yield {"sharding": "zero3", "shard_size": near}


def _kept(cluster: Cluster) -> dict[str, Any]:
    """What is no part of a layout: what is offloaded, how a framework gathers."""
    own = {entry.name: getattr(cluster, entry.name) for entry in fields(cluster)}
    return {key: value for key, value in own.items() if key not in LAID_OUT}


LAID_OUT: Final = frozenset(
    {"gpus", "sharding", "shard_size", "tensor_parallel", "sequence_parallel", "context_parallel"}
    | {"pipeline_parallel", "pipeline_schedule", "pipeline_chunks", "pipeline_layers"}
    | {"expert_parallel", "expert_tensor_parallel", "device_map"}
)
"""What a layout says of a cluster, or leaves at its default."""


def laid_out(job: Job, cluster: Cluster, **recipe: Any) -> Job:
    """The job on a cluster. Whole logits are split by the vocabulary where cards share a layer, as
    Megatron-LM, torchtitan and accelerate do.
    """
    if cluster.tensor_parallel > 1 and job.recipe.loss in WHOLE_LOGITS:
        recipe["loss"] = "vocab_parallel"
    return replace(job, cluster=cluster, recipe=replace(job.recipe, **recipe))
