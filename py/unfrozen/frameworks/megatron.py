"""Megatron-LM, core 0.19: `megatron/training/arguments.py` and the classes its options come from.

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
from unfrozen.frameworks.command_lines import (
    lines,
    refuse,
    refuse_tower,
    torchrun,
    trained_by_adamw,
)
from unfrozen.job import BLOCK_SCALED, Job
from unfrozen.plan.step_time import job_gpu

NAME: Final = "megatron"
_STRATEGIES: Final = {"zero2": "optim_grads", "zero3": "optim_grads_params"}


def megatron_job(job: Job) -> Job:
    """Return the job as Megatron-LM trains it. Raises PlanError where it cannot."""
    cluster, layers = job.cluster, job.model.architecture.layers
    refuse(
        job,
        NAME,
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
    refuse_tower(job, NAME)
    return trained_by_adamw(replace(job, cluster=own), NAME, states)


def command(job: Job) -> str:
    """Return what to type on every machine."""
    cluster, recipe = job.cluster, job.recipe
    sequences = recipe.micro_batch * recipe.grad_accum * cluster.replicas
    return _one_connection(job) + lines(
        torchrun(job),
        "pretrain_gpt.py --use-checkpoint-args --load CHECKPOINT --finetune --bf16",
        "--data-path DATA --tokenizer-type HuggingFaceTokenizer --tokenizer-model MODEL",
        "--train-iters STEPS --lr RATE",
        f"--seq-length {recipe.seq_len} --max-position-embeddings {recipe.seq_len}",
        f"--micro-batch-size {recipe.micro_batch} --global-batch-size {sequences}",
        " ".join(_model_parallel(job)),
        " ".join(_data_parallel(job)),
        "--recompute-granularity full --recompute-method uniform --recompute-num-layers 1"
        if recipe.checkpointing == "full"
        else "",
    )


def _one_connection(job: Job) -> str:
    """Return the variable without which Megatron-LM refuses to start, and a space."""
    cluster, blackwell = job.cluster, job_gpu(job).name in BLOCK_SCALED["nvfp4"]
    split = cluster.tensor_parallel > 1 or cluster.context_parallel > 1
    needed = split and cluster.stage < 2 and not blackwell
    return "CUDA_DEVICE_MAX_CONNECTIONS=1 " if needed else ""


def _model_parallel(job: Job) -> list[str]:
    """Return the options of tensor, context, pipeline and expert parallelism."""
    cluster = job.cluster
    ranks = {
        "tensor-model-parallel-size": cluster.tensor_parallel,
        "context-parallel-size": cluster.context_parallel,
        "pipeline-model-parallel-size": cluster.pipeline_parallel,
        "expert-model-parallel-size": cluster.expert_parallel,
    }
    found = [f"--{name} {count}" for name, count in ranks.items() if count > 1]
    if cluster.sequence_parallel:
        found.append("--sequence-parallel")
    if cluster.expert_tensor_parallel is not None:
        found.append(f"--expert-tensor-parallel-size {cluster.expert_tensor_parallel}")
    if cluster.pipeline_parallel > 1 and cluster.pipeline_schedule == "interleaved":
        found.append(f"--num-virtual-stages-per-pipeline-rank {cluster.chunks}")
    return found


def _data_parallel(job: Job) -> list[str]:
    cluster = job.cluster
    if cluster.stage == 0:
        return []
    if cluster.stage == 1:
        return ["--use-distributed-optimizer"]
    strategy = _STRATEGIES[cluster.sharding]
    found = ["--use-megatron-fsdp", f"--data-parallel-sharding-strategy {strategy}"]
    if cluster.shards < cluster.alike:
        found.append(f"--num-distributed-optimizer-instances {cluster.alike // cluster.shards}")
    return [*found, "--ckpt-format fsdp_dtensor"]
