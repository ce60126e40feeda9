"""TRL 1.16 over accelerate 1.15 (DDP, FSDP2, contexts) or DeepSpeed 0.19, with PEFT 0.21.

FSDP2 of accelerate trains fp32 copies of 16-bit weights and computes in `--mixed_precision`
(`utils/fsdp_utils.py`); weights that stay after forward are ZeRO-2. Replicas, groups, contexts and
tensors multiply to the processes (`parallelism_config.py`); TRL documents contexts
(`docs/source/distributing_training.md`), which need SDPA, and no tensors. TRL recomputes by default
(`trainer/base_config.py`), so that the command always sets it; its loss never computes full logits
(`trainer/utils.py`, `add_fused_lm_head`).

Adapters are fp32 beside 16-bit weights, 16-bit beside quantized ones (`trainer/sft_trainer.py`).
Quantized weights are sharded where they are stored in 16-bit pieces (`bnb_4bit_quant_storage`);
DeepSpeed's ZeRO-3 does not take them.

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
from unfrozen.frameworks.command_lines import (
    ADAPTERS,
    accelerate_launch,
    adapter_states,
    lines,
    name_linear,
    refuse,
    refuse_tower,
    split_targets,
    stack_names,
    trained_by_adamw,
    written,
)
from unfrozen.job import Job

ACCELERATE: Final = "accelerate"
METHODS: Final = ("full", *ADAPTERS)
_RESHARD: Final = {"zero2": "false", "zero3": "true"}
WHOLE_LAYERS: Final[dict[str, tuple[Any, ...]]] = {
    **dict.fromkeys(("tensor_parallel", "pipeline_parallel", "expert_parallel"), (1,)),
    "expert_tensor_parallel": (None,),
}
"""Layers are whole on each GPU."""
ATTENTION: Final = {"flash": "flash_attention_2", "sdpa": "sdpa", "eager": "eager"}


def accelerate_job(job: Job) -> Job:
    """Return the job as TRL trains it with accelerate. Raises PlanError where it cannot."""
    cluster, recipe = job.cluster, job.recipe
    refuse(
        job,
        ACCELERATE,
        sharding=("none",) if cluster.gpus == 1 else ("none", *_RESHARD),
        offload=("none",),
        **WHOLE_LAYERS,
        checkpointing=("none", "full"),
        attention=tuple(ATTENTION),
        base=(None, "nf4", "nf4-dq") if cluster.stage else (None, "nf4", "nf4-dq", "int8"),
    )
    ranks = cluster.context_parallel
    if ranks > 1 and (cluster.shard_size or cluster.stage < 2 or recipe.attention != "flash"):
        bound = "accelerate splits a sequence under FSDP2 over all GPUs and without a mask"
        raise PlanError("cluster.context_parallel", ranks, bound, "use zero3 and flash")
    refuse_tower(job, ACCELERATE)
    job = name_linear(job, ACCELERATE)
    return trained_with_accelerate(job, ACCELERATE, "trl", loss="fused_linear")


def trained_with_accelerate(job: Job, framework: str, adapters: str, **own: Any) -> Job:
    """Return the job as a trainer of transformers runs it, with the adapters of a framework."""
    cluster, recipe = job.cluster, job.recipe
    states: dict[str, Any] = {"params": "fp32", "master": None, "grads": "fp32"}
    states = adapter_states(job, adapters) if recipe.lora else states
    if cluster.stage:  # accelerate reduces in its compute dtype, and after the last micro-batch
        own |= {"reduce": "bf16", "no_sync": True}
    kernels = "fused" if recipe.kernels == "fused" else "eager"
    plain = replace(cluster, outer_apart=False, sequence_parallel=False)
    own = {"kernels": kernels, "expert_padding": padding(job), **states, **own}
    return trained_by_adamw(replace(job, cluster=plain), framework, own, METHODS)


def padding(job: Job) -> str | None:
    """Return how transformers pads experts: those of Llama 4 compute all tokens."""
    return "fullest" if job.model.architecture.model_type.startswith("llama4") else None


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
        _trainer(job),
    )


def _trainer(job: Job) -> str:
    """Return the options of TRL's trainer: model, data, batch, activation checkpointing."""
    recipe = job.recipe
    ranks = job.cluster.context_parallel > 1
    attention = "sdpa" if ranks else ATTENTION[recipe.attention]
    return lines(
        "-m trl.scripts.sft --model_name_or_path MODEL --dataset_name DATA",
        f"--max_length {recipe.seq_len} --attn_implementation {attention}",
        f"--per_device_train_batch_size {recipe.micro_batch}"
        f" --gradient_accumulation_steps {recipe.grad_accum}",
        f"--gradient_checkpointing {str(recipe.checkpointing == 'full').lower()}",
        "--torch_compile true" if recipe.kernels == "fused" else "",
        *_adapters(job),
    )


