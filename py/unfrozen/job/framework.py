"""What a framework does where a job does not say it: `"framework": "torchtitan"`.

Each word that a framework sets has the file it was read in. A job's own words always count; what
was set, and why, stays with the job (`Chosen`) and is printed with the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from unfrozen.errors import PlanError

Words = Mapping[str, object]


class Word(NamedTuple):
    """A word of `part` ("recipe" or "cluster") that a framework sets: to what, why, read where."""

    part: str
    key: str
    value: object
    why: str
    source: str


class Chosen(NamedTuple):
    """The framework of a job, and the words that it set."""

    name: str
    words: tuple[Word, ...]


class Habit(NamedTuple):
    """A word that a framework sets where `when` holds of the job's recipe and cluster."""

    key: str
    value: object
    why: str
    source: str
    when: Callable[[Words, Words], bool]


_CLUSTER: Final = frozenset({"outer_apart", "root_resharded", "whole_embedding"})


def _always(recipe: Words, cluster: Words) -> bool:
    return True


def _compiled(recipe: Words, cluster: Words) -> bool:
    return recipe.get("kernels", "eager") != "eager"


def _eager(recipe: Words, cluster: Words) -> bool:
    return not _compiled(recipe, cluster)


def _sharded(recipe: Words, cluster: Words) -> bool:
    return cluster.get("sharding") in ("zero2", "zero3")


def _weights_sharded(recipe: Words, cluster: Words) -> bool:
    return cluster.get("sharding") == "zero3"


def _spread(recipe: Words, cluster: Words) -> bool:
    return cluster.get("tensor_parallel", 1) != 1


def _full(recipe: Words, cluster: Words) -> bool:
    return recipe.get("method", "full") == "full"


def _habits(source: str, *habits: tuple[object, ...]) -> tuple[Habit, ...]:
    """(key, value, why, when, file below `source`), the last two left out where they go without."""
    found = []
    for key, value, why, *rest in habits:
        when = next((part for part in rest if callable(part)), _always)
        file = next((part for part in rest if isinstance(part, str)), "")
        where = f"{source} {file}".rstrip()
        found.append(Habit(str(key), value, str(why), where, when))
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
)
_BELOW: Final = "transformers 5.24 src/transformers"
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
    "transformers": _habits(_BELOW, *_TRAINER),
    "trl": _habits(f"its trainers are those of {_BELOW}", *_TRAINER),
    "axolotl": _habits(f"its trainers are those of {_BELOW}", *_TRAINER),
    "ms-swift": _habits(f"its trainers are those of {_BELOW}", *_TRAINER),
    "torchtune": _habits(
        "meta-pytorch/torchtune @bd2a0fc",
        ("params", "bf16", "recipes/configs: dtype: bf16"),
        ("master", None, _PURE, _full, "recipes/configs: dtype: bf16"),
        ("loss", "chunked", "LinearCrossEntropyLoss in chunks", "torchtune/modules/loss"),
        ("outer_apart", True, "custom_sharded_layers", _weights_sharded, "recipes/configs/llama3"),
        ("reduce", "bf16", "no other precision is asked for", _sharded, "training/_distributed.py"),
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
        ("root_resharded", True, "reshard_after_forward, the root too", _weights_sharded, "model.py"),
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
        ("reduce", "fp32", _SUMMED, _sharded, "components/distributed/config.py"),
        ("no_sync", True, _WHOLE, _sharded, "components/distributed/config.py (defer_fsdp_grad_sync)"),
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

_READS_ITS_OWN_WAY: Final = {
    ("prime-rl", "loss", "fused_linear"): Word(
        "recipe",
        "loss",
        "fused_vocab",
        "its fused head takes 2048 words of the vocabulary at a time, for all tokens",
        f"{_PRIME} models/layers/lm_head.py, rl/config.py",
    )
}


def apply(name: object, recipe: Words, cluster: Words) -> tuple[Chosen, Words, Words]:
    """The framework called `name`, and recipe and cluster of a job with what it sets.

    Raises PlanError where nobody knows it.
    """
    if not isinstance(name, str) or name not in FRAMEWORKS:
        bound = f"known frameworks are {', '.join(sorted(FRAMEWORKS))}"
        raise PlanError("framework", name, bound, "choose one, or drop it and say what it does")
    parts: dict[str, dict[str, object]] = {"recipe": {}, "cluster": {}}
    given = {"recipe": recipe, "cluster": cluster}
    words = []
    for habit in FRAMEWORKS[name]:
        part = "cluster" if habit.key in _CLUSTER else "recipe"
        seen = {**recipe, **parts["recipe"]}
        if habit.key in given[part] or habit.key in parts[part]:
            continue
        if habit.when(seen, cluster) and _makes_sense(habit.key, seen, cluster):
            parts[part][habit.key] = habit.value
            words.append(Word(part, habit.key, habit.value, habit.why, habit.source))
    for key, value in recipe.items():
        other = _READS_ITS_OWN_WAY.get((name, key, value)) if isinstance(value, str) else None
        if other:
            parts["recipe"][key] = other.value
            words.append(other)
    changed = {**recipe, **parts["recipe"]}, {**cluster, **parts["cluster"]}
    return Chosen(name, tuple(words)), *changed


def _makes_sense(key: str, recipe: Words, cluster: Words) -> bool:
    """Whether a recipe may have the word at all: a habit of full fine-tuning is none of adapters'."""
    if key == "master":
        return recipe.get("params", "bf16") != "fp32" and recipe.get("optimizer") != "lomo"
    if key == "params":
        return not recipe.get("base") and recipe.get("master") is None
    if key == "whole_compile":
        return recipe.get("kernels", "eager") != "eager"
    return True
