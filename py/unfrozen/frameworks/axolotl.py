"""Axolotl 0.19: a YAML file of `src/axolotl/utils/schemas/config.py`, over accelerate.

Weights are 16-bit without master weights (`bf16: true`) but for FSDP2, where accelerate trains fp32
copies; norms are 16-bit with FlashAttention alone (`loaders/model.py`). Adapters are fp32. Its own
kernels of adapters are on unless said otherwise (`lora_*_kernel`), and are not planned.
"""

from __future__ import annotations

from typing import Any, Final

from unfrozen.frameworks.command_lines import (
    accelerate_options,
    name_linear,
    refuse,
    refuse_tower,
    split_targets,
    stack_names,
    written,
    yaml,
)
from unfrozen.frameworks.trl import WHOLE_LAYERS, trained_with_accelerate
from unfrozen.job import Job

NAME: Final = "axolotl"
_FILE: Final = "axolotl.yml"


def axolotl_job(job: Job) -> Job:
    """Return the job as Axolotl trains it. Raises PlanError where it cannot."""
    cluster = job.cluster
    refuse(
        job,
        NAME,
        sharding=("none",) if cluster.gpus == 1 else ("none", "zero2", "zero3"),
        shard_size=(None,),
        offload=("none",),
        context_parallel=(1,),
        **WHOLE_LAYERS,
        checkpointing=("none", "full"),
        attention=("flash",),
        base=(None, "nf4", "nf4-dq") if cluster.stage else (None, "nf4", "nf4-dq", "int8"),
    )
    refuse_tower(job, NAME)
    job = name_linear(job, NAME)
    narrow = {"params": "bf16", "master": None, "grads": "bf16", "moments": "bf16"}
    states = {} if cluster.stage or job.recipe.lora else narrow
    return trained_with_accelerate(job, NAME, NAME, loss="logits_fp32", **states)


def command(job: Job) -> str:
    """Return what to type on every machine, after the file that it names."""
    several = " --multi_gpu" if job.cluster.gpus > 1 else ""
    typed = f"axolotl train {_FILE} -- {accelerate_options(job)}{several}"
    return written(_FILE, yaml(_settings(job))) + typed


def _settings(job: Job) -> dict[str, Any]:
    recipe, stage = job.recipe, job.cluster.stage
    found: dict[str, Any] = {
        "base_model": "MODEL",
        "datasets": "[{path: DATA, type: chat_template}]",
        "output_dir": "OUT",
        "num_epochs": 1,
        "learning_rate": "RATE",
        "optimizer": "adamw_torch_fused",
        "bf16": True,
        "attn_implementation": "flash_attention_2",
        "sequence_len": recipe.seq_len,
        "micro_batch_size": recipe.micro_batch,
        "gradient_accumulation_steps": recipe.grad_accum,
        "gradient_checkpointing": recipe.checkpointing == "full",
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        **({"torch_compile": True} if recipe.kernels == "fused" else {}),
        **_adapters(job),
    }
    if stage:
        found["fsdp_version"] = 2
        found["fsdp_config"] = {
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "reshard_after_forward": stage == 3,
            "cpu_ram_efficient_loading": False,
        }
    return found


def _adapters(job: Job) -> dict[str, Any]:
    lora, base = job.recipe.lora, job.recipe.base
    if lora is None:
        return {}
    four = base not in (None, "int8")
    named, whole = split_targets(job)
    linear = "all-linear" in named
    found: dict[str, Any] = {
        "adapter": "qlora" if four else "lora",
        "lora_r": lora.rank,
        "lora_alpha": 2 * lora.rank,
        "lora_dropout": lora.dropout or 0.0,
        **({"lora_target_linear": True} if linear else {"lora_target_modules": named}),
        **({"lora_target_parameters": stack_names(job)} if stack_names(job) else {}),
        **({"lora_modules_to_save": whole} if whole else {}),
        **dict.fromkeys(("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel"), False),
    }
    if four:
        found["load_in_4bit"] = True
        if base == "nf4":
            found["bnb_config_kwargs"] = {"bnb_4bit_use_double_quant": False}
    elif base:
        found["load_in_8bit"] = True
    return found
