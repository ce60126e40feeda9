"""Mixtures of experts beside Mixtral's and Qwen's, and models with multi-head latent attention.

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

from unfrozen.model import modules
from unfrozen.model.architecture import Architecture, Experts, Latent
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.families import dense
from unfrozen.model.fields import Fields

_PRE: Final = ("input_layernorm", "post_attention_layernorm")
_BIASED: Final[dense.Traits] = {"bias": "attention_bias", "out_bias": "attention_bias"}
_WIDE: Final[dense.Traits] = {**_BIASED, "qk_norm": "width"}

_LAYOUTS: Final[dict[str, dense.Traits]] = {
    "gpt_oss": {**_BIASED, "norm": "rms_fp32"},
    "glm4_moe": {
        "bias": "attention_bias",
        "qk_norm": "head",
        "qk_key": "use_qk_norm",
        "copies_rotated": True,
        "floors": True,
    },
    "dots1": {**_BIASED, "qk_norm": "head"},
    "ernie4_5_moe": {"bias": "use_bias", "out_bias": "use_bias", "mlp_bias": "use_bias"},
    "granitemoe": _BIASED,
    "granitemoeshared": _BIASED,
    "phimoe": {**_BIASED, "norm": "layer"},
    "olmoe": _WIDE,
    "flex_olmo": {**_WIDE, "norm": "rms_fp32", "norm_places": "post"},
    "minimax_m2": {"qk_norm": "width", "copies_rotated": True},
    "llama4_text": _BIASED,
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
        a = replace(a, ffn=fields.integer("intermediate_size_mlp"))
    attention = dense.attend(a, _LAYOUTS[model_type])
    if a.sinks:
        attention = [Tensor("self_attn.sinks", (a.heads,), 0), *attention]
    keys = {"phimoe": "lm_head_bias", "ernie4_5_moe": "use_bias"}
    biased = model_type in keys and fields.flag(keys[model_type], False)
    return assembled(a, attention, _MIXTURES.get(model_type, deepseek_mixture), biased)


def assembled(
    a: Architecture,
    attention: list[Tensor],
    mixture: Callable[[Architecture], list[Tensor]],
    head_bias: bool = False,
) -> Architecture:
    """Return the architecture with its tensors: dense layers and layers with a `mixture`."""
    order = [int(a.is_sparse(index)) for index in range(a.layers)]
    bias = a.norm == "layer"
    names = _PRE if a.norm_places != "post" else (_PRE[1], "post_feedforward_layernorm")
    norms = [t for name in names for t in modules.norm(name, a.hidden, bias)]
    early = a.model_type.startswith("granitemoe")  # which registers its experts last
    kinds = []
    for sparse in (False, True):
        feed = mixture(a) if sparse else _dense(a)
        kinds.append([*attention, *norms, *feed] if early else [*attention, *feed, *norms])
    before = modules.embedding("model.embed_tokens", a.vocab, a.hidden)
    last = modules.norm("model.norm", a.hidden, bias)
    end = modules.head(a.tied, a.vocab, a.hidden, head_bias)
    return replace(a, blueprint=Blueprint(before, kinds, order, [*last, *end]))


def _dense(a: Architecture) -> list[Tensor]:
    name = "feed_forward" if a.model_type == "llama4_text" else "mlp"
    return modules.gated(name, a.hidden, a.ffn, a.mlp_bias)


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


_EXPERTS: Final[dict[str, Callable[[Fields], Experts]]] = {
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


def _of(a: Architecture) -> tuple[int, int, Experts]:
    assert a.experts is not None
    return a.experts.count, a.experts.ffn, a.experts


def deepseek_mixture(a: Architecture) -> list[Tensor]:
    """Return the routed experts, their router and the shared experts."""
    count, ffn, e = _of(a)
    found = modules.mixture("mlp", a.hidden, count, ffn)
    return found + (
        modules.gated("mlp.shared_experts", a.hidden, e.shared_ffn) if e.shared_ffn else []
    )


def _router_first(a: Architecture) -> list[Tensor]:
    count, ffn, _ = _of(a)
    return modules.mixture("mlp", a.hidden, count, ffn, "gate", first=True)


def _phimoe(a: Architecture) -> list[Tensor]:
    count, ffn, _ = _of(a)
    return modules.mixture("mlp", a.hidden, count, ffn, "router", first=True)


def _ernie_mixture(a: Architecture) -> list[Tensor]:
    count, ffn, e = _of(a)
    found = modules.linear("mlp.gate", count, a.hidden)
    found.append(Tensor("mlp.gate.moe_statics.e_score_correction_bias", (1, count)))
    found += modules.stacked("mlp.experts", count, a.hidden, ffn)
    if e.shared_ffn:
        found += modules.gated("mlp.shared_experts", a.hidden, e.shared_ffn, a.mlp_bias)
    return found


def granite_mixture(a: Architecture) -> list[Tensor]:
    """Return Granite's experts and its shared MLP, whose gate and up are one matrix."""
    count, ffn, e = _of(a)
    found = modules.mixture("block_sparse_moe", a.hidden, count, ffn, "router", first=True)
    return found + granite_shared(a.hidden, e.shared_ffn)


