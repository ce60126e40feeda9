"""The defaults of frameworks, for jobs with `"framework": "torchtitan"`.

Each default names the file it was read in; one that differs between versions is that of the commit
named. A job can say the version ("transformers 4.48", "axolotl 0.12"); adapters on sharded weights
are those of transformers 4 where it does not. What the job itself sets always counts. What a
framework set, and why, stays with the job (`ChosenFramework`) and is printed with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

from unfrozen.errors import PlanError
from unfrozen.job.cluster import CLUSTER_SETTINGS
from unfrozen.job.recipe import RECIPE_SETTINGS

Settings = Mapping[str, object]
When = Callable[[Settings], bool]
LORA: Final = "lora."
"""What the keys of adapter settings begin with."""


class Default(NamedTuple):
    """A value that a framework gives a setting where `when` holds for the job's recipe and cluster.

    The key alone says whether the setting is of the recipe or the cluster; `lora.dtype` is the
    adapters' dtype.
    """

    key: str
    value: object
    why: str
    source: str
    when: When | None = None


def _compiled(asked: Settings) -> bool:
    return asked.get("kernels", "eager") != "eager"


def _eager(asked: Settings) -> bool:
    return not _compiled(asked)


def _sharded(asked: Settings) -> bool:
    return asked.get("sharding") in ("zero2", "zero3")


def _weights_sharded(asked: Settings) -> bool:
    return asked.get("sharding") == "zero3"


def _spread(asked: Settings) -> bool:
    return asked.get("tensor_parallel", 1) != 1


def _full(asked: Settings) -> bool:
    return asked.get("method", "full") == "full"


def _whole_and_full(asked: Settings) -> bool:
    return _full(asked) and not _weights_sharded(asked)


def _weights_sharded_and_full(asked: Settings) -> bool:
    return _full(asked) and _weights_sharded(asked)


def _not_quantised(asked: Settings) -> bool:
    return asked.get("method") == "lora"


def _sharded_lora(asked: Settings) -> bool:
    return _not_quantised(asked) and _sharded(asked)


def _named_before(asked: Settings, *version: int) -> bool:
    named = cast("tuple[int, ...]", asked["version"])
    return bool(named) and named < version


def _sharded_before(*version: int) -> When:
    """Return whether a job shards gradients by a version before this one, which it names."""
    return lambda asked: _sharded(asked) and _named_before(asked, *version)


def _old(asked: Settings) -> bool:
    """Return whether layers are recomputed as before transformers 5; where no version is said, of
    adapters, which then need more in large batches.
    """
    if asked.get("checkpointing", "none") == "none":
        return False
    if asked["version"]:
        return _named_before(asked, 5)
    return not _full(asked) and _weights_sharded(asked)


def _four_bits(asked: Settings) -> bool:
    return asked.get("method") == "qlora"


def _old_trl_qlora(asked: Settings) -> bool:
    return _four_bits(asked) and _named_before(asked, 0, 25)


def _stacked(asked: Settings) -> bool:
    """Return whether experts below a quantized base are stacked: all since transformers 5, before
    it those of models that came so.
    """
    always = str(asked["model_type"]).startswith(("llama4", "gpt_oss", "granitemoe"))
    return _four_bits(asked) and (
        always or (bool(asked["version"]) and not _named_before(asked, 5))
    )


def _listed(asked: Settings) -> bool:
    return _four_bits(asked) and not _stacked(asked)


def _llama4(asked: Settings) -> bool:
    return str(asked["model_type"]).startswith("llama4")


_WITH_VERSION: Final = re.compile(r" @\w|\d\.\d")
"""What the name of a file outside the framework's own source begins with."""


def _defaults(source: str, *rows: tuple[object, ...]) -> tuple[Default, ...]:
    """Return defaults from (key, value, why, when, file below `source`), two optional."""
    found = []
    for key, value, why, *rest in rows:
        file = next((part for part in rest if isinstance(part, str)), "")
        when = next((part for part in rest if not isinstance(part, str)), None)
        of_others = _WITH_VERSION.search(file) and not file.startswith("with ")
        where = file if of_others else f"{source} {file}".rstrip()
        found.append(Default(str(key), value, str(why), where, cast(When | None, when)))
    return tuple(found)


