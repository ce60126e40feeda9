"""The trainers of transformers and their jobs: TRL, Axolotl, LLaMA-Factory and Unsloth.

TRL 1.16 over accelerate 1.15 (DDP, FSDP2, contexts) or DeepSpeed 0.19, with PEFT 0.21.

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

Axolotl 0.19: a YAML file of `src/axolotl/utils/schemas/config.py`, over accelerate.

Weights are 16-bit without master weights (`bf16: true`) but for FSDP2, where accelerate trains fp32
copies; norms are 16-bit with FlashAttention alone (`loaders/model.py`). Adapters are fp32. Its own
kernels of adapters are on unless said otherwise (`lora_*_kernel`), and are not planned.

LLaMA-Factory 0.9.5: a YAML file of `src/llamafactory/hparams`, alone, under DDP or DeepSpeed.

What trains is cast to fp32 (`model/adapter.py`, `cast_trainable_params_to_fp32`), which DeepSpeed
undoes. It recomputes unless told not to. Of quantized weights ZeRO-3 shards none, and DeepSpeed
takes one that is on in every process (`FORCE_TORCHRUN`, `hparams/parser.py`).

Unsloth 2026.10: `unsloth train` of `unsloth_cli/config.py`, on one GPU.

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

from unfrozen.errors import PlanError
from unfrozen.frameworks.adapting import (
    ADAPTERS,
    adapter_states,
    name_linear,
    refuse,
    refuse_tower,
    split_targets,
    trained_by_adamw,
)
from unfrozen.frameworks.facts import job_facts
from unfrozen.frameworks.writing import write
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster

AXOLOTL: Final = "axolotl"
LLAMA_FACTORY: Final = "llama-factory"
UNSLOTH: Final = "unsloth"
ACCELERATE: Final = "accelerate"
DEEPSPEED: Final = "deepspeed"
CONFIG_FILE: Final = "ds.json"
METHODS: Final = ("full", *ADAPTERS)
WHOLE_LAYERS: Final[dict[str, tuple[Any, ...]]] = {
    **dict.fromkeys(("tensor_parallel", "pipeline_parallel", "expert_parallel"), (1,)),
    "expert_tensor_parallel": (None,),
}
"""Layers are whole on each GPU."""
_FLASH: Final = ("flash", "flash2", "flash3")
_ATTENTION: Final = (*_FLASH, "sdpa", "eager")


def accelerate_job(job: Job) -> Job:
    """Return the job as TRL trains it with accelerate. Raises PlanError where it cannot."""
    cluster, recipe = job.cluster, job.recipe
    refuse(
        job,
        ACCELERATE,
        sharding=("none",) if cluster.gpus == 1 else ("none", "zero2", "zero3"),
        offload=("none",),
        **WHOLE_LAYERS,
        checkpointing=("none", "full"),
        attention=(*_ATTENTION, "flash4"),
        base=(None, "nf4", "nf4-dq") if cluster.stage else (None, "nf4", "nf4-dq", "int8"),
    )
    ranks = cluster.context_parallel
    if ranks > 1 and (cluster.shard_size or cluster.stage < 2 or not recipe.flashes):
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
        attention=(*_ATTENTION, "flash4"),
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


def axolotl_job(job: Job) -> Job:
    """Return the job as Axolotl trains it. Raises PlanError where it cannot."""
    cluster = job.cluster
    refuse(
        job,
        AXOLOTL,
        sharding=("none",) if cluster.gpus == 1 else ("none", "zero2", "zero3"),
        shard_size=(None,),
        offload=("none",),
        context_parallel=(1,),
        **WHOLE_LAYERS,
        checkpointing=("none", "full"),
        attention=_FLASH,
        base=(None, "nf4", "nf4-dq") if cluster.stage else (None, "nf4", "nf4-dq", "int8"),
    )
    refuse_tower(job, AXOLOTL)
    job = name_linear(job, AXOLOTL)
    narrow = {"params": "bf16", "master": None, "grads": "bf16", "moments": "bf16"}
    states = {} if cluster.stage or job.recipe.lora else narrow
    return trained_with_accelerate(job, AXOLOTL, AXOLOTL, loss="logits_fp32", **states)


def llama_factory_job(job: Job) -> Job:
    """Return the job as LLaMA-Factory trains it. Raises PlanError where it cannot."""
    cluster = job.cluster
    refuse(
        job,
        LLAMA_FACTORY,
        offload=("none", "optimizer", "params") if cluster.stage else ("none",),
        shard_size=(None,),
        context_parallel=(1,),
        **WHOLE_LAYERS,
        checkpointing=("none", "full"),
        attention=_ATTENTION,
        sharding=("none",) if cluster.gpus == 1 else ("none", "zero1", "zero2", "zero3"),
    )
    job = name_linear(job, LLAMA_FACTORY, experts=False)
    trained = trained_with_deepspeed if cluster.stage else trained_with_accelerate
    return trained(job, LLAMA_FACTORY, LLAMA_FACTORY, loss="logits_fp32")


_LINEAR: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Its default target modules (`unsloth_cli/config.py`)."""


