"""DeepSpeed @edaa7221 under TRL's trainer @f2cd5771: ZeRO 1 to 3, the optimizer in the host or not.

`bf16` keeps 16-bit weights and gradients (`runtime/engine.py`, `get_data_types`) and fp32 copies in
the optimizer, which it shards even at stage 0, so that copies of everything are not offered. Names
of the file's keys are those of `runtime/constants.py`, `runtime/zero/config.py` and
`runtime/zero/offload_config.py`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from unfrozen.frameworks.accelerate import trl
from unfrozen.frameworks.words import accelerate_launch, lines, refuse, trained_by_adamw
from unfrozen.job import Job

NAME: Final = "deepspeed"
FILE: Final = "ds.json"


def takes(job: Job) -> Job:
    """The job as TRL trains it over DeepSpeed. Raises PlanError where it cannot."""
    cluster = job.cluster
    refuse(
        job,
        NAME,
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
    return trained_by_adamw(replace(job, cluster=own), NAME, kernels=kernels, **states)


def command(job: Job) -> str:
    """What to type on every machine, the file that it names first."""
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
    written = f"cat > {FILE} <<'END'\n{json.dumps(config, indent=2)}\nEND\n"
    deepspeed = f"--mixed_precision bf16 --use_deepspeed --deepspeed_config_file {FILE}"
    return written + lines(accelerate_launch(job), deepspeed, trl(job, "sft.py"))
