"""How many cards train a model and what they share out; the `cluster` part of a job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from unfrozen.errors import PlanError

SHARDINGS: Final = ("none", "zero1", "zero2", "zero3")
OFFLOADS: Final = ("none", "optimizer", "params")
SCHEDULES: Final = (
    "gpipe",
    "1f1b",
    "interleaved",
    "zero_bubble",
    "zb_h2",
    "zb_v",
    "dualpipe_v",
    "dualpipe",
)
"""Orders of the micro-batches of a pipeline: `unfrozen.memory.schedules` says what each keeps."""

MOST_GPUS: Final = 1_000_000
MOST_CHUNKS: Final = 64
_TWO_CHUNKS: Final = ("zb_v", "dualpipe_v", "dualpipe")
_LEAST_CHUNKS: Final = {"interleaved": 2, "zero_bubble": 1}


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cards and what each of them holds of the model.

    gpus               number of cards
    sharding           none, or ZeRO 1 (optimizer), 2 (and gradients), 3 (and weights), over all
                       cards that hold the same part of a layer: arXiv 1910.02054
    shard_size         cards over which that is spread; groups of so many hold the same (HSDP, or
                       ZeRO over part of the replicas). None: all of them
    tensor_parallel    cards that share the matrices of each layer
    sequence_parallel  those cards share the rest of a layer too, along the sequence
    context_parallel   cards that share one sequence, each with its own tokens
    pipeline_parallel  cards, or groups of them, that hold layers of their own; the micro-batches
                       that pass through are those of `recipe.grad_accum`
    pipeline_schedule  the order in which they pass
    pipeline_chunks    stages that a card holds, not next to each other, under "interleaved" (None:
                       2) and "zero_bubble" (None: 1); where a card works from both ends ("zb_v",
                       "dualpipe_v", "dualpipe") there are two
    pipeline_layers    layers of each stage in order; None: as many each, or nearly
    expert_parallel    cards, out of those that hold the same part of the other layers, that share
                       the experts of a layer
    expert_tensor_parallel  cards that share the matrices of one expert; None: as tensor_parallel
    device_map         layers are spread over the cards of one machine, and one works at a time
    outer_apart        under zero3, embedding and head are gathered and scattered on their own where
                       they are not tied, and gradients are summed in fp32, whatever their own
                       precision (`gpu_runner`, torchtitan since 2025); else with the root
    root_resharded     under zero3, what is outside the layers is let go of after the forward pass
                       (FSDP2's `reshard_after_forward=True`, given for the root as well)
    whole_embedding    tensor-parallel ranks hold the whole embedding each (KempnerForge)
    offload            "optimizer" keeps the optimizer (and, from stage 2 on, the gradients) in the
                       memory of the host, "params" (stage 3) the weights too
    """

    gpus: int = 1
    sharding: str = "none"
    tensor_parallel: int = 1
    sequence_parallel: bool = False
    context_parallel: int = 1
    offload: str = "none"
    outer_apart: bool = False
    root_resharded: bool = False
    whole_embedding: bool = False
    shard_size: int | None = None
    pipeline_parallel: int = 1
    pipeline_schedule: str = "1f1b"
    pipeline_chunks: int | None = None
    pipeline_layers: tuple[int, ...] | None = None
    expert_parallel: int = 1
    expert_tensor_parallel: int | None = None
    device_map: bool = False

    @property
    def stage(self) -> int:
        """The ZeRO stage, 0 where nothing is sharded."""
        return SHARDINGS.index(self.sharding)

    @property
    def alike(self) -> int:
        """Cards that hold the same part of every layer outside the experts: data- and
        context-parallel ones, over which gradients are summed.
        """
        if self.device_map:
            return 1
        return self.gpus // (self.tensor_parallel * self.pipeline_parallel)

    @property
    def shards(self) -> int:
        """Cards over which sharded states are spread: all that are alike, or `shard_size`."""
        return self.shard_size or self.alike

    @property
    def replicas(self) -> int:
        """Cards, or groups of them, that train on micro-batches of their own."""
        return self.alike // self.context_parallel

    @property
    def expert_ranks(self) -> int:
        """Cards that share the matrices of one expert."""
        return self.expert_tensor_parallel or self.tensor_parallel

    @property
    def experts_alike(self) -> int:
        """Cards that hold the same experts, over which their gradients are summed."""
        return self.alike * self.tensor_parallel // (self.expert_parallel * self.expert_ranks)

    @property
    def expert_shards(self) -> int:
        """Cards over which the sharded states of experts are spread."""
        return self.shards * self.tensor_parallel // (self.expert_parallel * self.expert_ranks)

    @property
    def chunks(self) -> int:
        """Stages that a card of the pipeline holds."""
        if self.pipeline_schedule in _TWO_CHUNKS:
            return 2
        least = _LEAST_CHUNKS.get(self.pipeline_schedule)
        return (self.pipeline_chunks or least) if least else 1

    @property
    def stages(self) -> int:
        """Parts, one after another, into which a pipeline cuts the layers; 1 without one."""
        if self.pipeline_parallel == 1:
            return 1
        copies = 2 if self.pipeline_schedule == "dualpipe" else 1
        return self.pipeline_parallel * self.chunks // copies

    @property
    def unit(self) -> int:
        """The fewest cards that such a layout needs: those of one replica of everything."""
        if self.device_map:
            return self.gpus
        least = self.tensor_parallel * self.context_parallel * self.pipeline_parallel
        experts = self.pipeline_parallel * self.expert_parallel * self.expert_ranks
        return math.lcm(least, experts)

    @classmethod
    def of_runner(cls, cards: int) -> Cluster:
        """How `gpu_runner` shares a model out to so many cards: FSDP2, the ends apart."""
        return cls(cards, "zero3", outer_apart=True) if cards > 1 else cls()

    @classmethod
    def read(cls, given: object) -> Cluster:
        """The cluster of a job, defaults filled in; raises PlanError for what cannot be planned."""
        if not isinstance(given, Mapping):
            raise PlanError("cluster", given, "it must be an object", "give {} for one card")
        for key, value in given.items():
            if key not in _KNOWN:
                bound = f"known keys are {', '.join(_KNOWN)}"
                raise PlanError(f"cluster.{key}", value, bound, "drop it")
            _check(key, value)
        cluster = cls(**given)
        if cluster.pipeline_layers is not None:
            cluster = replace(cluster, pipeline_layers=tuple(cluster.pipeline_layers))
        _check_together(cluster)
        return cluster


