"""Attention by turns with a linear rule or a short convolution: Qwen3-Next, Qwen3.5, LFM2.

Names, order and defaults are those of transformers 5.24 (`models/qwen3_next`, `models/lfm2`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from unfrozen.model import parts
from unfrozen.model.architecture import Architecture, Experts
from unfrozen.model.blueprint import Tensor
from unfrozen.model.families import dense
from unfrozen.model.families.hybrid import by_kind
from unfrozen.model.families.mamba import convolution
from unfrozen.model.fields import Fields
from unfrozen.model.mixers import Convolution, Delta

MODEL_TYPES: Final = (
    "qwen3_next",
    "qwen3_5_text",
    "qwen3_5_moe_text",
    "lfm2",
    "lfm2_moe",
)

_KNOWN: Final = ("full_attention", "linear_attention")


def read(model_type: str, fields: Fields) -> Architecture:
    """The architecture named by a config.json of one of `MODEL_TYPES`; raises ModelError."""
    return _lfm2(model_type, fields) if model_type.startswith("lfm2") else _qwen(model_type, fields)


def _qwen(model_type: str, fields: Fields) -> Architecture:
    a = _qwen_sizes(model_type, fields)
    mixer = Delta(
        key_heads=fields.whole("linear_num_key_heads"),
        value_heads=fields.whole("linear_num_value_heads"),
        key_dim=fields.whole("linear_key_head_dim"),
        value_dim=fields.whole("linear_value_head_dim"),
        conv=fields.whole("linear_conv_kernel_dim"),
        joined=model_type == "qwen3_next",
    )
    norms = [t for name in dense.PRE for t in parts.norm(name, a.hidden)]
    inside = {
        "linear_attention": (replace(a, mixer=mixer), _delta(a.hidden, mixer)),
        "full_attention": (a, _gated_attention(a)),
    }
    feeds = {"dense": parts.gated("mlp", a.hidden, a.ffn)}
    if a.experts:
        feeds["sparse"] = _mixture(a, a.experts)
    kinds = {
        f"{word} {feed}": (inside[word][0], [*inside[word][1], *feeds[feed], *norms])
        for word in inside
        for feed in feeds
    }
    every = fields.whole("full_attention_interval", default=4)
    default = [_KNOWN[bool((index + 1) % every)] for index in range(a.layers)]
    words = fields.kinds("layer_types", a.layers, _KNOWN) or default
    named = [f"{w} {'sparse' if a.is_sparse(i) else 'dense'}" for i, w in enumerate(words)]
    return by_kind(a, kinds, named, "model.norm")


def _qwen_sizes(model_type: str, fields: Fields) -> Architecture:
    layout: dense.Traits = {"bias": "attention_bias", "out_bias": "attention_bias"}
    moe = model_type == "qwen3_5_moe_text"
    a = dense.sizes(model_type, fields, {**layout, "qk_norm": "head", "norm": "rms_fp32"}, not moe)
    a = replace(a, gates_output=True, copies_rotated=True)
    if model_type == "qwen3_5_text" or fields.count("num_experts") == 0:
        return a
    experts = Experts(
        count=fields.whole("num_experts"),
        per_token=fields.whole("num_experts_per_tok"),
        ffn=fields.whole("moe_intermediate_size"),
        shared_ffn=fields.whole("shared_expert_intermediate_size"),
        every=1 if moe else fields.whole("decoder_sparse_step", default=1),
        dense_layers=frozenset() if moe else fields.indices("mlp_only_layers"),
        normalised=moe or fields.flag("norm_topk_prob", True),
    )
    return replace(a, experts=experts, ffn=experts.ffn if moe else a.ffn)


def _gated_attention(a: Architecture) -> list[Tensor]:
    """The queries' matrix also makes the gate that the output passes."""
    heads = a.heads, a.kv_heads, a.head_dim
    found = parts.attention("self_attn", a.hidden, heads, a.qkv_bias, a.out_bias)
    both = [t.with_length(2 * t.shape[0]) if "q_proj" in t.name else t for t in found]
    norms = [t for name in ("q_norm", "k_norm") for t in parts.norm(name, a.head_dim)]
    return [*both, *(replace(t, name=f"self_attn.{t.name}") for t in norms)]