def unsloth_job(job: Job) -> Job:
    """Return the job as Unsloth trains it. Raises PlanError where it cannot."""
    recipe = job.recipe
    refuse(
        job,
        UNSLOTH,
        gpus=(1,),
        sharding=("none",),
        offload=("none",),
        checkpointing=("none", "full"),
        base=(None, "nf4", "nf4-dq"),
    )
    refuse_tower(job, UNSLOTH)
    if job.model.architecture.experts:
        refuse(job, UNSLOTH, base=(None,))
    job = name_linear(job, UNSLOTH, experts=False)
    half = recipe.compute == "fp16" and job.gpu is not None and not job.gpu.bf16
    own: dict[str, Any] = {"params": "bf16", "master": None, "grads": "bf16"}
    if recipe.lora:
        lora = {"dtype": "fp32", "autocast": True} if half else {}
        own = adapter_states(job, UNSLOTH, **lora) | {"base": "nf4-dq" if recipe.base else None}
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
    return trained_by_adamw(replace(job, cluster=Cluster()), UNSLOTH, own, ("full", *ADAPTERS))


def trl_command(job: Job) -> str:
    """Return what to type on every machine, over accelerate."""
    cluster = job.cluster
    shards, ranks = cluster.shards, cluster.context_parallel
    spread = {
        "spread": cluster.stage > 0 and (ranks > 1 or shards < cluster.alike),
        **{"dp_replicate": cluster.alike // shards, "dp_shard": shards // ranks, "context": ranks},
    }
    facts = job_facts(job) | spread | {"replicated": cluster.gpus > 1 and not cluster.stage}
    if ranks > 1:
        facts["attention"] = "sdpa"
    return write("trl", facts | {"stored": cluster.stage and facts.get("four_bits")})


def deepspeed_command(job: Job) -> str:
    """Return what to type on every machine, after the config file that it names."""
    facts = job_facts(job) | {"sharded": False, "deepspeed": CONFIG_FILE}
    stored = {"stored": facts.get("four_bits")}
    return write(DEEPSPEED, facts) + write("trl", facts | stored)


def axolotl_command(job: Job) -> str:
    """Return what to type on every machine, after the file that it names."""
    facts = job_facts(job)
    adapter = ("qlora" if facts["four_bits"] else "lora") if job.recipe.lora else None
    named = {} if facts.get("target_linear") is None else {"targets": None}
    return write(AXOLOTL, facts | named | {"adapter": adapter})


def llama_factory_command(job: Job) -> str:
    """Return what to type on every machine, after the files that it names."""
    facts = job_facts(job)
    if job.recipe.lora:
        targets = ["all"] if facts["target_linear"] else facts["targets"]
        whole = facts["whole"] and ",".join(facts["whole"])
        double = facts["double"] if job.recipe.base else None
        facts |= {"targets": ",".join(targets), "whole": whole, "double": double}
    if not job.cluster.stage:
        return write(LLAMA_FACTORY, facts)
    return write(DEEPSPEED, facts) + write(LLAMA_FACTORY, facts | {"deepspeed": CONFIG_FILE})


def unsloth_command(job: Job) -> str:
    """Return what to type."""
    facts = job_facts(job)
    if lora := job.recipe.lora:
        named = None if facts["target_linear"] else ",".join(lora.targets)
        facts |= {"targets": named, "unquantized": job.recipe.base is None}
    return write(UNSLOTH, facts)
