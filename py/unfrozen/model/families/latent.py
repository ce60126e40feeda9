"""Models with multi-head latent attention: DeepSeek-V2 and V3, Kimi K2, GLM-4.7 Flash, MiniCPM 3.

Keys and values come from one vector a token (arXiv 2405.04434, section 2.1). Names, order and
defaults are those of transformers 5.24. Layers that predict further tokens are no part of its
models, and not counted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from unfrozen.model import parts
from unfrozen.model.architecture import Architecture
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.families import dense, sparse
from unfrozen.model.fields import Fields
from unfrozen.model.mixers import Latent

MODEL_TYPES: Final = ("deepseek_v2", "deepseek_v3", "glm4_moe_lite", "minicpm3")


def read(model_type: str, fields: Fields) -> Architecture:
    """The architecture named by a config.json of one of `MODEL_TYPES`; raises ModelError."""
    sizes = dense.sizes(model_type, fields, {"floors": True})
    latent = Latent(
        heads=sizes.heads,
        q_rank=fields.count("q_lora_rank"),
        kv_rank=fields.whole("kv_lora_rank"),
        nope=fields.whole("qk_nope_head_dim"),
        rope=fields.whole("qk_rope_head_dim", "head_dim"),
        value=fields.whole("v_head_dim"),
    )
    biased = fields.flag("attention_bias", False)
    a = replace(
        sizes,
        kv_heads=sizes.heads,
        head_dim=latent.nope + latent.rope,
        mixer=latent,
        mlp_bias=model_type != "deepseek_v3" and fields.flag("mlp_bias", False),
    )
    attention = parts.latent("self_attn", a.hidden, a.heads, latent[1:], biased)
    if model_type == "minicpm3":
        return _dense(replace(a, mlp_bias=fields.flag("mlp_bias", False)), attention)
    experts = sparse.grouped(fields)
    if model_type == "glm4_moe_lite":
        kinds = fields.kinds("mlp_layer_types", a.layers, ("dense", "sparse"))
        words = kinds or ["dense", *["sparse"] * (a.layers - 1)]
        first = frozenset(i for i, word in enumerate(words) if word == "dense")
        experts = replace(experts, dense_layers=first)
    if model_type == "deepseek_v2":
        experts = replace(experts, router="softmax", normalised=False)
    return sparse.assembled(replace(a, experts=experts), attention, sparse.deepseek_mixture)


def _dense(a: Architecture, attention: list[Tensor]) -> Architecture:
    norms = [t for name in dense.PRE for t in parts.norm(name, a.hidden)]
    layer = [*attention, *dense.feed(a, {}), *norms]
    before = parts.embedding("model.embed_tokens", a.vocab, a.hidden)
    after = [*parts.norm("model.norm", a.hidden), *parts.head(a.tied, a.vocab, a.hidden)]
    return replace(a, blueprint=Blueprint(before, [layer], [0] * a.layers, after))