_KNOWN: Final = tuple(field.name for field in fields(Cluster))
_WHOLE: Final = {
    "gpus": MOST_GPUS,
    "tensor_parallel": MOST_GPUS,
    "context_parallel": MOST_GPUS,
    "pipeline_parallel": MOST_GPUS,
    "expert_parallel": MOST_GPUS,
    "expert_tensor_parallel": MOST_GPUS,
    "shard_size": MOST_GPUS,
    "pipeline_chunks": MOST_CHUNKS,
}
_MAY_BE_NONE: Final = ("expert_tensor_parallel", "shard_size", "pipeline_chunks", "pipeline_layers")
_CHOICES: Final = {
    "sharding": SHARDINGS,
    "offload": OFFLOADS,
    "pipeline_schedule": SCHEDULES,
}


def _check(key: str, value: object) -> None:
    name = f"cluster.{key}"
    if value is None and key in _MAY_BE_NONE:
        return
    if key in _WHOLE:
        if type(value) is not int or not 1 <= value <= _WHOLE[key]:
            bound = f"it must be a whole number in 1 … {_WHOLE[key]:,}"
            raise PlanError(name, value, bound, "correct it")
    elif key == "pipeline_layers":
        _check_layers(name, value)
    elif key in _CHOICES:
        if value not in _CHOICES[key]:
            bound = f"it must be one of {', '.join(_CHOICES[key])}"
            raise PlanError(name, value, bound, "choose one")
    elif type(value) is not bool:
        raise PlanError(name, value, "it must be true or false", "correct it")


