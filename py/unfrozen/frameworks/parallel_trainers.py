"""torchtitan and Megatron-LM and their jobs.

torchtitan 0.3: `torchtitan/config/configs.py`, class by class the groups of its options.

Weights and optimizer are fp32, matmuls bf16 (`training.dtype`, `mixed_precision_param`), and
FSDP's precision is there without sharding too (`models/llama3/parallelize.py`). States are spread
over data and context together (`distributed/parallel_dims.py`: fsdp = dp_shard · cp); weights that
stay after the forward pass are ZeRO-2. A pipeline takes the micro-batches of a step as one local
batch (`trainer.py`: accumulation comes on top). Experts are whole on each GPU: their ranks come
from data and tensor. CUDA graphs, which no plan here counts, are off; pipelines and most exchanges
of experts are refused with them (`trainer.py`, `_validate_cuda_graphs`). MODULE and CONFIG name
model, loss and data of its registry, such as llama3 and llama3_8b.

Megatron-LM, core 0.19: `megatron/training/arguments.py` and the classes its options come from.

`--bf16` keeps 16-bit weights, fp32 main weights and, summed, fp32 main gradients (`core/optimizer/
optimizer_config.py`). The distributed optimizer is ZeRO-1; Megatron-FSDP shards gradients and
weights too (`--data-parallel-sharding-strategy`), in groups by `--num-distributed-optimizer-
instances`. Logits are always split by vocabulary over tensor ranks. Its selective recomputation is
of the attention's core, which flash attention never stores; ours is another, so it is not offered.
Stages have equal layers (`core/transformer/transformer_block.py`). The checkpoint names the model
(`--use-checkpoint-args`). Tensor and context parallelism are refused before Blackwell without
CUDA_DEVICE_MAX_CONNECTIONS=1, which Megatron-FSDP refuses (`validate_args`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.frameworks.adapting import refuse, refuse_tower, trained_by_adamw
from unfrozen.frameworks.facts import job_facts
from unfrozen.frameworks.writing import write
from unfrozen.job import BLOCK_SCALED, Job
from unfrozen.plan.step_time import job_gpu

TORCHTITAN: Final = "torchtitan"
MEGATRON: Final = "megatron"
SCHEDULES: Final = {
    "1f1b": "1F1B",
    "interleaved": "Interleaved1F1B",
}
"""Names of PyTorch's schedules (`torch/distributed/pipelining/schedules.py`, 2.13)."""
_RESHARD: Final = {"zero2": "never", "zero3": "always"}


def torchtitan_job(job: Job) -> Job:
    """Return the job as torchtitan trains it. Raises PlanError where it cannot."""
    cluster = job.cluster
    refuse(
        job,
        TORCHTITAN,
        sharding=("none", *_RESHARD),
        offload=("none",),
        pipeline_schedule=tuple(SCHEDULES),
        pipeline_layers=(None,),
        pipeline_chunks=(None, cluster.chunks if cluster.chunks == 2 else None),
        expert_tensor_parallel=(None, 1),
    )
    shards = cluster.shards if cluster.stage else 1
    if shards % cluster.context_parallel:
        bound = "torchtitan shards states over all GPUs that split a sequence"
        raise PlanError("cluster.context_parallel", cluster.context_parallel, bound, "use zero3")
    experts = 1 if cluster.expert_parallel > 1 else cluster.expert_tensor_parallel
    own = replace(
        cluster,
        outer_apart=cluster.stage == 3,
        sequence_parallel=cluster.tensor_parallel > 1,
        expert_tensor_parallel=experts,
    )
    kernels = "fused" if job.recipe.kernels == "fused" else "eager"
    states: dict[str, Any] = {
        "params": "fp32",
        "master": None,
        "grads": "fp32",
        "grad_buckets": False,
    }
    if cluster.tensor_parallel > 1:
        states["loss"] = "loss_parallel"
    elif job.recipe.loss != "classification":  # the upcast is compiled away (components/loss.py)
        states["loss"] = "logits_bf16" if kernels == "fused" else "logits_fp32"
    states |= {"kernels": kernels, "attention": "flash", "grad_buckets": False}
    refuse_tower(job, TORCHTITAN)
    return trained_by_adamw(replace(job, cluster=own), TORCHTITAN, states)


def megatron_job(job: Job) -> Job:
    """Return the job as Megatron-LM trains it. Raises PlanError where it cannot."""
    cluster, layers = job.cluster, job.model.architecture.layers
    refuse(
        job,
        MEGATRON,
        offload=("none",),
        checkpointing=("none", "full"),
        pipeline_schedule=("1f1b", "interleaved"),
        pipeline_layers=(None,),
    )
    if cluster.shard_size and cluster.stage < 3:
        bound = "only Megatron-FSDP shards states over groups of GPUs"
        raise PlanError("cluster.shard_size", cluster.shard_size, bound, "use zero3")
    if layers % cluster.stages:
        bound = f"Megatron-LM cuts {layers} layers into equal stages"
        raise PlanError("cluster.pipeline_parallel", cluster.pipeline_parallel, bound, "use less")
    own = replace(cluster, sequence_parallel=cluster.tensor_parallel > 1, outer_apart=False)
    states: dict[str, Any] = {
        "params": "bf16",
        "master": "fp32",
        "grads": "fp32",
        "grad_buckets": False,
    }
    states |= {"kernels": "fused", "attention": "flash", "grad_buckets": False}
    states["loss"] = job.recipe.loss if job.recipe.loss == "classification" else "vocab_parallel"
    refuse_tower(job, MEGATRON)
    return trained_by_adamw(replace(job, cluster=own), MEGATRON, states)


def torchtitan_command(job: Job) -> str:
    """Return what to type on every machine."""
    cluster, recipe = job.cluster, job.recipe
    shards = cluster.shards if cluster.stage else 1
    facts = job_facts(job) | {"local": recipe.micro_batch, "unsharded": shards == 1}
    degrees = {
        "dp_replicate": cluster.alike // shards,
        "dp_shard": shards // cluster.context_parallel,
    }
    facts |= {name: count if count > 1 else None for name, count in degrees.items()}
    facts["reshard"] = _RESHARD[cluster.sharding] if cluster.stage else None
    if cluster.pipeline_parallel > 1:
        facts |= {
            "schedule": SCHEDULES[cluster.pipeline_schedule],
            "pipeline_batch": facts["local"],
        }
        facts["local"] *= recipe.grad_accum
    return write(TORCHTITAN, facts)


def megatron_command(job: Job) -> str:
    """Return what to type on every machine."""
    cluster = job.cluster
    groups = cluster.alike // cluster.shards if cluster.stage > 1 else 1
    interleaved = cluster.pipeline_parallel > 1 and cluster.pipeline_schedule == "interleaved"
    split = cluster.tensor_parallel > 1 or cluster.context_parallel > 1
    blackwell = job_gpu(job).name in BLOCK_SCALED["nvfp4"]
    own = {
        "one_connection": split and cluster.stage < 2 and not blackwell,
        "dp_replicate": groups if groups > 1 else None,
        "chunks": cluster.chunks if interleaved else None,
        **{"zero1": cluster.stage == 1, "zero": cluster.stage > 1},
        "strategy": cluster.sharding if cluster.stage > 1 else None,
        "recomputed": job.recipe.checkpointing == "full",
    }
    return write(MEGATRON, job_facts(job) | own)