def _delta(hidden: int, m: Delta) -> list[Tensor]:
    at = "linear_attn"
    found = [Tensor(f"{at}.{name}", (m.value_heads,), 0) for name in ("dt_bias", "A_log")]
    found += convolution(f"{at}.conv1d", 2 * m.keys + m.values, m.conv, False)
    out = [*parts.norm(f"{at}.norm", m.value_dim)]
    out += parts.linear(f"{at}.out_proj", hidden, m.values, cut=1)
    widths = {"qkv": 2 * m.keys + m.values, "z": m.values, "b": m.value_heads, "a": m.value_heads}
    if not m.joined:
        for name, width in widths.items():
            out += parts.linear(f"{at}.in_proj_{name}", width, hidden, cut=0)
        return found + out
    found += parts.linear(f"{at}.in_proj_qkvz", widths["qkv"] + m.values, hidden, cut=0)
    found += parts.linear(f"{at}.in_proj_ba", 2 * m.value_heads, hidden, cut=0)
    return found + out


def _mixture(a: Architecture, e: Experts) -> list[Tensor]:
    found = parts.mixture("mlp", a.hidden, e.count, e.ffn, "gate", first=True)
    found += parts.gated("mlp.shared_expert", a.hidden, e.shared_ffn)
    return found + parts.linear("mlp.shared_expert_gate", 1, a.hidden)


def _lfm2(model_type: str, fields: Fields) -> Architecture:
    a = dense.sizes(model_type, fields, {"qk_norm": "head"})
    feeds = {"dense": ("w1", "w3", "w2")}
    if model_type == "lfm2":
        tied = fields.flag("tie_embedding", a.tied)
        a = replace(a, ffn=_adjusted(fields), tied=tied)
    else:
        first = frozenset(range(min(a.layers, fields.count("num_dense_layers"))))
        experts = Experts(
            count=fields.whole("num_experts"),
            per_token=fields.whole("num_experts_per_tok"),
            ffn=fields.whole("moe_intermediate_size"),
            dense_layers=first,
            normalised=fields.flag("norm_topk_prob", True),
            router="sigmoid",
        )
        a = replace(a, experts=experts)
    mixer, bias = (
        Convolution(a.hidden, fields.whole("conv_L_cache")),
        fields.flag("conv_bias", False),
    )
    names = ("q_proj", "k_proj", "v_proj", "out_proj")
    heads = a.heads, a.kv_heads, a.head_dim
    full = parts.attention("self_attn", a.hidden, heads, names=names)
    full += parts.norm("self_attn.q_layernorm", a.head_dim)
    full += parts.norm("self_attn.k_layernorm", a.head_dim)
    short = convolution("conv.conv", a.hidden, mixer.conv, bias)
    short += parts.linear("conv.in_proj", 3 * a.hidden, a.hidden, bias, 0)
    short += parts.linear("conv.out_proj", a.hidden, a.hidden, bias, 1)
    norms = [t for n in ("operator_norm", "ffn_norm") for t in parts.norm(n, a.hidden)]
    kinds = {}
    for sparse in (False, True) if a.experts else (False,):
        feed = parts.gated("feed_forward", a.hidden, a.ffn, names=feeds["dense"])
        if sparse and a.experts:
            feed = parts.mixture("feed_forward", a.hidden, a.experts.count, a.experts.ffn)
        kinds[f"full_attention {sparse}"] = (a, [*full, *feed, *norms])
        kinds[f"conv {sparse}"] = (replace(a, mixer=mixer), [*short, *feed, *norms])
    return by_kind(a, kinds, _lfm2_words(a, fields), "model.embedding_norm")


def _lfm2_words(a: Architecture, fields: Fields) -> list[str]:
    given = fields.kinds("layer_types", a.layers, ("full_attention", "conv"))
    full = fields.numbers("full_attn_idxs", list(range(a.layers)))
    words = given or ["full_attention" if i in full else "conv" for i in range(a.layers)]
    return [f"{word} {a.is_sparse(index)}" for index, word in enumerate(words)]


def _adjusted(fields: Fields) -> int:
    """The inner width that LFM2 makes of the one it is told."""
    ffn = fields.whole("block_ff_dim", "intermediate_size")
    if not fields.flag("block_auto_adjust_ff_dim", True):
        return ffn
    ffn = int(fields.number("block_ffn_dim_multiplier", 1.0) * int(2 * ffn / 3))
    multiple = fields.whole("block_multiple_of")
    return multiple * -(-ffn // multiple)