def _check_layers(name: str, value: object) -> None:
    if not isinstance(value, (list, tuple)) or not value:
        raise PlanError(name, value, "it must be a list of whole numbers", "give [8, 8]")
    for layers in value:
        if type(layers) is not int or not 0 <= layers <= MOST_GPUS:
            bound = f"a stage has a whole number of layers in 0 … {MOST_GPUS:,}"
            raise PlanError(name, layers, bound, "correct it")


def _check_together(cluster: Cluster) -> None:
    if cluster.device_map:
        _check_device_map(cluster)
    _check_ranks(cluster)
    _check_pipeline(cluster)
    if cluster.offload == "params" and cluster.stage < 3:
        bound = "weights wait in the memory of the host under zero3 only"
        raise PlanError("cluster.offload", cluster.offload, bound, 'set sharding to "zero3"')


def _check_ranks(cluster: Cluster) -> None:
    keys = ["tensor_parallel", "context_parallel"]
    keys += ["pipeline_parallel"] if cluster.pipeline_parallel > 1 else []
    together = math.prod(getattr(cluster, key) for key in keys)
    if not cluster.device_map and cluster.gpus % together:
        bound = f"{' · '.join(keys)} = {together} must divide it"
        raise PlanError("cluster.gpus", cluster.gpus, bound, f"use a multiple of {together}")
    if cluster.shard_size and cluster.alike % cluster.shard_size:
        bound = f"it must divide the {cluster.alike} cards that hold the same part of a layer"
        raise PlanError("cluster.shard_size", cluster.shard_size, bound, "use a divisor of it")
    ranks, alike = cluster.expert_parallel * cluster.expert_ranks, cluster.shards
    alike *= cluster.tensor_parallel
    if alike % ranks:
        bound = f"with {cluster.expert_ranks} cards an expert it must divide the {alike} of "
        bound += "a stage" + (" that share their states" if cluster.shard_size else "")
        remedy = "use a divisor of it"
        raise PlanError("cluster.expert_parallel", cluster.expert_parallel, bound, remedy)


def _check_pipeline(cluster: Cluster) -> None:
    schedule, ranks = cluster.pipeline_schedule, cluster.pipeline_parallel
    chunks, least = cluster.pipeline_chunks, _LEAST_CHUNKS.get(schedule)
    if chunks and (chunks < least if least else chunks != cluster.chunks):
        bound = f"{schedule} has {f'{least} or more' if least else cluster.chunks}"
        remedy = 'leave it out, or set pipeline_schedule to "interleaved"'
        raise PlanError("cluster.pipeline_chunks", chunks, bound, remedy)
    if schedule == "dualpipe" and ranks > 1 and ranks % 2:
        bound = "dualpipe sends micro-batches in at both ends, and needs an even number"
        raise PlanError("cluster.pipeline_parallel", ranks, bound, "use an even number")
    layers = cluster.pipeline_layers
    if layers is not None and len(layers) != cluster.stages:
        bound = f"the pipeline has {cluster.stages} stages, each with its number of layers"
        remedy = f"give {cluster.stages} numbers, or leave it out"
        raise PlanError("cluster.pipeline_layers", list(layers), bound, remedy)


def _check_device_map(cluster: Cluster) -> None:
    others = ("tensor_parallel", "context_parallel", "pipeline_parallel", "expert_parallel")
    for key in (*others, "sharding"):
        value = getattr(cluster, key)
        if value not in (1, "none"):
            bound = "layers that are spread by device_map are whole, and one card works at a time"
            raise PlanError(f"cluster.{key}", value, bound, "drop it, or device_map")
