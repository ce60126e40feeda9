"""accelerate @16cb6eb8 under TRL's trainer @f2cd5771: DDP, FSDP2 and context parallelism.

FSDP2 trains fp32 copies of 16-bit weights and computes in `--mixed_precision`
(`utils/fsdp_utils.py`); weights that stay after the forward pass are ZeRO-2. Replicas, groups,
contexts and tensors multiply to the processes (`parallelism_config.py`); TRL documents contexts
(`docs/source/distributing_training.md`), which need SDPA, and no tensors. TRL's own default is to
recompute (`trainer/base_config.py`), so that it is always said.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.frameworks.words import accelerate_launch, lines, refuse, trained_by_adamw
from unfrozen.job import Job

NAME: Final = "accelerate"
_RESHARD: Final = {"zero2": "false", "zero3": "true"}
_ATTENTION: Final = {"flash": "flash_attention_2", "sdpa": "sdpa", "eager": "eager"}


def takes(job: Job) -> Job:
    """The job as TRL trains it over accelerate. Raises PlanError where it cannot."""
    cluster, recipe = job.cluster, job.recipe
    refuse(
        job,
        NAME,
        sharding=("none", *_RESHARD),
        offload=("none",),
        tensor_parallel=(1,),
        pipeline_parallel=(1,),
        expert_parallel=(1,),
        checkpointing=("none", "full"),
        attention=tuple(_ATTENTION),
    )
    sharing = cluster.context_parallel
    if sharing > 1 and (cluster.shard_size or cluster.stage < 2 or recipe.attention != "flash"):
        bound = "accelerate shares a sequence under FSDP2 over all cards and without a mask"
        raise PlanError("cluster.context_parallel", sharing, bound, "use zero3 and flash")
    own = replace(cluster, outer_apart=False, sequence_parallel=False)
    kernels = "fused" if recipe.kernels == "fused" else "eager"
    states: dict[str, Any] = {
        "params": "fp32",
        "master": None,
        "grads": "fp32",
        "grad_buckets": None,
    }
    if cluster.stage:  # accelerate sums in what it computes in, and after the last micro-batch
        states |= {"reduce": "bf16", "no_sync": True}
    return trained_by_adamw(replace(job, cluster=own), NAME, kernels=kernels, **states)


def command(job: Job) -> str:
    """What to type on every machine."""
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
        accelerate_launch(job), "--mixed_precision bf16", paradigm, _sizes(job), trl(job, "sft.py")
    )


def trl(job: Job, script: str) -> str:
    """The part of TRL's trainer: model, data, batch, what is recomputed."""
    recipe = job.recipe
    sharing = job.cluster.context_parallel > 1
    attention = "sdpa" if sharing else _ATTENTION[recipe.attention]
    return lines(
        f"trl/scripts/{script} --model_name_or_path MODEL --dataset_name DATA",
        f"--max_length {recipe.seq_len} --attn_implementation {attention}",
        f"--per_device_train_batch_size {recipe.micro_batch}"
        f" --gradient_accumulation_steps {recipe.grad_accum}",
        f"--gradient_checkpointing {str(recipe.checkpointing == 'full').lower()}",
        "--torch_compile true" if recipe.kernels == "fused" else "",
    )


def _sizes(job: Job) -> str:
    """Replicas, groups and contexts, where FSDP2 does not spread over data alone."""
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
