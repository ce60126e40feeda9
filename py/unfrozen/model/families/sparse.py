"""Mixtures of experts, and models with multi-head latent attention.

Names, order and defaults are those of transformers 5.24, which stores the experts of a layer in two
stacked tensors; gpt-oss' checkpoints hold theirs in MXFP4, which training unpacks. With latent
attention (DeepSeek-V2 and V3, Kimi K2, GLM-4.7 Flash, MiniCPM 3) keys and values come from one
vector a token (arXiv 2405.04434, section 2.1); layers that predict further tokens are no part of
transformers' models, and not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from unfrozen.model.architecture import Architecture, Experts, Latent
from unfrozen.model.families import dense
from unfrozen.model.fields import Fields

_LAYOUTS: Final[dict[str, dense.Traits]] = {
    "mixtral": {},
    "qwen2_moe": {},
    "qwen3_moe": {},
    "gpt_oss": {"norm": "rms_fp32"},
    "glm4_moe": {"copies_rotated": True, "floors": True},
    "dots1": {},
    "ernie4_5_moe": {},
    "granitemoe": {},
    "granitemoeshared": {},
    "phimoe": {"norm": "layer"},
    "olmoe": {},
    "flex_olmo": {"norm": "rms_fp32", "norm_places": "post"},
    "minimax_m2": {"copies_rotated": True},
    "llama4_text": {},
}

MODEL_TYPES: Final = tuple(_LAYOUTS)


def read(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture named by a config.json of one of `MODEL_TYPES`; raises ModelError."""
    a = replace(
        dense.sizes(model_type, fields, _LAYOUTS[model_type]),
        experts=_EXPERTS[model_type](fields),
        sinks=model_type == "gpt_oss",
    )
    if model_type == "llama4_text":
        return replace(a, ffn=fields.integer("intermediate_size_mlp"))
    return a


def first_dense(fields: Fields) -> frozenset[int]:
    """Return the indices of the layers before the first mixture."""
    return frozenset(range(min(fields.count("first_k_dense_replace"), 10_000)))


def grouped(fields: Fields) -> Experts:
    """Return DeepSeek's experts: routed ones and the shared ones as one."""
    ffn = fields.integer("moe_intermediate_size")
    return Experts(
        count=fields.integer("n_routed_experts", "num_experts"),
        per_token=fields.integer("num_experts_per_tok", default=1),
        ffn=ffn,
        shared_ffn=ffn * fields.count("n_shared_experts"),
        dense_layers=first_dense(fields),
        normalised=fields.flag("norm_topk_prob", False),
        shared_gate=False,
        router="sigmoid",
        groups=fields.integer("n_group", default=1),
        top_groups=fields.integer("topk_group", default=1),
    )


def _local(fields: Fields) -> Experts:
    """Return the experts as wide as `intermediate_size`."""
    return Experts(
        count=fields.integer("num_local_experts", "num_experts"),
        per_token=fields.integer("num_experts_per_tok"),
        ffn=fields.integer("intermediate_size"),
        normalised=fields.flag("norm_topk_prob", False),
        shared_gate=False,
    )


def _gpt_oss(fields: Fields) -> Experts:
    return replace(_local(fields), router="gpt_oss")


def _minimax(fields: Fields) -> Experts:
    return replace(_local(fields), router="sigmoid", normalised=True)


def _granite(fields: Fields) -> Experts:
    shared = fields.count("shared_intermediate_size")
    return replace(_local(fields), router="top", shared_ffn=shared)


def _ernie(fields: Fields) -> Experts:
    layers, ffn = fields.integer("num_hidden_layers"), fields.integer("moe_intermediate_size")
    every = fields.integer("moe_layer_interval")
    last = fields.last("moe_layer_end_index", layers)
    within = range(fields.count("moe_layer_start_index"), last + 1)
    outside = {i for i in range(layers) if (i + 1) % every or i not in within}
    return Experts(
        count=fields.integer("moe_num_experts", "num_experts"),
        per_token=fields.integer("moe_k", "num_experts_per_tok"),
        ffn=ffn,
        shared_ffn=ffn * fields.count("moe_num_shared_experts"),
        dense_layers=frozenset(outside),
        normalised=True,
        shared_gate=False,
        router="ernie",
    )


def _llama4(fields: Fields) -> Experts:
    layers, ffn = fields.integer("num_hidden_layers"), fields.integer("intermediate_size")
    every = fields.integer("interleave_moe_layer_step")
    sparse = set(fields.numbers("moe_layers", list(range(every - 1, layers, every))))
    return Experts(
        count=fields.integer("num_local_experts"),
        per_token=fields.integer("num_experts_per_tok"),
        ffn=ffn,
        shared_ffn=ffn,
        dense_layers=frozenset(range(layers)) - sparse,
        shared_gate=False,
        router="every",
    )


def _mixtral(fields: Fields) -> Experts:
    return replace(_local(fields), normalised=True, shared_gate=True)


def qwen(fields: Fields) -> Experts:
    """Return Qwen's experts, which one expert that all tokens share may stand beside."""
    return Experts(
        count=fields.integer("num_experts", "num_local_experts"),
        per_token=fields.integer("num_experts_per_tok"),
        ffn=fields.integer("moe_intermediate_size"),
        shared_ffn=fields.count("shared_expert_intermediate_size"),
        every=fields.integer("decoder_sparse_step", default=1),
        dense_layers=fields.indices("mlp_only_layers"),
        normalised=fields.flag("norm_topk_prob", False),
    )


_EXPERTS: Final[dict[str, Callable[[Fields], Experts]]] = {
    "mixtral": _mixtral,
    "qwen2_moe": qwen,
    "qwen3_moe": qwen,
    "gpt_oss": _gpt_oss,
    "glm4_moe": grouped,
    "dots1": grouped,
    "ernie4_5_moe": _ernie,
    "granitemoe": _granite,
    "granitemoeshared": _granite,
    "phimoe": _local,
    "olmoe": _local,
    "flex_olmo": _local,
    "minimax_m2": _minimax,
    "llama4_text": _llama4,
}


LATENT_TYPES: Final = ("deepseek_v2", "deepseek_v3", "glm4_moe_lite", "minicpm3")


def read_latent(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture of a config.json of one of `LATENT_TYPES`; raises ModelError."""
    sizes = dense.sizes(model_type, fields, {"floors": True})
    latent = Latent(
        heads=sizes.heads,
        q_rank=fields.count("q_lora_rank"),
        kv_rank=fields.integer("kv_lora_rank"),
        nope=fields.integer("qk_nope_head_dim"),
        rope=fields.integer("qk_rope_head_dim", "head_dim"),
        value=fields.integer("v_head_dim"),
    )
    a = replace(sizes, kv_heads=sizes.heads, head_dim=latent.nope + latent.rope, mixer=latent)
    if model_type == "minicpm3":
        return a
    experts = grouped(fields)
    if model_type == "glm4_moe_lite":
        kinds = fields.kinds("mlp_layer_types", a.layers, ("dense", "sparse"))
        layer_types = kinds or ["dense", *["sparse"] * (a.layers - 1)]
        first = frozenset(i for i, word in enumerate(layer_types) if word == "dense")
        experts = replace(experts, dense_layers=first)
    if model_type == "deepseek_v2":
        experts = replace(experts, router="softmax", normalised=False)
    return replace(a, experts=experts)