_NO_SYNC: Final = "gradients are reduced after the last micro-batch only"
_SYNCED: Final = "accelerate before 1.11 reduces gradients of FSDP2 after each micro-batch"
_FSDP2_SYNC: Final = "with accelerate pull request 3762, accelerator.py (no_sync)"
_UPCAST: Final = "logits are upcast to fp32 before the loss"
_ALIVE: Final = "the training loop still references the logits during backward"
_PURE: Final = "weights are bf16, without master weights"
_FP32: Final = "weights are fp32; FSDP gathers them in bf16"
_SUMMED: Final = "FSDP reduces gradients in fp32"
_FSDP: Final = (
    *("params", "fp32", "accelerate casts trainable weights to fp32 under FSDP"),
    *(_weights_sharded_and_full, "with accelerate 1.15 utils/fsdp_utils.py (fsdp2_prepare_model)"),
)
_TRAINER: Final = (
    _FSDP,
    ("no_sync", True, _NO_SYNC, _sharded, "trainer.py (accelerator.no_sync)"),
    ("loss", "logits_fp32", _UPCAST, "loss/loss_utils.py"),
    ("step", "fused", "adamw_torch_fused", "training_args.py (optim)"),
    (
        *("lora.saved_fp32", True, "accelerate casts what trains to fp32 under FSDP"),
        *(_sharded_lora, "with accelerate 1.15 utils/fsdp_utils.py (fsdp2_prepare_model)"),
    ),
    (
        *("expert_padding", "fullest", "every expert of Llama 4 computes all tokens", _llama4),
        "models/llama4/modeling_llama4.py (routed_in)",
    ),
)
_KBIT: Final = ("params", "fp32", "prepare_model_for_kbit_training casts what is not quantized")
_PEFT: Final = ("lora.library", "peft", "adapters are those of PEFT")
_WIDE: Final = ("lora.dtype", "fp32", "PEFT keeps adapters in fp32 (autocast_adapter_dtype)")
_AUTOCAST: Final = ("lora.autocast", True, "bf16=True: their matmuls run in bf16")
_ONCE: Final = ("lora.library", "peft", "q, k and v save their input once")
_APART: Final = ("lora.library", "peft", "each adapter saves its own input")
_BELOW: Final = "transformers 5.24 src/transformers"
_STACKED: Final = ("whole_experts", True, "bitsandbytes quantizes no stacked experts")
_UNQUANTIZED: Final = (
    *_STACKED,
    *(_four_bits, "with transformers 5.24 src/transformers/integrations/bitsandbytes.py"),
)
_FROZEN_TOWER: Final = ("frozen_tower", True, "the vision tower is frozen")
_FACTORY: Final = "hiyouga/LLaMA-Factory @01d87b8 src/llamafactory"
_FACTORY_ADAPTER: Final = f"{_FACTORY} model/adapter.py (cast_trainable_params_to_fp32)"
_SWIFT_ADAPTER: Final = "modelscope/ms-swift @3602360 swift/tuners/lora_layers.py"
_KEMPNER: Final = "KempnerInstitute/KempnerForge @bc775fe"
_PRIME: Final = "PrimeIntellect-ai/prime-rl @c95bd79 src/prime_rl/trainer"

