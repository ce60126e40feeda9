"""Unsloth 2026.10: `unsloth train` of `unsloth_cli/config.py`, on one GPU.

It quantizes twice (`bnb_4bit_use_double_quant`, `unsloth/models/llama.py`). Its optimizer is 8-bit
AdamW (`unsloth_cli/commands/train.py`, `_optimizer_for_host`). All weights train in 16 bits without
master weights (`unsloth/models/vision.py`, `full_finetuning`). Where a GPU has no bf16 it loads the
model in fp16 and trains fp32 adapters in fp16 autocast (`unsloth_zoo/training_utils.py`,
`prepare_model_for_training`), without FlashAttention. Its checkpoints wait in CPU memory
("unsloth") or on the GPU.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from unfrozen.frameworks.command_lines import (
    ADAPTERS,
    adapter_states,
    lines,
    name_linear,
    refuse,
    refuse_tower,
    split_targets,
    trained_by_adamw,
)
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster

NAME: Final = "unsloth"
_LINEAR: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Its default target modules (`unsloth_cli/config.py`)."""


def unsloth_job(job: Job) -> Job:
    """Return the job as Unsloth trains it. Raises PlanError where it cannot."""
    recipe = job.recipe
    refuse(
        job,
        NAME,
        gpus=(1,),
        sharding=("none",),
        offload=("none",),
        checkpointing=("none", "full"),
        base=(None, "nf4", "nf4-dq"),
    )
    refuse_tower(job, NAME)
    if job.model.architecture.experts:
        refuse(job, NAME, base=(None,))
    job = name_linear(job, NAME, experts=False)
    half = recipe.compute == "fp16" and job.gpu is not None and not job.gpu.bf16
    own: dict[str, Any] = {"params": "bf16", "master": None, "grads": "bf16"}
    if recipe.lora:
        lora = {"dtype": "fp32", "autocast": True} if half else {}
        own = adapter_states(job, NAME, **lora) | {"base": "nf4-dq" if recipe.base else None}
        linear, whole = split_targets(job)
        if whole and "all-linear" in linear:  # it moves embedding and head out of a list of names
            own["lora"] = replace(own["lora"], targets=(*_LINEAR, *whole))
    own |= {"moments": "int8", "kernels": "fused_block" if recipe.lora else "eager"}
    if half and recipe.lora:
        own |= {"params": "fp16", "compute": "fp16"}
    own |= {
        "attention": "efficient" if half else "flash",
        "loss": "logits_bf16",
        "compiled_loss": True,
    }
    own["activation_offload"] = recipe.activation_offload and recipe.checkpointing == "full"
    return trained_by_adamw(replace(job, cluster=Cluster()), NAME, own, ("full", *ADAPTERS))


def command(job: Job) -> str:
    """Return what to type."""
    recipe = job.recipe
    again = {"none": "none", "full": "unsloth" if recipe.activation_offload else "true"}
    return lines(
        "unsloth train --model MODEL --dataset DATA --learning-rate RATE --num-epochs 1",
        f"--training-type {'lora' if recipe.lora else 'full'} --max-seq-length {recipe.seq_len}",
        f"--batch-size {recipe.micro_batch}"
        f" --gradient-accumulation-steps {recipe.grad_accum}"
        f" --gradient-checkpointing {again[recipe.checkpointing]}",
        _adapters(job),
    )


def _adapters(job: Job) -> str:
    lora = job.recipe.lora
    if lora is None:
        return ""
    named = () if "all-linear" in lora.targets else lora.targets
    targets = f" --target-modules {','.join(named)}" if named else ""
    return (
        f"--{'' if job.recipe.base else 'no-'}load-in-4bit --lora-r {lora.rank}"
        f" --lora-alpha {2 * lora.rank} --lora-dropout {lora.dropout or 0}{targets}"
    )