def granite_shared(hidden: int, shared: int) -> list[Tensor]:
    """Return Granite's shared MLP."""
    if not shared:
        return []
    found = modules.linear("shared_mlp.input_linear", 2 * shared, hidden, cut=0)
    return found + modules.linear("shared_mlp.output_linear", hidden, shared, cut=1)


def _gpt_oss_mixture(a: Architecture) -> list[Tensor]:
    count, ffn, _ = _of(a)
    at = "mlp.experts"
    return [
        *modules.linear("mlp.router", count, a.hidden, True),
        Tensor(f"{at}.gate_up_proj", (count, a.hidden, 2 * ffn), 2),
        Tensor(f"{at}.gate_up_proj_bias", (count, 2 * ffn), 1),
        Tensor(f"{at}.down_proj", (count, ffn, a.hidden), 1),
        Tensor(f"{at}.down_proj_bias", (count, a.hidden)),
    ]


def _llama4_mixture(a: Architecture) -> list[Tensor]:
    count, ffn, _ = _of(a)
    at = "feed_forward"
    return [
        Tensor(f"{at}.experts.gate_up_proj", (count, a.hidden, 2 * ffn), 2),
        Tensor(f"{at}.experts.down_proj", (count, ffn, a.hidden), 1),
        *modules.linear(f"{at}.router", count, a.hidden),
        *modules.gated(f"{at}.shared_expert", a.hidden, ffn),
    ]


_MIXTURES: Final[dict[str, Callable[[Architecture], list[Tensor]]]] = {
    "gpt_oss": _gpt_oss_mixture,
    "ernie4_5_moe": _ernie_mixture,
    "granitemoe": granite_mixture,
    "granitemoeshared": granite_mixture,
    "phimoe": _phimoe,
    "olmoe": _router_first,
    "flex_olmo": _router_first,
    "minimax_m2": _router_first,
    "llama4_text": _llama4_mixture,
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
    biased = fields.flag("attention_bias", False)
    a = replace(
        sizes,
        kv_heads=sizes.heads,
        head_dim=latent.nope + latent.rope,
        mixer=latent,
        mlp_bias=model_type != "deepseek_v3" and fields.flag("mlp_bias", False),
    )
    attention = modules.latent("self_attn", a.hidden, a.heads, latent[1:], biased)
    if model_type == "minicpm3":
        return _minicpm3(replace(a, mlp_bias=fields.flag("mlp_bias", False)), attention)
    experts = grouped(fields)
    if model_type == "glm4_moe_lite":
        kinds = fields.kinds("mlp_layer_types", a.layers, ("dense", "sparse"))
        layer_types = kinds or ["dense", *["sparse"] * (a.layers - 1)]
        first = frozenset(i for i, word in enumerate(layer_types) if word == "dense")
        experts = replace(experts, dense_layers=first)
    if model_type == "deepseek_v2":
        experts = replace(experts, router="softmax", normalised=False)
    return assembled(replace(a, experts=experts), attention, deepseek_mixture)


def _minicpm3(a: Architecture, attention: list[Tensor]) -> Architecture:
    norms = [t for name in dense.PRE for t in modules.norm(name, a.hidden)]
    layer = [*attention, *dense.feed(a, {}), *norms]
    before = modules.embedding("model.embed_tokens", a.vocab, a.hidden)
    after = [*modules.norm("model.norm", a.hidden), *modules.head(a.tied, a.vocab, a.hidden)]
    return replace(a, blueprint=Blueprint(before, [layer], [0] * a.layers, after))