def _adapters(job: Job) -> list[str]:
    """Return the options of PEFT's adapters, and of bitsandbytes' quantization below them."""
    lora, base = job.recipe.lora, job.recipe.base
    if lora is None:
        return []
    linear, whole = split_targets(job)
    found = [
        "--dtype bfloat16 --use_peft"
        f" --lora_r {lora.rank} --lora_alpha {2 * lora.rank} --lora_dropout {lora.dropout or 0}",
        f"--lora_target_modules {' '.join(linear)}",
    ]
    if stacks := stack_names(job):
        found.append(f"--lora_target_parameters {' '.join(stacks)}")
    if whole:
        found.append(f"--lora_modules_to_save {' '.join(whole)}")
    if base == "int8":
        found.append("--load_in_8bit")
    elif base:
        nested = " --use_bnb_nested_quant" if base == "nf4-dq" else ""
        storage = " --bnb_4bit_quant_storage bfloat16" if job.cluster.stage else ""
        found.append(f"--load_in_4bit --bnb_4bit_quant_type nf4{nested}{storage}")
    return found


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
CONFIG_FILE: Final = "ds.json"


def deepspeed_job(job: Job) -> Job:
    """Return the job as TRL trains it with DeepSpeed. Raises PlanError where it cannot."""
    cluster = job.cluster
    if cluster.gpus == 1 and cluster.offload == "none":
        bound = "DeepSpeed has nothing to shard on one GPU, and nothing to offload"
        raise PlanError("cluster.gpus", 1, bound, "use accelerate")
    refuse(
        job,
        DEEPSPEED,
        checkpointing=("none", "full"),
        attention=tuple(ATTENTION),
        sharding=("zero1", "zero2", "zero3"),
    )
    refuse_tower(job, DEEPSPEED)
    job = name_linear(job, DEEPSPEED)
    return trained_with_deepspeed(job, DEEPSPEED, "trl", loss="fused_linear")


def trained_with_deepspeed(job: Job, framework: str, adapters: str, **own: Any) -> Job:
    """Return the job as DeepSpeed trains it, with the adapters of a framework."""
    cluster, recipe = job.cluster, job.recipe
    refuse(
        job,
        framework,
        **WHOLE_LAYERS,
        context_parallel=(1,),
        shard_size=(None,),
        base=(None,) if cluster.stage == 3 else (None, "nf4", "nf4-dq", "int8"),
    )
    narrow: dict[str, Any] = {"dtype": "bf16", "autocast": False, "saved_fp32": False}
    states = adapter_states(job, adapters, **narrow) if recipe.lora else {}
    states |= {"params": "bf16", "master": "fp32", "grads": "bf16", "moments": "fp32"}
    own["step"] = "sub_groups" if cluster.stage == 3 else "fused"
    own["kernels"] = "fused" if recipe.kernels == "fused" else "eager"
    plain = replace(cluster, outer_apart=False, sequence_parallel=False)
    own = {"grad_buckets": False, "expert_padding": padding(job), **states, **own}
    return trained_by_adamw(replace(job, cluster=plain), framework, own, METHODS)


def deepspeed_command(job: Job) -> str:
    """Return what to type on every machine, after the config file that it names."""
    deepspeed = f"--mixed_precision bf16 --use_deepspeed --deepspeed_config_file {CONFIG_FILE}"
    return deepspeed_file(job) + lines(accelerate_launch(job), deepspeed, _trainer(job))


def deepspeed_file(job: Job) -> str:
    """Return the command that writes DeepSpeed's file."""
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
    return written(CONFIG_FILE, json.dumps(config, indent=2))
