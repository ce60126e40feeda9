"""The Llama style: RMSNorm, rotary positions, grouped-query attention, gated MLP.

Llama, SmolLM, Mistral, Qwen2, Qwen3, Gemma 1–3 (text), Phi-3, OLMo 1–2 and the mixtures Mixtral,
Qwen2-MoE, Qwen3-MoE differ in a few choices, all in `_CHOICES`. Names, order and defaults are
those of transformers 5 (`modeling_*.py`, `configuration_*.py` of each family).
"""

from __future__ import annotations

from typing import Final, TypedDict

from unfrozen.model.architecture import (
    Architecture,
    Experts,
    NormKind,
    NormPlaces,
    QkNorm,
    divided,
)
from unfrozen.model.fields import MOST_LAYERS, Fields


class _Choice(TypedDict, total=False):
    kv_heads: int  # default where the key is missing; else as many as heads
    head_dim: int  # default where the key is missing; else D / H
    tied: bool
    qk_norm: QkNorm
    norm: NormKind
    norm_places: NormPlaces
    activation: str
    fused_projections: bool
    copies_rotated: bool
    must_divide: bool  # D by H even where head_dim is given


_GEMMA: Final[_Choice] = {
    "head_dim": 256,
    "tied": True,
    "norm": "rms_fp32",
    "activation": "gelu_pytorch_tanh",
}
_SANDWICH: Final[_Choice] = {**_GEMMA, "kv_heads": 4, "norm_places": "sandwich"}

_CHOICES: Final[dict[str, _Choice]] = {
    "llama": {"must_divide": True},
    "mistral": {"kv_heads": 8},
    "qwen2": {"kv_heads": 32},
    "qwen3": {"kv_heads": 32, "head_dim": 128, "qk_norm": "head"},
    "gemma": {**_GEMMA, "kv_heads": 16},
    "gemma2": _SANDWICH,
    "gemma3_text": {**_SANDWICH, "qk_norm": "head", "must_divide": True},
    "phi3": {"fused_projections": True, "copies_rotated": True},
    "olmo": {"norm": "layer_fp32"},
    "olmo2": {"qk_norm": "width", "norm": "rms_fp32", "norm_places": "post"},
    "mixtral": {"kv_heads": 8},
    "qwen2_moe": {"kv_heads": 16},
    "qwen3_moe": {"kv_heads": 4, "qk_norm": "head"},
}

MODEL_TYPES: Final = tuple(_CHOICES)
_CAPPED: Final = ("gemma2", "gemma3_text")


def read(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture named by a config.json of one of `MODEL_TYPES`; raises ModelError."""
    choice = _CHOICES[model_type]
    hidden = fields.integer("hidden_size")
    heads = fields.integer("num_attention_heads")
    head_dim = fields.integer("head_dim", default=choice.get("head_dim", 0))
    if head_dim == 0 or choice.get("must_divide"):
        head_dim = head_dim or divided("num_attention_heads", hidden, heads)
        divided("num_attention_heads", hidden, heads)
    experts = _read_experts(model_type, fields)
    return Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=fields.integer("num_hidden_layers", at_most=MOST_LAYERS),
        heads=heads,
        kv_heads=fields.integer("num_key_value_heads", default=choice.get("kv_heads", heads)),
        head_dim=head_dim,
        ffn=fields.integer("intermediate_size"),
        vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings", choice.get("tied", False)),
        activation=fields.word(
            "hidden_activation", "hidden_act", default=choice.get("activation", "silu")
        ),
        qk_norm=choice.get("qk_norm", "none"),
        norm=choice.get("norm", "rms"),
        norm_places=choice.get("norm_places", "pre"),
        fused_projections=choice.get("fused_projections", False),
        copies_rotated=choice.get("copies_rotated", False),
        experts=experts,
        caps_scores=_caps(model_type, fields, "attn_logit_softcapping"),
        caps_logits=_caps(model_type, fields, "final_logit_softcapping"),
    )


def _caps(model_type: str, fields: Fields, key: str) -> bool:
    """Return whether a soft cap is in force: Gemma 2 has one unless its config says null."""
    return fields.is_set(key, model_type == "gemma2") if model_type in _CAPPED else False


def _read_experts(model_type: str, fields: Fields) -> Experts | None:
    if model_type == "mixtral":
        count = fields.integer("num_local_experts", "num_experts", default=8)
        per_token = fields.integer("num_experts_per_tok", default=2)
        return Experts(count, per_token, fields.integer("intermediate_size"), normalised=True)
    if not model_type.endswith("_moe"):
        return None
    return Experts(
        count=fields.integer("num_experts", "num_local_experts"),
        per_token=fields.integer("num_experts_per_tok"),
        ffn=fields.integer("moe_intermediate_size"),
        shared_ffn=fields.integer("shared_expert_intermediate_size", default=5632)
        if model_type == "qwen2_moe"
        else 0,
        every=fields.integer("decoder_sparse_step", default=1),
        dense_layers=fields.indices("mlp_only_layers"),
        normalised=fields.flag("norm_topk_prob", False),
    )
