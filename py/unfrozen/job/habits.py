"""What frameworks do by default, each habit with the file in which it was read.

A habit that differs between versions is that of the commit which is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, cast

Words = Mapping[str, object]
When = Callable[[Words], bool]


class Habit(NamedTuple):
    """A word that a framework sets where `when` holds of what is asked, recipe and cluster in one.

    Whose word it is, of the recipe or of the cluster, is told by its name; `lora.dtype` is the
    adapters' dtype.
    """

    key: str
    value: object
    why: str
    source: str
    when: When | None = None


def _compiled(asked: Words) -> bool:
    return asked.get("kernels", "eager") != "eager"


def _eager(asked: Words) -> bool:
    return not _compiled(asked)


def _sharded(asked: Words) -> bool:
    return asked.get("sharding") in ("zero2", "zero3")


def _weights_sharded(asked: Words) -> bool:
    return asked.get("sharding") == "zero3"


def _spread(asked: Words) -> bool:
    return asked.get("tensor_parallel", 1) != 1


def _full(asked: Words) -> bool:
    return asked.get("method", "full") == "full"


def _whole_and_full(asked: Words) -> bool:
    return _full(asked) and not _weights_sharded(asked)


def _not_quantised(asked: Words) -> bool:
    return asked.get("method") == "lora"


def _llama4(asked: Words) -> bool:
    return str(asked["model_type"]).startswith("llama4")


_WITH_VERSION: Final = re.compile(r" @\w|\d\.\d")
"""What a file begins with that is not of the framework's own source."""


def _habits(source: str, *habits: tuple[object, ...]) -> tuple[Habit, ...]:
    """(key, value, why, when, file below `source`), the last two left out where they go without."""
    found = []
    for key, value, why, *rest in habits:
        file = next((part for part in rest if isinstance(part, str)), "")
        when = next((part for part in rest if not isinstance(part, str)), None)
        of_others = _WITH_VERSION.search(file) and not file.startswith("with ")
        where = file if of_others else f"{source} {file}".rstrip()
        found.append(Habit(str(key), value, str(why), where, cast(When | None, when)))
    return tuple(found)


_WHOLE: Final = "gradients are summed over cards after the last micro-batch only"
_UPCAST: Final = "logits are upcast to fp32 before the loss"
_HELD: Final = "the training loop still names the logits during the backward pass"
_PURE: Final = "weights are kept in bf16, without another copy"
_FP32: Final = "weights are kept in fp32; FSDP gathers them in bf16"
_SUMMED: Final = "FSDP sums gradients in fp32"
_TRAINER: Final = (
    ("no_sync", True, _WHOLE, _sharded, "trainer.py (accelerator.no_sync)"),
    ("loss", "logits_fp32", _UPCAST, "loss/loss_utils.py"),
    ("step", "fused", "adamw_torch_fused", "training_args.py (optim)"),
    (
        *("expert_padding", "fullest", "every expert of Llama 4 computes all tokens", _llama4),
        "models/llama4/modeling_llama4.py (routed_in)",
    ),
)
_PEFT: Final = ("lora.library", "peft", "adapters are PEFT's")
_WIDE: Final = ("lora.dtype", "fp32", "PEFT keeps adapters in fp32 (autocast_adapter_dtype)")
_AUTOCAST: Final = ("lora.autocast", True, "bf16=True: their products run in bf16")
_ONCE: Final = ("lora.library", "peft", "q, k and v keep their input once, as it is")
_APART: Final = ("lora.library", "peft", "every adapter stands alone")
_BELOW: Final = "transformers 5.24 src/transformers"
_BLIND: Final = ("frozen_tower", True, "what sees pictures does not train")
_FACTORY: Final = "hiyouga/LLaMA-Factory @01d87b8 src/llamafactory"
_FACTORY_ADAPTER: Final = f"{_FACTORY} model/adapter.py (cast_trainable_params_to_fp32)"
_KEMPNER: Final = "KempnerInstitute/KempnerForge @bc775fe"
_PRIME: Final = "PrimeIntellect-ai/prime-rl @c95bd79 src/prime_rl/trainer"

