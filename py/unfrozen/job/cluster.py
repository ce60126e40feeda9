"""How many GPUs train a model and what they shard; the `cluster` part of a job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.job.settings import (
    Setting,
    check_setting,
    choice,
    flag,
    listing,
    settings_of,
    whole_number,
)
from unfrozen.job.unplanned import refuse_key

SHARDINGS: Final = ("none", "zero1", "zero2", "zero3")
SCHEDULE_LABELS: Final = {"1f1b": "1F1B", "interleaved": "interleaved 1F1B"}
"""Orders of the micro-batches of a pipeline; `unfrozen.memory` knows what each has in flight."""
SCHEDULES: Final = tuple(SCHEDULE_LABELS)

MOST_GPUS: Final = 1_000_000


def _shards_weights(job: Any) -> bool:
    return bool(job.cluster.stage == 3)


def _is_tensor_parallel(job: Any) -> bool:
    return bool(job.cluster.tensor_parallel > 1)


def _has_pipeline(job: Any) -> bool:
    return bool(job.cluster.pipeline_parallel > 1)


def _has_experts(job: Any) -> bool:
    return job.model.architecture.experts is not None


def _splits_experts(job: Any) -> bool:
    parallel = job.cluster.tensor_parallel > 1 or job.cluster.expert_parallel > 1
    return _has_experts(job) and parallel


@dataclass(frozen=True, slots=True)
class Cluster:
    """The GPUs and what each of them holds of the model; every field is declared as a setting."""

    gpus: int = whole_number(
        1,
        "GPUs",
        "GPUs that train the model (`--nproc-per-node` × `--nnodes`).",
        "",
        most=MOST_GPUS,
    )
    sharding: str = choice(
        "none",
        "Sharding (ZeRO / FSDP)",
        "Which states data-parallel GPUs shard instead of replicating (`zero_optimization.stage`,"
        " `reshard_after_forward`).",
        "Data parallelism",
        {
            "none": "none (DDP)",
            "zero1": "ZeRO-1: optimizer states",
            "zero2": "ZeRO-2 / FSDP shard grad op",
            "zero3": "ZeRO-3 / FSDP full shard",
        },
    )
    """ZeRO 1 shards the optimizer, 2 the gradients too, 3 the weights too, over all GPUs that hold
    the same part of a layer: arXiv 1910.02054."""
    tensor_parallel: int = whole_number(
        1,
        "Tensor parallel size",
        "GPUs that split the matrices of each layer (`--tensor-model-parallel-size`).",
        "Model parallelism",
        most=MOST_GPUS,
    )
    sequence_parallel: bool = flag(
        False,
        "Sequence parallel",
        "Tensor-parallel GPUs split norms along the sequence (`--sequence-parallel`).",
        "Model parallelism",
        applies=_is_tensor_parallel,
    )
    context_parallel: int = whole_number(
        1,
        "Context parallel size",
        "GPUs that split each sequence, each with its own tokens (`--context-parallel-size`).",
        "Model parallelism",
        most=MOST_GPUS,
    )
    offload: str = choice(
        "none",
        "CPU offload",
        "Which states live in CPU memory (`offload_optimizer`, `offload_param` in DeepSpeed;"
        " `CPUOffloadPolicy` in FSDP2).",
        "Offload",
        {
            "none": "none",
            "optimizer": "optimizer states",
            "params": "optimizer states and weights",
        },
    )
    """From ZeRO 2 on the gradients go with the optimizer; weights go under ZeRO 3 only."""
    outer_apart: bool = flag(
        False,
        "Wrap embedding and head separately",
        "Embedding and head are FSDP units of their own instead of part of the root, as in"
        " torchtitan.",
        "Data parallelism",
        applies=_shards_weights,
        json_only=True,
    )
    """Where they are not tied; gradients are then reduced in fp32, whatever their own dtype
    (`gpu_runner`, torchtitan since 2025)."""
    root_resharded: bool = flag(
        False,
        "Reshard root after forward",
        "What is outside the layers is freed after forward and gathered again"
        " (`reshard_after_forward=True` of FSDP2, for the root too).",
        "Data parallelism",
        applies=_shards_weights,
        json_only=True,
    )
    whole_embedding: bool = flag(
        False,
        "Replicate embedding under TP",
        "Each tensor-parallel GPU holds the whole embedding, as in KempnerForge.",
        "Model parallelism",
        applies=_is_tensor_parallel,
        json_only=True,
    )
    shard_size: int | None = whole_number(
        None,
        "Shard group size (HSDP)",
        "GPUs over which states are sharded, replicated between such groups"
        " (`data_parallel_replicate_degree` in torchtitan).",
        "Data parallelism",
        most=MOST_GPUS,
        optional=True,
        applies=lambda job: job.cluster.stage > 0,
    )
    """None: all GPUs that hold the same part of a layer."""
    pipeline_parallel: int = whole_number(
        1,
        "Pipeline parallel size",
        "Ranks that hold layers of their own (`--pipeline-model-parallel-size`).",
        "Model parallelism",
        most=MOST_GPUS,
    )
    """The micro-batches that pass through are those of `recipe.grad_accum`."""
    pipeline_schedule: str = choice(
        "1f1b",
        "Pipeline schedule",
        "Order of the micro-batches, which decides how many are in flight"
        " (`pipeline_parallel_schedule` in torchtitan).",
        "Model parallelism",
        SCHEDULE_LABELS,
        applies=_has_pipeline,
    )
    pipeline_chunks: int | None = whole_number(
        None,
        "Virtual stages per rank",
        "Stages that each pipeline rank holds, not next to each other"
        " (`--num-virtual-stages-per-pipeline-rank`).",
        "Model parallelism",
        most=64,
        optional=True,
        applies=lambda job: _has_pipeline(job) and job.cluster.pipeline_schedule == "interleaved",
    )
    """Under "interleaved"; None: 2."""
    pipeline_layers: tuple[int, ...] | None = listing(
        None,
        "Layers per stage",
        "Layers of each pipeline stage in order, such as 8, 8, 8, 7"
        " (`--pipeline-model-parallel-layout`).",
        "Model parallelism",
        "counts",
        least=0,
        most=MOST_GPUS,
        optional=True,
        applies=_has_pipeline,
        json_only=True,
    )
    """None: as many each, or nearly."""
    expert_parallel: int = whole_number(
        1,
        "Expert parallel size",
        "GPUs that divide the experts of a layer among them (`--expert-model-parallel-size`).",
        "Experts",
        most=MOST_GPUS,
        applies=_has_experts,
    )
    """They are among those that hold the same part of the other layers."""
    expert_tensor_parallel: int | None = whole_number(
        None,
        "Expert tensor parallel size",
        "GPUs that split the matrices of one expert (`--expert-tensor-parallel-size`).",
        "Experts",
        most=MOST_GPUS,
        optional=True,
        applies=_splits_experts,
        json_only=True,
    )
    """None: as tensor_parallel."""

    @property
    def stage(self) -> int:
        """The ZeRO stage, 0 where nothing is sharded."""
        return SHARDINGS.index(self.sharding)

    @property
    def alike(self) -> int:
        """GPUs that hold the same part of every layer outside the experts: data- and
        context-parallel ones, over which gradients are reduced.
        """
        return self.gpus // (self.tensor_parallel * self.pipeline_parallel)

    @property
    def shards(self) -> int:
        """GPUs over which sharded states are spread: all that are alike, or `shard_size`."""
        return self.shard_size or self.alike

    @property
    def replicas(self) -> int:
        """GPUs, or groups of them, that train on micro-batches of their own."""
        return self.alike // self.context_parallel

    @property
    def expert_ranks(self) -> int:
        """GPUs that share the matrices of one expert."""
        return self.expert_tensor_parallel or self.tensor_parallel

    @property
    def expert_shards(self) -> int:
        """GPUs over which the sharded states of experts are spread."""
        return self.shards * self.tensor_parallel // (self.expert_parallel * self.expert_ranks)

    @property
    def chunks(self) -> int:
        """Stages that a rank of the pipeline holds."""
        return (self.pipeline_chunks or 2) if self.pipeline_schedule == "interleaved" else 1

    @property
    def stages(self) -> int:
        """Parts, one after another, into which a pipeline cuts the layers; 1 without one."""
        return 1 if self.pipeline_parallel == 1 else self.pipeline_parallel * self.chunks

    @property
    def unit(self) -> int:
        """The fewest GPUs that such a layout needs: those of one replica of everything."""
        least = self.tensor_parallel * self.context_parallel * self.pipeline_parallel
        experts = self.pipeline_parallel * self.expert_parallel * self.expert_ranks
        return math.lcm(least, experts)

    @classmethod
    def of_runner(cls, gpus: int, *, offload: bool = False) -> Cluster:
        """Return the cluster of `gpu_runner` on so many GPUs: FSDP2, embedding and head apart.

        `offload`: AdamW and the gradients are in CPU memory.
        """
        away = "optimizer" if offload else "none"
        if gpus > 1:
            return cls(gpus, "zero3", outer_apart=True, offload=away)
        return cls(sharding="zero2" if offload else "none", offload=away)

    @classmethod
    def read(cls, given: object) -> Cluster:
        """Return the cluster of a job, with defaults. Raises PlanError."""
        if not isinstance(given, Mapping):
            raise PlanError("cluster", given, "it must be an object", "give {} for one GPU")
        for key, value in given.items():
            if key not in CLUSTER_SETTINGS:
                raise refuse_key("cluster.", key, value, CLUSTER_SETTINGS)
            check_setting(CLUSTER_SETTINGS[key], value)
        cluster = cls(**given)
        if cluster.pipeline_layers is not None:
            cluster = replace(cluster, pipeline_layers=tuple(cluster.pipeline_layers))
        _check_together(cluster)
        return cluster


CLUSTER_SETTINGS: Final[dict[str, Setting]] = settings_of(Cluster, "cluster")
"""The settings of a cluster by key."""


def _check_together(cluster: Cluster) -> None:
    _check_ranks(cluster)
    _check_pipeline(cluster)
    if cluster.offload == "params" and cluster.stage < 3:
        bound = "weights can be offloaded under zero3 only"
        raise PlanError("cluster.offload", cluster.offload, bound, 'set sharding to "zero3"')


def _check_ranks(cluster: Cluster) -> None:
    keys = ["tensor_parallel", "context_parallel"]
    keys += ["pipeline_parallel"] if cluster.pipeline_parallel > 1 else []
    together = math.prod(getattr(cluster, key) for key in keys)
    if cluster.gpus % together:
        bound = f"{' · '.join(keys)} = {together} must divide it"
        raise PlanError("cluster.gpus", cluster.gpus, bound, f"use a multiple of {together}")
    if cluster.shard_size and not cluster.stage:
        bound = "nothing is sharded"
        raise PlanError("cluster.shard_size", cluster.shard_size, bound, "set sharding, or drop it")
    if cluster.shard_size and cluster.alike % cluster.shard_size:
        bound = f"it must divide the {cluster.alike} GPUs that hold the same part of a layer"
        raise PlanError("cluster.shard_size", cluster.shard_size, bound, "use a divisor of it")
    ranks, alike = cluster.expert_parallel * cluster.expert_ranks, cluster.shards
    alike *= cluster.tensor_parallel
    if alike % ranks:
        bound = f"with {cluster.expert_ranks} GPUs an expert it must divide the {alike} of "
        bound += "a stage" + (" that share their states" if cluster.shard_size else "")
        remedy = "use a divisor of it"
        raise PlanError("cluster.expert_parallel", cluster.expert_parallel, bound, remedy)


def _check_pipeline(cluster: Cluster) -> None:
    schedule, chunks = cluster.pipeline_schedule, cluster.pipeline_chunks
    several = schedule == "interleaved"
    if chunks and several != (chunks > 1):
        bound = f"{schedule} has {'2 or more' if several else 1}"
        remedy = 'leave it out, or set pipeline_schedule to "interleaved"'
        raise PlanError("cluster.pipeline_chunks", chunks, bound, remedy)
    layers = cluster.pipeline_layers
    if layers is not None and len(layers) != cluster.stages:
        bound = f"the pipeline has {cluster.stages} stages, each with its number of layers"
        remedy = f"give {cluster.stages} numbers, or leave it out"
        raise PlanError("cluster.pipeline_layers", list(layers), bound, remedy)
