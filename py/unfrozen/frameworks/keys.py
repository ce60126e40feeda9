"""The keys of trainers' files, both ways: what each says of a job, and what no plan counts.

A row's `fact` is a trainer's choice under one name for all of them; `values` are the words of a
file that are not ours. `trained` makes a job of facts, and the writers of commands take their names
from the same rows. What a trainer does where its file says nothing is in `defaults`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from unfrozen.data_files import read_json
from unfrozen.errors import PlanError


class Key(NamedTuple):
    """A key of a file: the fact that it states, and the meaning of each of its words."""

    fact: str
    values: Mapping[Any, object] | None = None


Keys = Mapping[str, Key]

ATTENTION: Final[Mapping[Any, object]] = {
    **dict.fromkeys(("flash_attention_2", "flash_attention_3", "flash_attn", "fa2"), "flash"),
    **dict.fromkeys(("flash_attention_4", "flash_attention", "flex_attention", "fa3"), "flash"),
    **dict.fromkeys(("xformers", "unsloth"), "efficient"),
    **{"sdpa": "sdpa", "auto": "sdpa", "eager": "eager", "disabled": "eager"},
}
CHECKPOINTING: Final[Mapping[Any, object]] = {
    True: "full",
    False: "none",
    **dict.fromkeys(("offload", "offload_disk", "unsloth", "legacy"), "offload"),
}
_FLASH: Final = Key("attention", {True: "flash", False: None})
_FULL_DTYPES: Final[Mapping[Any, object]] = {
    **dict.fromkeys(("bfloat16", "bf16", "torch.bfloat16"), "bf16"),
    **dict.fromkeys(("float16", "fp16", "half", "torch.float16"), "fp16"),
    **dict.fromkeys(("float32", "fp32", "torch.float32"), "fp32"),
    "auto": "bf16",
}


def _alike(*facts: str) -> dict[str, Key]:
    return {fact: Key(fact) for fact in facts}


_PARALLEL: Final = {"dp_shard": "dp_shard", "dp_replicate": "dp_replicate", "cp": "context"} | {
    "tp": "tensor",
    "sp": "context",
}
_FSDP: Final = {
    "fsdp_version": Key("fsdp_version"),
    **{
        f"fsdp_config.{prefix}{name}": Key(fact)
        for prefix in ("fsdp_", "")
        for name, fact in {
            "version": "fsdp_version",
            "reshard_after_forward": "reshard",
            "sharding_strategy": "strategy",
            "offload_params": "fsdp_offload",
            "activation_checkpointing": "fsdp_checkpointing",
        }.items()
    },
}
_TRAINER: Final = {
    "per_device_train_batch_size": Key("micro_batch"),
    "gradient_accumulation_steps": Key("grad_accum"),
    "gradient_checkpointing": Key("checkpointing", CHECKPOINTING),
    "gradient_checkpointing_kwargs.use_reentrant": Key("reentrant"),
    "optim": Key("optim"),
    "torch_compile": Key("compile"),
    "use_liger_kernel": Key("liger"),
    "fsdp": Key("fsdp"),
    **_alike("bf16", "fp16", "deepspeed"),
    **_FSDP,
}
"""Keys of `TrainingArguments` (transformers)."""
_PEFT: Final = {
    "lora_r": Key("rank"),
    "lora_rank": Key("rank"),
    "lora_dropout": Key("dropout"),
    "lora_target_modules": Key("targets"),
    "lora_target_parameters": Key("stacks"),
    "lora_modules_to_save": Key("whole"),
    "load_in_4bit": Key("four_bits"),
    "load_in_8bit": Key("eight_bits"),
}
_TRL: Final = {
    **_TRAINER,
    **_PEFT,
    "model_name_or_path": Key("model"),
    "max_length": Key("seq_len"),
    "max_seq_length": Key("seq_len"),
    "attn_implementation": Key("attention", ATTENTION),
    "dtype": Key("dtype", _FULL_DTYPES),
    "torch_dtype": Key("dtype", _FULL_DTYPES),
    "use_peft": Key("adapter"),
    "use_bnb_nested_quant": Key("double"),
    "activation_offloading": Key("offload_activations"),
    "loss_type": Key("loss", {"nll": None, "chunked_nll": "fused_linear"}),
    "bnb_4bit_quant_storage": Key(""),
    "bnb_4bit_quant_type": Key("four_kind"),
}
_AXOLOTL: Final = {
    **_PEFT,
    "base_model": Key("model"),
    "sequence_len": Key("seq_len"),
    "micro_batch_size": Key("micro_batch"),
    "gradient_accumulation_steps": Key("grad_accum"),
    "gradient_checkpointing": Key("checkpointing", CHECKPOINTING),
    "gradient_checkpointing_kwargs.use_reentrant": Key("reentrant"),
    "activation_offloading": Key(
        "offload_activations",
        {True: True, False: False, "legacy": True, "disk": True, "hidden_states": True},
    ),
    "optimizer": Key("optim"),
    "bf16": Key("bf16", {True: True, False: False, "auto": True, "full": True}),
    **{"bfloat16": Key("bf16"), "fp16": Key("fp16"), "float16": Key("fp16")},
    "attn_implementation": Key("attention", ATTENTION),
    **{"flash_attention": _FLASH, "flex_attention": _FLASH},
    "sdp_attention": Key("attention", {True: "sdpa", False: None}),
    "xformers_attention": Key("attention", {True: "efficient", False: None}),
    "eager_attention": Key("attention", {True: "eager", False: None}),
    "torch_compile": Key("compile", {True: True, False: False, "auto": True}),
    **dict.fromkeys(("liger_rms_norm", "liger_glu_activation", "liger_layer_norm"), Key("liger")),
    **dict.fromkeys(("liger_rope", "liger_rms_norm_gated"), Key("liger")),
    "liger_fused_linear_cross_entropy": Key("loss", {True: "fused_linear", False: None}),
    "cut_cross_entropy": Key("loss", {True: "fused_linear", False: None}),
    "chunked_cross_entropy": Key("loss", {True: "chunked", False: None}),
    "plugins": Key("plugins"),
    "adapter": Key("adapter"),
    "lora_target_linear": Key("target_linear"),
    "bnb_config_kwargs.bnb_4bit_use_double_quant": Key("double"),
    **{"deepspeed": Key("deepspeed"), "fsdp": Key("fsdp"), **_FSDP},
    **{f"{name}_size": Key(fact) for name, fact in _PARALLEL.items() if name.startswith("dp")},
    **{"context_parallel_size": Key("context"), "sequence_parallel_degree": Key("context")},
    **{"tensor_parallel_size": Key("tensor"), "expert_parallel_size": Key("expert")},
}
_LLAMA_FACTORY: Final = {
    **_TRAINER,
    **{"model_name_or_path": Key("model"), "model": Key("model")},
    "cutoff_len": Key("seq_len"),
    "micro_batch_size": Key("micro_batch"),
    "flash_attn": Key("attention", ATTENTION),
    "disable_gradient_checkpointing": Key("checkpointing", {False: "full", True: "none"}),
    "use_reentrant_gc": Key("reentrant"),
    "enable_liger_kernel": Key("liger"),
    **{"pure_bf16": Key("pure"), "finetuning_type": Key("adapter")},
    **{"lora_rank": Key("rank"), "lora_dropout": Key("dropout"), "lora_target": Key("targets")},
    "additional_target": Key("whole"),
    "quantization_bit": Key("bits"),
    "double_quantization": Key("double"),
    "freeze_vision_tower": Key("frozen_tower"),
    **{"peft_config.name": Key("adapter"), "peft_config.r": Key("rank")},
    "peft_config.target_modules": Key("targets"),
    "peft_config.lora_dropout": Key("dropout"),
    "quant_config.quantization_bit": Key("bits"),
    "dist_config.name": Key("fsdp"),
    "dist_config.config_file": Key("deepspeed"),
    "dist_config.cp_size": Key("context"),
    "kernel_config.name": Key("plugins"),
    **{f"use_{name}": Key("optim", {True: name, False: None}) for name in ("galore", "apollo")},
    "use_muon": Key("optim", {True: "muon", False: None}),
    **{"galore_rank": Key("projection_rank"), "apollo_rank": Key("projection_rank")},
}
_SWIFT: Final = {
    **_TRAINER,
    "model": Key("model"),
    "max_length": Key("seq_len"),
    "attn_impl": Key("attention", ATTENTION),
    "torch_dtype": Key("dtype", _FULL_DTYPES),
    **dict.fromkeys(("tuner_type", "train_type", "sft_type"), Key("adapter")),
    **{"lora_rank": Key("rank"), "lora_dropout": Key("dropout"), "target_modules": Key("targets")},
    "modules_to_save": Key("whole"),
    "target_parameters": Key("stacks"),
    "quant_bits": Key("bits"),
    "bnb_4bit_use_double_quant": Key("double"),
    "bnb_4bit_quant_type": Key("four_kind"),
    "freeze_vit": Key("frozen_tower"),
    "sequence_parallel_size": Key("context"),
    "optimizer": Key("optim"),
    "use_galore": Key("optim", {True: "galore", False: None}),
    "galore_rank": Key("projection_rank"),
}
_ACCELERATE: Final = {
    **_FSDP,
    "distributed_type": Key("fsdp"),
    "num_processes": Key("gpus"),
    "mixed_precision": Key("mixed"),
    "use_fsdp": Key("fsdp"),
    **{"fsdp_reshard_after_forward": Key("reshard"), "fsdp_sharding_strategy": Key("strategy")},
    "fsdp_offload_params": Key("fsdp_offload"),
    "fsdp_activation_checkpointing": Key("fsdp_checkpointing"),
    "use_deepspeed": Key("zero"),
    **{
        f"{prefix}{name}": Key(fact)
        for prefix in ("deepspeed_config.", "")
        for name, fact in {
            "zero_stage": "zero_stage",
            "offload_optimizer_device": "zero_optimizer",
            "offload_param_device": "zero_params",
            "gradient_accumulation_steps": "grad_accum",
            "deepspeed_config_file": "deepspeed",
        }.items()
    },
    **{
        f"{prefix}parallelism_config_{name}_size": Key(fact)
        for prefix in ("parallelism_config.", "")
        for name, fact in _PARALLEL.items()
    },
}
_DEEPSPEED: Final = {
    "zero_optimization.stage": Key("zero_stage"),
    "zero_optimization.offload_optimizer.device": Key("zero_optimizer"),
    "zero_optimization.offload_param.device": Key("zero_params"),
    "zero_optimization.cpu_offload": Key("zero_optimizer", {True: "cpu", False: "none"}),
    **{"bf16.enabled": Key("bf16"), "fp16.enabled": Key("fp16")},
    "train_micro_batch_size_per_gpu": Key("micro_batch"),
    "gradient_accumulation_steps": Key("grad_accum"),
    "train_batch_size": Key("step_sequences"),
    "optimizer.type": Key("optim"),
    "tensor_parallel.autotp_size": Key("tensor"),
}
_TORCHTITAN: Final = {
    **{"model.name": Key("family"), "model.flavor": Key("size"), "module": Key("family")},
    "config": Key("size"),
    **dict.fromkeys(("model.hf_assets_path", "hf_assets_path"), Key("model")),
    "model.tokenizer_path": Key("model"),
    "training.seq_len": Key("seq_len"),
    **dict.fromkeys(("training.local_batch_size", "training.batch_size"), Key("local")),
    "training.global_batch_size": Key("step_sequences"),
    "training.gradient_accumulation_steps": Key("grad_accum"),
    "training.dtype": Key("dtype", _FULL_DTYPES),
    "training.compile": Key("compile"),
    "compile.enable": Key("compile"),
    "training.enable_cpu_offload": Key("fsdp_offload"),
    "training.mixed_precision_reduce": Key("reduce", _FULL_DTYPES),
    **{
        f"{group}.{name}": Key(fact)
        for group in ("parallelism", "training", "experimental")
        for name, fact in {
            "data_parallel_replicate_degree": "dp_replicate",
            "data_parallel_shard_degree": "dp_shard",
            "tensor_parallel_degree": "tensor",
            "context_parallel_degree": "context",
            "pipeline_parallel_degree": "pipeline",
            "expert_parallel_degree": "expert",
            "expert_tensor_parallel_degree": "expert_tensor",
            "fsdp_reshard_after_forward": "reshard",
            "pipeline_parallel_schedule": "schedule",
            "pipeline_parallel_microbatch_size": "pipeline_batch",
        }.items()
    },
    **dict.fromkeys(
        ("activation_checkpoint.mode", "activation-checkpoint"),
        Key("checkpointing", {name: name for name in ("none", "selective", "full")}),
    ),
    "activation_checkpoint.selective_ac_option": Key("every"),
    "optimizer.name": Key("optim"),
    "optimizer.implementation": Key(
        "step", {n: n for n in ("fused", "foreach")} | {"for-loop": "for_loop"}
    ),
    "optimizer.early_step_in_backward": Key("in_backward"),
}
_TORCHTUNE: Final = {
    "model._component_": Key("component"),
    "checkpointer.checkpoint_dir": Key("model"),
    "tokenizer.max_seq_len": Key("seq_len"),
    "batch_size": Key("micro_batch"),
    "gradient_accumulation_steps": Key("grad_accum"),
    "optimizer._component_": Key("optim"),
    "optimizer.fused": Key("step", {True: "fused", False: None}),
    "optimizer_in_bwd": Key("in_backward"),
    "enable_activation_checkpointing": Key("checkpointing", {True: "full", False: "none"}),
    "enable_activation_offloading": Key("offload_activations"),
    "compile": Key("compile"),
    "dtype": Key("dtype", _FULL_DTYPES),
    "loss._component_": Key("loss_component"),
    "fsdp_cpu_offload": Key("fsdp_offload"),
    "fsdp_reshard_after_forward": Key("reshard"),
    "tensor_parallel_dim": Key("tensor"),
    "context_parallel_dim": Key("context"),
    "data_parallel_shard_dim": Key("dp_shard"),
    "data_parallel_replicate_dim": Key("dp_replicate"),
    **{"model.lora_rank": Key("rank"), "model.lora_dropout": Key("dropout")},
    "model.lora_attn_modules": Key("targets"),
    "model.apply_lora_to_mlp": Key("lora_mlp"),
    "model.apply_lora_to_output": Key("lora_output"),
    "model.quantize_base": Key("four_bits"),
}

_MEGATRON: Final = {
    "tokenizer-model": Key("model"),
    "seq-length": Key("seq_len"),
    "micro-batch-size": Key("micro_batch"),
    "global-batch-size": Key("step_sequences"),
    "tensor-model-parallel-size": Key("tensor"),
    "context-parallel-size": Key("context"),
    "pipeline-model-parallel-size": Key("pipeline"),
    "expert-model-parallel-size": Key("expert"),
    "expert-tensor-parallel-size": Key("expert_tensor"),
    "num-virtual-stages-per-pipeline-rank": Key("chunks"),
    "sequence-parallel": Key("sequence_parallel"),
    "use-distributed-optimizer": Key("zero1"),
    "use-megatron-fsdp": Key("zero"),
    "data-parallel-sharding-strategy": Key("strategy"),
    "num-distributed-optimizer-instances": Key("dp_replicate"),
    "recompute-granularity": Key("checkpointing", {"full": "full"}),
}
_UNSLOTH: Final = {
    "model": Key("model"),
    "training-type": Key("adapter"),
    "max-seq-length": Key("seq_len"),
    "batch-size": Key("micro_batch"),
    "gradient-accumulation-steps": Key("grad_accum"),
    "gradient-checkpointing": Key(
        "checkpointing", {"none": "none", "true": "full", True: "full", "unsloth": "offload"}
    ),
    "load-in-4bit": Key("four_bits"),
    "no-load-in-4bit": Key("four_bits", {True: False}),
    **{"lora-r": Key("rank"), "lora-dropout": Key("dropout"), "target-modules": Key("targets")},
}

FLAGS: Final = {
    *("bf16", "fp16", "compile", "liger", "reentrant", "four_bits", "eight_bits", "double", "pure"),
    *("frozen_tower", "zero", "target_linear", "offload_activations", "in_backward", "lora_mlp"),
    *("lora_output", "fsdp_checkpointing", "sequence_parallel", "zero1"),
}
COUNTS: Final = {
    *("seq_len", "micro_batch", "grad_accum", "rank", "gpus", "tensor", "context", "pipeline"),
    *(
        "expert",
        "expert_tensor",
        "dp_replicate",
        "local",
        "projection_rank",
        "pipeline_batch",
        "chunks",
    ),
}
LISTS: Final = frozenset(("targets", "whole", "stacks", "plugins"))

_QUIET: Final[Mapping[str, list[str]]] = read_json("frameworks/quiet_keys.json")
"""Keys that change neither memory nor the time of a step, by the trainers' documentation: patterns
by format, and those of every one."""
UNPLANNED: Final = {
    "rl": "rl",
    "lisa_n_layers": "lisa",
    "relora": "another method",
    "use_badam": "badam",
    "gptq": "gptq",
    "lisa_activated_layers": "lisa",
    "quantization_method": "method of quantization",
    "quant_method": "method of quantization",
    "reward_model": "reward",
}
EFFECTS: Final = {
    **dict.fromkeys(
        ("fp8", "fp8_backend", "fp8_enable_fsdp_float8_all_gather", "model.converters"),
        "matmuls in fp8: set recipe.compute to fp8",
    ),
    "qat": "fake quantization adds casts of each weight",
    "neftune_noise_alpha": "noise copies the embeddings",
    "tiled_mlp": "fewer activations of the feed-forward part",
    "unfrozen_parameters": "fewer weights train",
    "peft_layers_to_transform": "fewer layers have adapters",
    "use_dora": "a vector for each layer",
    "quantize_moe_experts": "experts are quantized, too",
    "lora_mlp_kernel": "its own kernels of adapters save less for backward",
    "lora_qkv_kernel": "its own kernels of adapters save less for backward",
    "lora_o_kernel": "its own kernels of adapters save less for backward",
}
"""Keys that change memory or time and are not counted, and their effect, where they are on."""


@dataclass(frozen=True, slots=True)
class Format:
    """A trainer's file: its keys, those that no other has, and what holds where it says nothing."""

    name: str
    label: str
    keys: Keys
    marks: frozenset[str]
    defaults: Mapping[str, object] = field(default_factory=dict)

    def is_quiet(self, key: str) -> bool:
        """Return whether a key changes neither memory nor time."""
        pattern = "|".join((*_QUIET["every"], *_QUIET.get(self.name, ())))
        return re.fullmatch(rf"(?:{pattern})(\..*)?", key) is not None

    def key_of(self, fact: str) -> str:
        """Return the first key that says a fact."""
        return next(key for key, row in self.keys.items() if row.fact == fact)


