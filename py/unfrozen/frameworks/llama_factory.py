"""LLaMA-Factory 0.9.5: a YAML file of `src/llamafactory/hparams`, alone, under DDP or DeepSpeed.

What trains is cast to fp32 (`model/adapter.py`, `cast_trainable_params_to_fp32`), which DeepSpeed
undoes. It recomputes unless told not to. Of quantized weights ZeRO-3 shards none, and DeepSpeed
takes one that is on in every process (`FORCE_TORCHRUN`, `hparams/parser.py`).
"""

from __future__ import annotations

from typing import Any, Final

from unfrozen.frameworks.command_lines import (
    FIRST_HOST,
    machines,
    name_linear,
    refuse,
    split_targets,
    written,
    yaml,
)
from unfrozen.frameworks.trl import (
    CONFIG_FILE,
    WHOLE_LAYERS,
    deepspeed_file,
    trained_with_accelerate,
    trained_with_deepspeed,
)
from unfrozen.job import Job

NAME: Final = "llama-factory"
_FILE: Final = "llama_factory.yaml"
_ATTENTION: Final = {"flash": "fa2", "sdpa": "sdpa", "eager": "disabled"}


def llama_factory_job(job: Job) -> Job:
    """Return the job as LLaMA-Factory trains it. Raises PlanError where it cannot."""
    cluster = job.cluster
    refuse(
        job,
        NAME,
        offload=("none", "optimizer", "params") if cluster.stage else ("none",),
        shard_size=(None,),
        context_parallel=(1,),
        **WHOLE_LAYERS,
        checkpointing=("none", "full"),
        attention=tuple(_ATTENTION),
        sharding=("none",) if cluster.gpus == 1 else ("none", "zero1", "zero2", "zero3"),
    )
    job = name_linear(job, NAME, experts=False)
    trained = trained_with_deepspeed if cluster.stage else trained_with_accelerate
    return trained(job, NAME, NAME, loss="logits_fp32")


def command(job: Job) -> str:
    """Return what to type on every machine, after the files that it names."""
    files = deepspeed_file(job) if job.cluster.stage else ""
    typed = f"llamafactory-cli train {_FILE}"
    return files + written(_FILE, yaml(_settings(job))) + _launch(job) + typed


def _launch(job: Job) -> str:
    """Return the variables of its launcher; RANK is the machine's number, from 0."""
    count, each = machines(job)
    if job.cluster.gpus == 1:
        return "CUDA_VISIBLE_DEVICES=0 "
    text = f"FORCE_TORCHRUN=1 NPROC_PER_NODE={each} "
    reach = f"NNODES={count} NODE_RANK=RANK MASTER_ADDR={FIRST_HOST} MASTER_PORT=29500 "
    return text + (reach if count > 1 else "")


def _settings(job: Job) -> dict[str, Any]:
    recipe = job.recipe
    found: dict[str, Any] = {
        "model_name_or_path": "MODEL",
        "dataset": "DATA",
        "template": "TEMPLATE",
        "output_dir": "OUT",
        "stage": "sft",
        "do_train": True,
        "num_train_epochs": 1,
        "learning_rate": "RATE",
        "optim": "adamw_torch_fused",
        "bf16": True,
        "flash_attn": _ATTENTION[recipe.attention],
        "cutoff_len": recipe.seq_len,
        "per_device_train_batch_size": recipe.micro_batch,
        "gradient_accumulation_steps": recipe.grad_accum,
        "disable_gradient_checkpointing": recipe.checkpointing == "none",
        "use_reentrant_gc": False,
        **({"torch_compile": True} if recipe.kernels == "fused" else {}),
        **_adapters(job),
    }
    if job.model.frozen or job.model.architecture.vision:
        found["freeze_vision_tower"] = recipe.frozen_tower
    if job.cluster.stage:
        found["deepspeed"] = CONFIG_FILE
    return found


def _adapters(job: Job) -> dict[str, Any]:
    lora, base = job.recipe.lora, job.recipe.base
    if lora is None:
        return {"finetuning_type": "full"}
    linear, whole = split_targets(job)
    targets = "all" if "all-linear" in linear else ",".join(linear)
    found: dict[str, Any] = {
        "finetuning_type": "lora",
        "lora_rank": lora.rank,
        "lora_alpha": 2 * lora.rank,
        "lora_dropout": lora.dropout or 0.0,
        "lora_target": targets,
        **({"additional_target": ",".join(whole)} if whole else {}),
    }
    if base:
        found["quantization_bit"] = 8 if base == "int8" else 4
        found["double_quantization"] = base == "nf4-dq"
    return found
