"""The largest model that a GPU can train.

It is of a family that has every size, Llama 2 drawn larger or smaller: width 4096 with 32 layers is
Llama-2-7B itself, and depth follows width. One sequence of 2048 tokens, layers recomputed, so that
what is left is the states.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from unfrozen.hardware import Gpu
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.model import ModelConfig
from unfrozen.plan import plan_job

_WIDTH, _LAYERS, _FFN, _VOCAB, _HEAD = 4096, 32, 11_008, 32_000, 64
SEQ_LEN: Final = 2048
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
    return _safe_bytes(model, gpu.bf16, tuple(recipe.items())) <= gpu.capacity_bytes


@lru_cache(maxsize=4 * _MOST)  # every GPU asks for the same models
def _safe_bytes(model: ModelConfig, bf16: bool, recipe: tuple[tuple[str, Any], ...]) -> int:
    half = {} if bf16 else {"params": "fp16", "compute": "fp16", "grads": "fp16"}
    length = min(SEQ_LEN, model.architecture.positions or SEQ_LEN)
    read = Recipe.read({"attention": "flash", "seq_len": length} | half | dict(recipe))
    return plan_job(Job(model, read, Cluster())).safe_bytes