FRAMEWORKS: Final[dict[str, tuple[Default, ...]]] = {
    "torchtitan": _defaults(
        "pytorch/torchtitan @6fc499f",
        ("params", "fp32", _FP32, "torchtitan/config (mixed_precision_param)"),
        ("outer_apart", True, "embedding and head are FSDP units of their own", _weights_sharded),
        ("reduce", "fp32", _SUMMED, _sharded, "torchtitan/config (mixed_precision_reduce)"),
        ("step", "fused", "the optimizer's default", "torchtitan/components/optimizer.py"),
        ("loss", "logits_bf16", "the upcast is compiled away", _compiled, "components/loss.py"),
        ("loss", "logits_fp32", _UPCAST, _eager, "torchtitan/components/loss.py"),
    ),
    "transformers": _defaults(
        _BELOW,
        *_TRAINER,
        (
            *("reentrant", True, "before version 5 (say it), by FSDP1 where weights are sharded"),
            *(_old, "transformers 4.48 src/transformers/modeling_utils.py (use_reentrant)"),
        ),
        (*_KBIT, _four_bits, "with PEFT 0.21 src/peft/utils/other.py"),
        (*_STACKED, _stacked, "integrations/bitsandbytes.py"),
        (
            *("whole_experts", False, "experts are quantized, too, before version 5 (say it)"),
            *(
                _listed,
                "transformers 4.48 src/transformers/integrations/bitsandbytes.py",
            ),
        ),
        (*_PEFT, "with PEFT 0.21 src/peft/mapping_func.py"),
        (*_WIDE, "with PEFT 0.21 src/peft/mapping_func.py (autocast_adapter_dtype)"),
    ),
    "accelerate": _defaults(
        _BELOW, ("no_sync", False, _SYNCED, _sharded_before(1, 11), _FSDP2_SYNC), *_TRAINER[:3]
    ),
    "trl": _defaults(
        f"its trainers are those of {_BELOW}",
        (
            *("loss", "fused_linear", "the head's loss runs in tiles, without full logits"),
            "TRL 1.16 trl/trainer/utils.py (add_fused_lm_head)",
        ),
        (*_KBIT, _old_trl_qlora, "TRL 0.24 trl/models/utils.py; pull request 4335 left it in 0.25"),
        *_TRAINER,
        _UNQUANTIZED,
        (*_PEFT, "TRL 1.16 trl/trainer/sft_trainer.py"),
        (*_WIDE, _not_quantised, "TRL 1.16 trl/trainer/sft_trainer.py"),
        (*_AUTOCAST, _not_quantised, "TRL 1.16 trl/trainer/base_config.py"),
    ),
    "axolotl": _defaults(
        f"its trainers are those of {_BELOW}",
        (
            "no_sync",
            False,
            _SYNCED,
            _sharded_before(0, 13),
            f"{_FSDP2_SYNC}; axolotl 0.12 has 1.10",
        ),
        *_TRAINER,
        _UNQUANTIZED,
        (*_PEFT, "axolotl @067b021 src/axolotl/loaders/adapter.py"),
        (*_WIDE, "axolotl @067b021 src/axolotl/loaders/adapter.py"),
        (*_AUTOCAST, "axolotl @067b021 src/axolotl/core/builders/base.py"),
    ),
    "ms-swift": _defaults(
        f"its trainers are those of {_BELOW}",
        *_TRAINER,
        _UNQUANTIZED,
        (
            *_FROZEN_TOWER,
            "modelscope/ms-swift @815aa28 swift/llm/argument/tuner_args.py (freeze_vit)",
        ),
        (*_PEFT, _SWIFT_ADAPTER),
        (*_WIDE, f"{_SWIFT_ADAPTER} (autocast_adapter_dtype)"),
        (*_AUTOCAST, _SWIFT_ADAPTER),
    ),
    "llama-factory": _defaults(
        f"its trainers are those of {_BELOW}",
        *_TRAINER,
        _UNQUANTIZED,
        ("params", "fp32", "trainable weights are cast to fp32", _whole_and_full, _FACTORY_ADAPTER),
        (
            *("checkpointing", "full", "on by default"),
            f"{_FACTORY} model/model_utils/checkpointing.py",
        ),
        (*_FROZEN_TOWER, f"{_FACTORY} hparams/finetuning_args.py (freeze_vision_tower)"),
        (*_PEFT, _FACTORY_ADAPTER),
        ("lora.dtype", "fp32", "trainable weights are cast to fp32", _FACTORY_ADAPTER),
        ("lora.saved_fp32", True, "trainable weights are cast to fp32", _FACTORY_ADAPTER),
        (*_AUTOCAST, f"{_FACTORY} hparams/parser.py (compute_dtype)"),
    ),
    "torchtune": _defaults(
        "meta-pytorch/torchtune @bd2a0fc",
        ("params", "bf16", "recipes/configs: dtype: bf16"),
        ("master", None, _PURE, _full, "recipes/configs: dtype: bf16"),
        ("loss", "chunked", "LinearCrossEntropyLoss in chunks", "torchtune/modules/loss"),
        ("outer_apart", True, "custom_sharded_layers", _weights_sharded, "recipes/configs/llama3"),
        ("reduce", "bf16", "no reduce_dtype is set", _sharded, "training/_distributed.py"),
        (*_APART, "torchtune/modules/peft/lora.py"),
    ),
    "megatron": _defaults(
        "NVIDIA/Megatron-LM @d98e8a6",
        ("params", "bf16", "--bf16", "megatron/training/arguments.py"),
        ("master", "fp32", "the optimizer has main parameters in fp32", "megatron/core/optimizer"),
        ("grads", "fp32", "--bf16 accumulates gradients in fp32", "megatron/training/arguments.py"),
        ("kernels", "fused", "fused norms, swiglu and rotation", "megatron/training/arguments.py"),
        ("attention", "flash", "Transformer Engine's attention", "megatron/training/arguments.py"),
        ("loss", "vocab_parallel", "in place", "megatron/core/tensor_parallel/cross_entropy.py"),
        (
            *("grad_buckets", False, "gradients are views of the reduced buffer"),
            "megatron/core/distributed/param_and_grad_buffer.py",
        ),
    ),
    "prime-rl": _defaults(
        _PRIME,
        ("params", "fp32", _FP32, "config.py (optimization_dtype)"),
        ("reduce", "fp32", _SUMMED, _sharded, "config.py (reduce_dtype)"),
        ("outer_apart", True, "embedding and head are FSDP units", _weights_sharded, "model.py"),
        (
            "root_resharded",
            True,
            "reshard_after_forward, the root too",
            _weights_sharded,
            "model.py",
        ),
        ("step", "foreach", "AdamW with PyTorch's default implementation", "optim.py"),
        ("loss", "logits_fp32", _UPCAST, "model.py (cast_float_and_contiguous)"),
        ("keeps_outputs", True, _ALIVE, "sft/train.py (out)"),
    ),
    "kempnerforge": _defaults(
        _KEMPNER,
        ("params", "bf16", _PURE, "kempnerforge/config/schema.py (param_dtype)"),
        ("master", None, _PURE, "kempnerforge/distributed/parallel.py"),
        ("reduce", "fp32", _SUMMED, _sharded, "kempnerforge/distributed/parallel.py"),
        ("root_resharded", True, "the root too", _weights_sharded, "distributed/parallel.py"),
        ("no_sync", True, _NO_SYNC, "kempnerforge/training/grad.py"),
        ("loss", "logits_bf16", "F.cross_entropy of bf16 logits", "kempnerforge/training/loss.py"),
        ("compiled_loss", False, "the loss is outside the compiled model", "scripts/train.py"),
        ("keeps_outputs", True, _ALIVE, "scripts/train.py (logits)"),
        ("whole_compile", True, "torch.compile(model)", _compiled, "distributed/parallel.py"),
        ("whole_embedding", True, "it is replicated", _spread, "distributed/tensor_parallel.py"),
        ("expert_padding", "fullest", "grouped_expert_forward", "kempnerforge/model/moe.py"),
        ("router_held", True, "aux_loss is an attribute", "kempnerforge/model/router.py"),
        ("step", "fused", "the default", "kempnerforge/config/optimizer.py"),
    ),
    "llm-foundry": _defaults(
        "mosaicml/llm-foundry @8c8dd48",
        ("params", "fp32", _FP32, "scripts/train/yamls/pretrain (mixed_precision: PURE)"),
        ("reduce", "bf16", "PURE reduces gradients in bf16", _sharded, "scripts/train/yamls"),
        ("attention", "flash", "attn_impl: flash", "llmfoundry/models/mpt/modeling_mpt.py"),
        ("loss", "logits_bf16", "flash-attn's loss", "llmfoundry/models/mpt/modeling_mpt.py"),
        ("compiled_loss", True, "fused_crossentropy", "llmfoundry/models/mpt/modeling_mpt.py"),
    ),
    "litgpt": _defaults(
        "Lightning-AI/litgpt @2685705",
        ("params", "bf16", "--precision bf16-true", "litgpt/pretrain.py"),
        ("master", None, _PURE, _full, "litgpt/pretrain.py"),
        ("no_sync", True, _NO_SYNC, "litgpt/finetune/full.py (no_backward_sync)"),
        ("keeps_outputs", True, _ALIVE, "litgpt/finetune/full.py (logits)"),
    ),
    "nemo-automodel": _defaults(
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
            _NO_SYNC,
            _sharded,
            "components/distributed/config.py (defer_fsdp_grad_sync)",
        ),
    ),
    "unsloth": _defaults(
        "unslothai/unsloth",
        ("kernels", "fused_block", "norms and MLP fused with their matmuls", "unsloth/kernels"),
        ("loss", "logits_bf16", "Fast_CrossEntropyLoss", "unsloth/kernels/cross_entropy_loss.py"),
        ("compiled_loss", True, "one kernel", "unsloth/kernels/cross_entropy_loss.py"),
        (*_ONCE, "unsloth/kernels/fast_lora.py"),
        (*_WIDE, "unsloth/models/_utils.py (float32_mixed_precision)"),
        (*_AUTOCAST, "unsloth/kernels/fast_lora.py"),
    ),
    "deepspeed": _defaults(
        "deepspeedai/DeepSpeed",
        ("params", "bf16", '"bf16": {"enabled": true}', "deepspeed/runtime/config.py"),
        ("master", "fp32", "ZeRO partitions fp32 weights", _full, "deepspeed/runtime/zero"),
        (
            "grad_buckets",
            False,
            "gradients are reduced in one bucket",
            "deepspeed/runtime/engine.py",
        ),
        ("step", "sub_groups", "fp32 gradients by sub-groups", _weights_sharded, "zero/stage3.py"),
    ),
}
"""Every framework that a job can name, with its defaults."""

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
"""Other names of the frameworks, and what trains by them: lower-case letters and digits."""