FRAMEWORKS: Final[dict[str, tuple[Habit, ...]]] = {
    "torchtitan": _habits(
        "pytorch/torchtitan @6fc499f",
        ("params", "fp32", _FP32, "torchtitan/config (mixed_precision_param)"),
        ("outer_apart", True, "embedding and head are units of their own", _weights_sharded),
        ("reduce", "fp32", _SUMMED, _sharded, "torchtitan/config (mixed_precision_reduce)"),
        ("step", "fused", "the optimizer's default", "torchtitan/components/optimizer.py"),
        ("loss", "logits_bf16", "the upcast is compiled away", _compiled, "components/loss.py"),
        ("loss", "logits_fp32", _UPCAST, _eager, "torchtitan/components/loss.py"),
    ),
    "transformers": _habits(
        _BELOW,
        *_TRAINER,
        (*_PEFT, "with PEFT 0.21 src/peft/mapping_func.py"),
        (*_WIDE, "with PEFT 0.21 src/peft/mapping_func.py (autocast_adapter_dtype)"),
    ),
    "accelerate": _habits(_BELOW, *_TRAINER[:2]),
    "trl": _habits(
        f"its trainers are those of {_BELOW}",
        *_TRAINER,
        (*_PEFT, "TRL 1.16 trl/trainer/sft_trainer.py"),
        (*_WIDE, _not_quantised, "TRL 1.16 trl/trainer/sft_trainer.py"),
        (*_AUTOCAST, _not_quantised, "TRL 1.16 trl/trainer/base_config.py"),
    ),
    "axolotl": _habits(
        f"its trainers are those of {_BELOW}",
        *_TRAINER,
        (*_PEFT, "axolotl @067b021 src/axolotl/loaders/adapter.py"),
        (*_WIDE, "axolotl @067b021 src/axolotl/loaders/adapter.py"),
        (*_AUTOCAST, "axolotl @067b021 src/axolotl/core/builders/base.py"),
    ),
    "ms-swift": _habits(
        f"its trainers are those of {_BELOW}",
        *_TRAINER,
        (*_BLIND, "modelscope/ms-swift @815aa28 swift/llm/argument/tuner_args.py (freeze_vit)"),
    ),
    "llama-factory": _habits(
        f"its trainers are those of {_BELOW}",
        *_TRAINER,
        ("params", "fp32", "what trains is cast to fp32", _whole_and_full, _FACTORY_ADAPTER),
        (
            *("checkpointing", "full", "it is on unless it is switched off"),
            f"{_FACTORY} model/model_utils/checkpointing.py",
        ),
        (*_BLIND, f"{_FACTORY} hparams/finetuning_args.py (freeze_vision_tower)"),
        (*_PEFT, _FACTORY_ADAPTER),
        ("lora.dtype", "fp32", "what trains is cast to fp32", _FACTORY_ADAPTER),
        (*_AUTOCAST, f"{_FACTORY} hparams/parser.py (compute_dtype)"),
    ),
    "torchtune": _habits(
        "meta-pytorch/torchtune @bd2a0fc",
        ("params", "bf16", "recipes/configs: dtype: bf16"),
        ("master", None, _PURE, _full, "recipes/configs: dtype: bf16"),
        ("loss", "chunked", "LinearCrossEntropyLoss in chunks", "torchtune/modules/loss"),
        ("outer_apart", True, "custom_sharded_layers", _weights_sharded, "recipes/configs/llama3"),
        ("reduce", "bf16", "no other precision is asked for", _sharded, "training/_distributed.py"),
        (*_APART, "torchtune/modules/peft/lora.py"),
    ),
    "megatron": _habits(
        "NVIDIA/Megatron-LM @d98e8a6",
        ("params", "bf16", "--bf16", "megatron/training/arguments.py"),
        ("master", "fp32", "the optimizer keeps main parameters", "megatron/core/optimizer"),
        ("grads", "fp32", "--bf16 sums gradients in fp32", "megatron/training/arguments.py"),
        ("kernels", "fused", "fused norms, swiglu and rotation", "megatron/training/arguments.py"),
        ("attention", "flash", "Transformer Engine's attention", "megatron/training/arguments.py"),
        ("loss", "vocab_parallel", "in place", "megatron/core/tensor_parallel/cross_entropy.py"),
        (
            *("grad_buckets", False, "gradients are views of the buffer that is summed"),
            "megatron/core/distributed/param_and_grad_buffer.py",
        ),
    ),
    "prime-rl": _habits(
        _PRIME,
        ("params", "fp32", _FP32, "config.py (optimization_dtype)"),
        ("reduce", "fp32", _SUMMED, _sharded, "config.py (reduce_dtype)"),
        ("outer_apart", True, "embedding and head are units", _weights_sharded, "model.py"),
        (
            "root_resharded",
            True,
            "reshard_after_forward, the root too",
            _weights_sharded,
            "model.py",
        ),
        ("step", "foreach", "AdamW as PyTorch makes it by default", "optim.py"),
        ("loss", "logits_fp32", _UPCAST, "model.py (cast_float_and_contiguous)"),
        ("keeps_outputs", True, _HELD, "sft/train.py (out)"),
    ),
    "kempnerforge": _habits(
        _KEMPNER,
        ("params", "bf16", _PURE, "kempnerforge/config/schema.py (param_dtype)"),
        ("master", None, _PURE, "kempnerforge/distributed/parallel.py"),
        ("reduce", "fp32", _SUMMED, _sharded, "kempnerforge/distributed/parallel.py"),
        ("root_resharded", True, "the root too", _weights_sharded, "distributed/parallel.py"),
        ("no_sync", True, _WHOLE, "kempnerforge/training/grad.py"),
        ("loss", "logits_bf16", "F.cross_entropy of bf16 logits", "kempnerforge/training/loss.py"),
        ("compiled_loss", False, "the loss is outside the compiled model", "scripts/train.py"),
        ("keeps_outputs", True, _HELD, "scripts/train.py (logits)"),
        ("whole_compile", True, "torch.compile(model)", _compiled, "distributed/parallel.py"),
        ("whole_embedding", True, "it stays whole", _spread, "distributed/tensor_parallel.py"),
        ("expert_padding", "fullest", "grouped_expert_forward", "kempnerforge/model/moe.py"),
        ("router_held", True, "aux_loss is an attribute", "kempnerforge/model/router.py"),
        ("step", "fused", "the default", "kempnerforge/config/optimizer.py"),
    ),
    "llm-foundry": _habits(
        "mosaicml/llm-foundry @8c8dd48",
        ("params", "fp32", _FP32, "scripts/train/yamls/pretrain (mixed_precision: PURE)"),
        ("reduce", "bf16", "PURE sums gradients in bf16", _sharded, "scripts/train/yamls"),
        ("attention", "flash", "attn_impl: flash", "llmfoundry/models/mpt/modeling_mpt.py"),
        ("loss", "logits_bf16", "flash-attn's loss", "llmfoundry/models/mpt/modeling_mpt.py"),
        ("compiled_loss", True, "fused_crossentropy", "llmfoundry/models/mpt/modeling_mpt.py"),
    ),
    "litgpt": _habits(
        "Lightning-AI/litgpt @2685705",
        ("params", "bf16", "--precision bf16-true", "litgpt/pretrain.py"),
        ("master", None, _PURE, _full, "litgpt/pretrain.py"),
        ("no_sync", True, _WHOLE, "litgpt/finetune/full.py (no_backward_sync)"),
        ("keeps_outputs", True, _HELD, "litgpt/finetune/full.py (logits)"),
    ),
    "nemo-automodel": _habits(
        "NVIDIA-NeMo/Automodel @36044ad",
        ("params", "bf16", _PURE, "nemo_automodel/_transformers/auto_model.py"),
        ("master", None, _PURE, _full, "nemo_automodel/_transformers/auto_model.py"),
        ("kernels", "fused", "Liger's kernels", "auto_model.py (use_liger_kernel)"),
        ("compiled_loss", False, "F.cross_entropy", "nemo_automodel/components/loss"),
        (*_APART, "nemo_automodel/components/_peft/lora.py"),
        ("reduce", "fp32", _SUMMED, _sharded, "components/distributed/config.py"),
        (
            "no_sync",
            True,
            _WHOLE,
            _sharded,
            "components/distributed/config.py (defer_fsdp_grad_sync)",
        ),
    ),
    "nanotron": _habits(
        "huggingface/nanotron",
        ("params", "bf16", "accumulate_grad_in_fp32", "src/nanotron/optim/gradient_accumulator.py"),
        ("grads", "fp32", "FP32GradientAccumulator", "src/nanotron/optim/gradient_accumulator.py"),
        ("loss", "vocab_parallel", "sharded_cross_entropy", "src/nanotron/parallel"),
    ),
    "unsloth": _habits(
        "unslothai/unsloth",
        ("kernels", "fused_block", "norms and MLP with their products", "unsloth/kernels"),
        ("loss", "logits_bf16", "Fast_CrossEntropyLoss", "unsloth/kernels/cross_entropy_loss.py"),
        ("compiled_loss", True, "one kernel", "unsloth/kernels/cross_entropy_loss.py"),
        (*_ONCE, "unsloth/kernels/fast_lora.py"),
    ),
    "deepspeed": _habits(
        "deepspeedai/DeepSpeed",
        ("params", "bf16", '"bf16": {"enabled": true}', "deepspeed/runtime/config.py"),
        ("master", "fp32", "ZeRO partitions fp32 weights", _full, "deepspeed/runtime/zero"),
        ("grad_buckets", False, "it reduces in one bucket", "deepspeed/runtime/engine.py"),
        ("step", "sub_groups", "fp32 gradients by sub-groups", _weights_sharded, "zero/stage3.py"),
    ),
}
"""Every framework a job can name, and what it does by default."""

OTHER_NAMES: Final = {
    "automodel": "nemo-automodel",
    "bridge": "megatron",
    "composer": "llm-foundry",
    "factory": "llama-factory",
    "hf": "transformers",
    "huggingface": "transformers",
    "mcore": "megatron",
    "megatronbridge": "megatron",
    "megatroncore": "megatron",
    "megatronlm": "megatron",
    "nemo": "megatron",
    "peft": "transformers",
    "swift": "ms-swift",
    "torchao": "torchtitan",
    "trainer": "transformers",
}
"""What else they are called, or what trains by them: letters and digits, in lower case."""