ADAPTER: Final = {"llama-factory": "lora", "ms-swift": "lora"}
"""The method of frameworks that train adapters by default."""
_ADAPTERS: Final = {"rank": 8, "targets": ["all-linear"], "double": True}
FORMATS: Final = {
    each.name: each
    for each in (
        Format(
            *("axolotl", "Axolotl", _AXOLOTL),
            frozenset(("base_model", "sequence_len", "sample_packing", "lora_target_linear")),
            {
                **{"seq_len": 512, "micro_batch": 1, "bf16": True, "rank": 8, "double": True},
                **{"optim": "adamw_torch_fused", "attention": "sdpa"},
            },
        ),
        Format(
            *("llama-factory", "LLaMA-Factory", _LLAMA_FACTORY),
            frozenset(("finetuning_type", "cutoff_len", "lora_target", "quantization_bit"))
            | {"dataset_dir", "disable_gradient_checkpointing", "model_class", "dist_config.name"},
            {
                **{"seq_len": 2048, "micro_batch": 8, "checkpointing": "full", "reentrant": True},
                **_ADAPTERS,
                **{"optim": "adamw_torch_fused", "attention": "sdpa"},
            },
        ),
        Format(
            *("ms-swift", "ms-swift", _SWIFT),
            frozenset(("tuner_type", "train_type", "sft_type", "attn_impl", "quant_bits"))
            | {"freeze_vit", "split_dataset_ratio"},
            {
                **{"micro_batch": 1, "checkpointing": "full", "dtype": "bf16"},
                **_ADAPTERS,
                **{"dropout": 0.05, "optim": "adamw_torch_fused", "attention": "sdpa"},
            },
        ),
        Format(
            *("torchtitan", "torchtitan", _TORCHTITAN),
            frozenset(("model.flavor", "training.seq_len", "training.local_batch_size"))
            | {"job.dump_folder", "parallelism.data_parallel_shard_degree", "training.steps"},
            {"seq_len": 2048, "local": 8, "checkpointing": "selective", "optim": "AdamW"},
        ),
        Format(
            *("torchtune", "torchtune", _TORCHTUNE),
            frozenset(("model._component_", "tokenizer._component_", "checkpointer._component_")),
            {"micro_batch": 2, "dtype": "bf16", "rank": 8},
        ),
        Format(
            *("accelerate", "accelerate", _ACCELERATE),
            frozenset(("distributed_type", "compute_environment")),
        ),
        Format(
            *("deepspeed", "DeepSpeed", _DEEPSPEED),
            frozenset(("zero_optimization.stage", "train_micro_batch_size_per_gpu")),
        ),
        Format(
            *("megatron", "Megatron-LM", _MEGATRON),
            frozenset(("micro-batch-size", "seq-length", "use-megatron-fsdp")),
            {"grad_accum": 1},
        ),
        Format(
            *("unsloth", "Unsloth", _UNSLOTH),
            frozenset(("max-seq-length", "training-type")),
            {
                **{"seq_len": 2048, "micro_batch": 2, "grad_accum": 4, "checkpointing": "offload"},
                **{"adapter": "lora", "four_bits": True, "rank": 64, "double": True},
            },
        ),
        Format(
            *("trl", "TRL", _TRL),
            frozenset(("use_peft", "dataset_name", "assistant_only_loss")),
            {
                **{"seq_len": 1024, "micro_batch": 8, "checkpointing": "full", "bf16": True},
                **{"rank": 16, "dropout": 0.05, "targets": ["q_proj", "v_proj"], "dtype": "fp32"},
                **{"optim": "adamw_torch_fused", "attention": "sdpa", "double": False},
            },
        ),
    )
}
"""The formats by name, the most telling keys first."""
_SHARED: Final = ("per_device_train_batch_size", "model_name_or_path", "gradient_checkpointing")