_OF_EXPERTS: Final = frozenset(
    key for key, setting in RECIPE_SETTINGS.items() if setting.group == "Experts"
)
PARTS: Final = ("recipe", "cluster")


class AppliedDefault(NamedTuple):
    """A setting that a framework set in `part`, "recipe" or "cluster", with reason and source."""

    part: str
    key: str
    value: object
    why: str
    source: str


class ChosenFramework(NamedTuple):
    """The framework of a job, and the defaults of it that apply."""

    name: str
    defaults: tuple[AppliedDefault, ...]


class _Translation(NamedTuple):
    """A setting that a framework implements as another: `value` for `asked`, where `when` holds."""

    key: str
    asked: str
    value: str
    why: str
    source: str
    when: Callable[[Settings], bool]


def _checkpointed(asked: Settings) -> bool:
    return asked.get("checkpointing", "none") != "none"


def _always(asked: Settings) -> bool:
    return bool(asked)


_TRANSLATIONS: Final = {
    "prime-rl": (
        _Translation(
            *("loss", "fused_linear", "fused_vocab"),
            "its fused head takes 2048 tokens of the vocabulary at a time, for all positions",
            "PrimeIntellect-ai/prime-rl @c95bd79 src/prime_rl/trainer/models/layers/lm_head.py",
            _always,
        ),
        _Translation(
            *("kernels", "fused", "eager"),
            "FlashAttention breaks the graph of a compiled layer; within a checkpoint PyTorch then"
            " compiles none of it",
            "PrimeIntellect-ai/prime-rl @c95bd79 src/prime_rl/trainer/model.py (apply_compile);"
            " torch/utils/checkpoint.py (_disable_dynamo)",
            _checkpointed,
        ),
    )
}
"""Values that frameworks implement in another way than most."""


