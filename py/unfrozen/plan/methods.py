"""The memory of full fine-tuning, LoRA and QLoRA on a GPU, and the largest model it can train.

Every bar of the chart is a plan of `unfrozen.plan` at its peak, for one sequence of 2048 tokens and
FlashAttention: mixed-precision AdamW for what trains, adapters of rank 16 beside every linear layer
(Hu et al., arXiv 2106.09685); under QLoRA 4-bit NormalFloat with doubly quantized scales (Dettmers
et al., arXiv 2305.14314). Totals quoted elsewhere are kept beside ours; the chapter says why they
differ.

The largest model is of a family that has every size, Llama 2 drawn larger or smaller: width 4096
with 32 layers is Llama-2-7B itself, and depth follows width. One sequence of 2048 tokens, layers
recomputed, so that what is left is the states.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from unfrozen.hardware import Gpu
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import Plan, plan, plan_job
from unfrozen.publish import Line, Plot, Threshold
from unfrozen.units import gb

SEQ_LEN: Final = 2048
RANK: Final = 16
SEVEN_B: Final = "meta-llama/Llama-2-7b-hf"
SEVENTY_B: Final = "meta-llama/Llama-2-70b-hf"
THRESHOLDS: Final = (
    Threshold("RTX 4090", 24),
    Threshold("RTX A6000", 48),
    Threshold("A100 80 GB", 80),
)
PARTS: Final = {
    "weights": ("params", "reference", "quant_constants", "adapters"),
    "gradients": ("grads",),
    "optimizer": ("master", "moments"),
    "activations": ("activations", "logits_loss"),
}
"""The parts of a bar and the components they gather; what is left is `other`."""

_LORA: Final[dict[str, object]] = {
    "method": "lora",
    "lora": {"rank": RANK, "dtype": "bf16", "library": "peft"},
}
_QLORA: Final = _LORA | {"method": "qlora", "base": "nf4-dq"}
_AGAIN: Final[dict[str, object]] = {"checkpointing": "full"}
_BARS: Final[tuple[tuple[str, str, dict[str, object], float], ...]] = (
    ("Full 7B", SEVEN_B, {}, 112.0),
    ("LoRA 7B", SEVEN_B, _LORA, 28.0),
    ("QLoRA 7B", SEVEN_B, _QLORA, 10.0),
    ("QLoRA 70B", SEVENTY_B, _QLORA, 46.0),
)
"""Label, model, recipe, and the total that is usually quoted, in decimal gigabytes."""


@dataclass(frozen=True, slots=True)
class MethodMemory:
    """One bar of the chart, in bytes, and the total that is usually quoted for it.

    `other` is working memory, what the allocator holds in reserve and the context of the driver.
    """

    label: str
    weights: int
    gradients: int
    optimizer: int
    activations: int
    other: int
    quoted_gb: float

    @property
    def total(self) -> int:
        """What the GPU has to hold."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.other


def planned(hub_id: str, recipe: dict[str, object]) -> Plan:
    """Return the plan behind a bar."""
    fixed = {"seq_len": SEQ_LEN, "attention": "flash"}
    return plan({"model": CATALOGUE[hub_id].config, "recipe": fixed | recipe})


def methods(*, recomputed: bool = False) -> list[MethodMemory]:
    """Return the four bars, with activations saved or layers recomputed."""
    setting = _AGAIN if recomputed else {}
    return [
        _method(label, planned(hub_id, recipe | setting), quoted_gb)
        for label, hub_id, recipe, quoted_gb in _BARS
    ]


def _method(label: str, found: Plan, quoted_gb: float) -> MethodMemory:
    components = found.instants[found.peak_instant]
    parts = {name: sum(components.get(key, 0) for key in keys) for name, keys in PARTS.items()}
    other = found.device_bytes - sum(parts.values())
    return MethodMemory(label, **parts, other=other, quoted_gb=quoted_gb)


def chart() -> Plot:
    """Return the stacked bars with the GPUs they fit, in decimal gigabytes."""
    bars = methods()
    return Plot(
        title="Memory by method, activations saved",
        x_label="Method",
        y_label="Memory",
        x_data=tuple(bar.label for bar in bars),
        lines=tuple(
            Line(part.capitalize(), tuple(round(gb(getattr(bar, part)), 3) for bar in bars))
            for part in (*PARTS, "other")
        ),
        type="stacked_bar",
        thresholds=THRESHOLDS,
        y_unit="GB",
    )


_WIDTH, _LAYERS, _FFN, _VOCAB, _HEAD = 4096, 32, 11_008, 32_000, 64
MIXED: Final[dict[str, Any]] = {"checkpointing": "full"}
"""AdamW in mixed precision: 16 bytes per parameter."""
EIGHT_BIT: Final[dict[str, Any]] = MIXED | {
    "master": None,
    "moments": "int8",
    "rounding": "stochastic",
}
"""Moments of a byte, no master copy, updates rounded at random: 6 bytes per parameter."""
_MOST: Final = 1024  # of `_HEAD`: wider than any published model


@lru_cache(maxsize=_MOST)
def llama(heads: int) -> ModelConfig:
    """Return the model of the family with so many heads of 64, and half as many layers."""
    width = heads * _HEAD
    return ModelConfig.from_hf(
        {
            "model_type": "llama",
            "hidden_size": width,
            "intermediate_size": round(_FFN * width / _WIDTH),
            "num_hidden_layers": max(1, round(_LAYERS * width / _WIDTH)),
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "vocab_size": _VOCAB,
            "tie_word_embeddings": False,
        }
    )


def largest(gpu: Gpu, recipe: dict[str, Any]) -> int | None:
    """Return the parameters of the largest model of the family that one GPU can train; None where
    the GPU lacks the recipe's precision.
    """
    if not gpu.bf16 and recipe.get("rounding", "nearest") != "nearest":  # that needs bf16
        return None
    low, high = 0, _MOST
    while high - low > 1:
        middle = (low + high) // 2
        if _fits(llama(middle), gpu, recipe):
            low = middle
        else:
            high = middle
    return llama(low).num_parameters if low else 0


def _fits(model: ModelConfig, gpu: Gpu, recipe: dict[str, Any]) -> bool:
    room = gpu.capacity_bytes - gpu.context_bytes
    return _safe_bytes(model, gpu.bf16, tuple(recipe.items())) <= room


@lru_cache(maxsize=4 * _MOST)  # every GPU asks for the same models
def _safe_bytes(model: ModelConfig, bf16: bool, recipe: tuple[tuple[str, Any], ...]) -> int:
    half = {} if bf16 else {"params": "fp16", "compute": "fp16", "grads": "fp16"}
    length = min(SEQ_LEN, model.architecture.positions or SEQ_LEN)
    read = Recipe.read({"attention": "flash", "seq_len": length} | half | dict(recipe))
    found = plan_job(Job(model, read, Cluster()))
    return found.safe_bytes - found.beside_bytes
