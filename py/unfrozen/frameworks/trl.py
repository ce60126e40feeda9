"""TRL's trainer @f2cd5771 over accelerate @16cb6eb8 (DDP, FSDP2, contexts) or DeepSpeed @edaa7221.

FSDP2 of accelerate trains fp32 copies of 16-bit weights and computes in `--mixed_precision`
(`utils/fsdp_utils.py`); weights that stay after forward are ZeRO-2. Replicas, groups, contexts and
tensors multiply to the processes (`parallelism_config.py`); TRL documents contexts
(`docs/source/distributing_training.md`), which need SDPA, and no tensors. TRL recomputes by default
(`trainer/base_config.py`), so that the command always sets it.

DeepSpeed's `bf16` has 16-bit weights and gradients (`runtime/engine.py`, `get_data_types`) and fp32
copies in the optimizer, which it shards even at stage 0, so that plain replicas are not offered.
Names of its file's keys are those of `runtime/constants.py`, `runtime/zero/config.py` and
`runtime/zero/offload_config.py`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.frameworks.command_lines import accelerate_launch, lines, refuse, trained_by_adamw
from unfrozen.job import Job

ACCELERATE: Final = "accelerate"
_RESHARD: Final = {"zero2": "false", "zero3": "true"}
_ATTENTION: Final = {"flash": "flash_attention_2", "sdpa": "sdpa", "eager": "eager"}


def accelerate_job(job: Job) -> Job:
    """Return the job as TRL trains it with accelerate. Raises PlanError where it cannot."""
    cluster, recipe = job.cluster, job.recipe
    refuse(
        job,
        ACCELERATE,
        sharding=("none", *_RESHARD),
        offload=("none",),
        tensor_parallel=(1,),
        pipeline_parallel=(1,),
        expert_parallel=(1,),
        checkpointing=("none", "full"),
        attention=tuple(_ATTENTION),
    )
    ranks = cluster.context_parallel
    if ranks > 1 and (cluster.shard_size or cluster.stage < 2 or recipe.attention != "flash"):
        bound = "accelerate splits a sequence under FSDP2 over all GPUs and without a mask"
        raise PlanError("cluster.context_parallel", ranks, bound, "use zero3 and flash")
    own = replace(cluster, outer_apart=False, sequence_parallel=False)
    kernels = "fused" if recipe.kernels == "fused" else "eager"
    states: dict[str, Any] = {
        "params": "fp32",
        "master": None,
        "grads": "fp32",
        "grad_buckets": None,
    }
    if cluster.stage:  # accelerate reduces in its compute dtype, and after the last micro-batch
        states |= {"reduce": "bf16", "no_sync": True}
    return trained_by_adamw(replace(job, cluster=own), ACCELERATE, kernels=kernels, **states)


def accelerate_command(job: Job) -> str:
    """Return what to type on every machine."""
    cluster = job.cluster
    if cluster.gpus == 1:
        paradigm = ""
    elif cluster.stage == 0:
        paradigm = "--multi_gpu"
    else:
        paradigm = (
            "--use_fsdp --fsdp_version 2 --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP"
            f" --fsdp_reshard_after_forward {_RESHARD[cluster.sharding]}"
        )
    return lines(
        accelerate_launch(job),
        "--mixed_precision bf16",
        paradigm,
        _sizes(job),
        _trainer(job, "sft.py"),
    )


def _trainer(job: Job, script: str) -> str:
    """Return the options of TRL's trainer: model, data, batch, activation checkpointing."""
    recipe = job.recipe
    ranks = job.cluster.context_parallel > 1
    attention = "sdpa" if ranks else _ATTENTION[recipe.attention]
    return lines(
        f"trl/scripts/{script} --model_name_or_path MODEL --dataset_name DATA",
        f"--max_length {recipe.seq_len} --attn_implementation {attention}",
        f"--per_device_train_batch_size {recipe.micro_batch}"
        f" --gradient_accumulation_steps {recipe.grad_accum}",
        f"--gradient_checkpointing {str(recipe.checkpointing == 'full').lower()}",
        "--torch_compile true" if recipe.kernels == "fused" else "",
    )


def _sizes(job: Job) -> str:
    """Return replicas, shard groups and contexts, where FSDP2 does not shard over data alone."""
    cluster = job.cluster
    if not cluster.stage or (cluster.context_parallel == 1 and cluster.shards == cluster.alike):
        return ""
    sizes = {
        "dp_replicate": cluster.alike // cluster.shards,
        "dp_shard": cluster.shards // cluster.context_parallel,
        "cp": cluster.context_parallel,
    }
    flags = [f"--parallelism_config_{name}_size {size}" for name, size in sizes.items()]
    return " ".join(["--use_parallelism_config", *flags])


DEEPSPEED: Final = "deepspeed"
_CONFIG_FILE: Final = "ds.json"


def deepspeed_job(job: Job) -> Job:
    """Return the job as TRL trains it with DeepSpeed. Raises PlanError where it cannot."""
    cluster = job.cluster
    refuse(
        job,
        DEEPSPEED,
        tensor_parallel=(1,),
        context_parallel=(1,),
        pipeline_parallel=(1,),
        expert_parallel=(1,),
        shard_size=(None,),
        checkpointing=("none", "full"),
        attention=("flash", "sdpa", "eager"),
        sharding=("none",) if cluster.gpus == 1 else ("zero1", "zero2", "zero3"),
    )
    own = replace(cluster, outer_apart=False, sequence_parallel=False)
    kernels = "fused" if job.recipe.kernels == "fused" else "eager"
    states = {"params": "bf16", "master": "fp32", "grads": "bf16", "grad_buckets": False}
    states["step"] = "sub_groups" if cluster.stage == 3 else "fused"
    return trained_by_adamw(replace(job, cluster=own), DEEPSPEED, kernels=kernels, **states)


def deepspeed_command(job: Job) -> str:
    """Return what to type on every machine, after the config file that it names."""
    cluster, recipe = job.cluster, job.recipe
    zero: dict[str, Any] = {"stage": cluster.stage}
    if cluster.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if cluster.offload == "params":
        zero["offload_param"] = {"device": "cpu"}
    config = {
        "bf16": {"enabled": True},
        "zero_optimization": zero,
        "gradient_clipping": 1.0,
        "train_micro_batch_size_per_gpu": recipe.micro_batch,
        "gradient_accumulation_steps": recipe.grad_accum,
        "train_batch_size": recipe.micro_batch * recipe.grad_accum * cluster.replicas,
    }
    written = f"cat > {_CONFIG_FILE} <<'END'\n{json.dumps(config, indent=2)}\nEND\n"
    deepspeed = f"--mixed_precision bf16 --use_deepspeed --deepspeed_config_file {_CONFIG_FILE}"
    return written + lines(accelerate_launch(job), deepspeed, _trainer(job, "sft.py"))