def apply_framework(
    name: object,
    recipe: Settings,
    cluster: Settings,
    model_type: str = "",
    *,
    experts: bool = False,
    tower: bool = False,
    whole: bool = False,
) -> tuple[ChosenFramework, Settings, Settings]:
    """Return the framework called `name`, and recipe and cluster of a job with its defaults
    applied.

    `model_type` is that of the model; `experts` and `tower` say whether it has any, `whole` whether
    its embedding or head trains beside adapters. Raises PlanError for a framework that is not in
    the table.
    """
    name, version = _name_and_version(name)
    asked = {**recipe, **cluster, **_adapter_settings(recipe), "model_type": model_type}
    asked["version"] = version
    applied = []
    for default in FRAMEWORKS[name]:
        key = default.key
        idle = (key in _OF_EXPERTS and not experts) or (key == "frozen_tower" and not tower)
        idle = idle or (key == "lora.saved_fp32" and not whole)
        holds = default.when is None or default.when(asked)
        if not idle and holds and key not in asked and _is_allowed(key, asked):
            asked[key] = default.value
            part = "cluster" if key in CLUSTER_SETTINGS else "recipe"
            applied.append(AppliedDefault(part, key, default.value, default.why, default.source))
    for key, given, value, why, source, when in _TRANSLATIONS.get(name, ()):
        if recipe.get(key) == given and when(asked):
            applied.append(AppliedDefault("recipe", key, value, why, source))
    set_by = {part: {d.key: d.value for d in applied if d.part == part} for part in PARTS}
    lora_keys = [key for key in set_by["recipe"] if key.startswith(LORA)]
    lora = {key.removeprefix(LORA): set_by["recipe"].pop(key) for key in lora_keys}
    if lora:
        given_lora = recipe.get("lora")
        own = given_lora if isinstance(given_lora, Mapping) else {}
        set_by["recipe"]["lora"] = {**lora, **own}
    both = {**recipe, **set_by["recipe"]}, {**cluster, **set_by["cluster"]}
    return ChosenFramework(name, tuple(applied)), *both