def detect(settings: Mapping[str, object]) -> Format:
    """Return the trainer of a file by its keys. Raises PlanError where none has them, or two."""
    marks = {
        name: sorted(each.marks & settings.keys(), key=list(settings).index)
        for name, each in FORMATS.items()
    }
    found = [name for name, keys in marks.items() if keys]
    if not found and settings.keys() & {*_SHARED}:
        return FORMATS["trl"]
    if not found:
        bound = f"no key in it is of {', '.join(each.label for each in FORMATS.values())}"
        raise PlanError("job", ", ".join(list(settings)[:8]), bound, "give one of their files")
    if len(found) > 1:
        first, second = found[:2]
        bound = f"{marks[first][0]} is a key of {FORMATS[first].label}, {marks[second][0]} of "
        remedy = "keep the keys of one trainer"
        shown = f"{marks[first][0]}, {marks[second][0]}"
        raise PlanError("job", shown, bound + FORMATS[second].label, remedy)
    return FORMATS[found[0]]


def flat(settings: object, at: str = "", deep: int = 0) -> dict[str, object]:
    """Return nested settings by dotted key; lists stay whole, empty values are left out."""
    found: dict[str, object] = {}
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            name = f"{at}{key}"
            if isinstance(value, Mapping) and value:
                found |= flat(value, f"{name}.", deep + 1)
            elif value is not None and value != {}:
                found[name] = value
    return found
