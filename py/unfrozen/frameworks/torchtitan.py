"""torchtitan 0.3: `torchtitan/config/configs.py`, class by class the groups of its options.

Weights and optimizer are fp32, matmuls bf16 (`training.dtype`, `mixed_precision_param`), and
FSDP's precision is there without sharding too (`models/llama3/parallelize.py`). States are spread
over data and context together (`distributed/parallel_dims.py`: fsdp = dp_shard · cp); weights that
stay after the forward pass are ZeRO-2. A pipeline takes the micro-batches of a step as one local
batch (`trainer.py`: accumulation comes on top). Experts are whole on each GPU: their ranks come
from data and tensor. CUDA graphs, which no plan here counts, are off; pipelines and most exchanges
of experts are refused with them (`trainer.py`, `_validate_cuda_graphs`). MODULE and CONFIG name
model, loss and data of its registry, such as llama3 and llama3_8b.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.frameworks.command_lines import (
    lines,
    refuse,
    refuse_tower,
    torchrun,
    trained_by_adamw,
)
from unfrozen.job import Job

NAME: Final = "torchtitan"
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
        NAME,
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
    refuse_tower(job, NAME)
    return trained_by_adamw(replace(job, cluster=own), NAME, states)


def command(job: Job) -> str:
    """Return what to type on every machine."""
    cluster, recipe = job.cluster, job.recipe
    shards = cluster.shards if cluster.stage else 1
    ranks = {
        "data_parallel_replicate_degree": cluster.alike // shards,
        "data_parallel_shard_degree": shards // cluster.context_parallel,
        "tensor_parallel_degree": cluster.tensor_parallel,
        "context_parallel_degree": cluster.context_parallel,
        "pipeline_parallel_degree": cluster.pipeline_parallel,
        "expert_parallel_degree": cluster.expert_parallel,
    }
    shared = [f"--parallelism.{name} {count}" for name, count in ranks.items() if count > 1]
    if cluster.stage:
        shared.append(f"--parallelism.fsdp_reshard_after_forward {_RESHARD[cluster.sharding]}")
    local = recipe.micro_batch
    if cluster.pipeline_parallel > 1:
        schedule = SCHEDULES[cluster.pipeline_schedule]
        shared.append(f"--parallelism.pipeline_parallel_schedule {schedule}")
        shared.append(f"--parallelism.pipeline_parallel_microbatch_size {local}")
        local *= recipe.grad_accum
    step = recipe.micro_batch * recipe.grad_accum * cluster.replicas
    return lines(
        torchrun(job),
        "-m torchtitan.train --module MODULE --config CONFIG --training.steps STEPS",
        f"--training.seq_len {recipe.seq_len}",
        f"--training.local_batch_size {local} --training.global_batch_size {step}",
        *(shared if shards > 1 else ["--parallelism.data_parallel_shard_degree 1", *shared]),
        "--training.disable_cuda_graphs",
        "--compile.enable" if recipe.kernels == "fused" else "",
        f"activation-checkpoint:{recipe.checkpointing}",
    )