def _adapter_settings(recipe: Settings) -> dict[str, object]:
    """Return the settings of adapters by the keys that defaults have for them."""
    given = recipe.get("lora")
    return {LORA + key: v for key, v in given.items()} if isinstance(given, Mapping) else {}


def adapter_defaults(name: str, method: str, sharding: str) -> dict[str, Any]:
    """Return the settings that a framework's adapters have, by name in `lora`."""
    asked = {"method": method, "sharding": sharding}
    return {
        each.key.removeprefix(LORA): each.value
        for each in FRAMEWORKS[name]
        if each.key.startswith(LORA) and (each.when is None or each.when(asked))
    }


_NAMED: Final = re.compile(r"(.*?)(?:[\s=@v-]+(\d+(?:\.\d+)*))?")


def _name_and_version(name: object) -> tuple[str, tuple[int, ...]]:
    """Return the framework's name in the table, for any spelling: Megatron-LM, torchTitan; and the
    numbers of its version, as in transformers 4.48, or none.
    """
    parts = _NAMED.fullmatch(name.strip()) if isinstance(name, str) else None
    letters = _letters(parts[1]) if parts else ""
    found = {_letters(each): each for each in FRAMEWORKS} | OTHER_NAMES
    if letters not in found:
        bound = f"known frameworks are {', '.join(sorted(FRAMEWORKS))}"
        raise PlanError(
            "framework", name, bound, "choose one, or drop it and give the settings themselves"
        )
    assert parts
    return found[letters], tuple(map(int, parts[2].split("."))) if parts[2] else ()


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _is_allowed(key: str, asked: Settings) -> bool:
    """Return whether a recipe may have the setting beside what else it asks for."""
    if key in ("master", "grads") and asked.get("method") in ("lora", "qlora"):
        return False
    if key.startswith(LORA):
        return asked.get("method") in ("lora", "qlora")
    if key == "master":
        return asked.get("params", "bf16") != "fp32"
    if key == "params":
        return asked.get("master") is None and not (_full(asked) and asked.get("base"))
    return True
