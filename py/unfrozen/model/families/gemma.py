"""The text models of Gemma 3n and Gemma 4: rows for each layer, shared keys and values, experts.

Names and defaults are those of transformers 5.24 (`models/gemma3n`, `models/gemma4`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from unfrozen.model import modules
from unfrozen.model.architecture import Architecture, Experts
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.families import dense
from unfrozen.model.fields import Fields

MODEL_TYPES: Final = ("gemma3n_text", "gemma4_text")

_LAYOUT: Final[dense.Traits] = {
    "norm": "rms_fp32",
    "norm_places": "sandwich",
}
_NORMS: Final = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)
_WORDS: Final = ("full_attention", "sliding_attention")


def read(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture named by a config.json of one of `MODEL_TYPES`; raises ModelError."""
    return _three(fields) if model_type == "gemma3n_text" else _four(fields)


def _attention(
    a: Architecture, bias: bool, keys: bool, values: bool = True, k_first: bool = False
) -> list[Tensor]:
    """Return attention, which may reuse the keys and values of an earlier layer."""
    at, q, kv = "self_attn", a.q_width, a.kv_width
    found = modules.linear(f"{at}.q_proj", q, a.hidden, bias, 0)
    found += modules.norm(f"{at}.q_norm", a.head_dim)
    if keys:
        norm = modules.norm(f"{at}.k_norm", a.head_dim)
        found += norm if k_first else []
        for name in ("k_proj", "v_proj") if values else ("k_proj",):
            found += modules.linear(f"{at}.{name}", kv, a.hidden, bias, 0, a.head_dim)
        found += [] if k_first else norm
    return found + modules.linear(f"{at}.o_proj", a.hidden, q, bias, 1)


def _per_layer(width: int, hidden: int) -> list[Tensor]:
    """Return the tensors of the per-layer embedding in a layer."""
    found = modules.linear("per_layer_input_gate", width, hidden)
    found += modules.linear("per_layer_projection", hidden, width)
    return found + modules.norm("post_per_layer_input_norm", hidden)


def _rows(fields: Fields, a: Architecture, width: int) -> list[Tensor]:
    """Return the per-layer embeddings of all layers, and their projection."""
    rows = fields.integer("vocab_size_per_layer_input")
    found = [Tensor("model.embed_tokens_per_layer.weight", (rows, a.layers * width))]
    found += modules.linear("model.per_layer_model_projection", a.layers * width, a.hidden)
    return found + modules.norm("model.per_layer_projection_norm", width)


def _three(fields: Fields) -> Architecture:
    a = replace(dense.sizes("gemma3n_text", fields, _LAYOUT, feeds=False), qk_norm="head")
    each = fields.each("intermediate_size", a.layers)
    a = replace(
        a,
        ffn=max(each),
        caps_logits=True,
        estimated="its alternating streams",
    )
    streams, narrow = (
        fields.integer("altup_num_inputs"),
        fields.integer("hidden_size_per_layer_input"),
    )
    rank, scaled = fields.integer("laurel_rank"), fields.flag("altup_correct_scale", True)
    beside = [Tensor("altup.correct_output_scale", (a.hidden,))] if scaled else []
    beside += modules.linear("altup.correction_coefs", streams, streams)
    beside += modules.linear("altup.prediction_coefs", streams**2, streams)
    beside += modules.linear("altup.modality_router", streams, a.hidden)
    beside += modules.norm("altup.router_norm", a.hidden)
    beside += modules.linear("laurel.linear_left", rank, a.hidden)
    beside += modules.linear("laurel.linear_right", a.hidden, rank)
    beside += modules.norm("laurel.post_laurel_norm", a.hidden)
    beside += _per_layer(narrow, a.hidden)
    norms = [t for name in _NORMS for t in modules.norm(name, a.hidden)]
    shared = a.layers - fields.count("num_kv_shared_layers")
    wanted = [(index < shared, ffn) for index, ffn in enumerate(each)]
    kinds, bias = sorted(set(wanted)), fields.flag("attention_bias", False)
    kinds_of_layers = [
        [*_attention(a, bias, keys), *modules.gated("mlp", a.hidden, ffn), *norms, *beside]
        for keys, ffn in kinds
    ]
    after = [*modules.norm("model.norm", a.hidden), *_rows(fields, a, narrow)]
    for name in ("altup_projections", "altup_unembed_projections"):
        for index in range(streams - 1):
            after += modules.linear(f"model.{name}.{index}", a.hidden, a.hidden)
    after += modules.head(a.tied, a.vocab, a.hidden)
    before = modules.embedding("model.embed_tokens", a.vocab, a.hidden)
    return replace(a, blueprint=Blueprint(before, kinds_of_layers, map(kinds.index, wanted), after))


def _four(fields: Fields) -> Architecture:
    a = replace(dense.sizes("gemma4_text", fields, _LAYOUT), qk_norm="head")
    a = replace(a, caps_logits=fields.is_set("final_logit_softcapping", False))
    moe = fields.flag("enable_moe_block", False)
    narrow = fields.count("hidden_size_per_layer_input")
    a = replace(a, v_norm=True, per_layer_input=narrow, norms=5 if narrow else 0)
    if moe:
        experts = Experts(
            count=fields.integer("num_experts"),
            per_token=fields.integer("top_k_experts", "num_experts_per_tok"),
            ffn=fields.integer("moe_intermediate_size"),
            shared_ffn=a.ffn,
            normalised=True,
            shared_gate=False,
        )
        a = replace(a, experts=experts, estimated="its experts beside a dense part")
    wanted = _wanted(fields, a)
    kinds, bias = sorted(set(wanted)), fields.flag("attention_bias", False)
    kinds_of_layers, variants = [], []
    for full, keys, head_dim, kv_heads in kinds:
        of = replace(a, head_dim=head_dim, kv_heads=kv_heads)
        wide = 2 if fields.flag("use_double_wide_mlp", False) and not keys else 1
        of = replace(of, ffn=wide * a.ffn)
        values = not full or not _same(fields)
        kinds_of_layers.append(_four_layer(of, bias, keys, values, narrow))
        variants.append(of)
    order = tuple(map(kinds.index, wanted))
    after = modules.norm("model.norm", a.hidden)
    after += _rows(fields, a, narrow) if narrow else []
    after += modules.head(a.tied, a.vocab, a.hidden)
    before = modules.embedding("model.embed_tokens", a.vocab, a.hidden)
    blueprint = Blueprint(before, kinds_of_layers, order, after)
    return replace(a, blueprint=blueprint, variants=tuple(variants), order=order)


def _wanted(fields: Fields, a: Architecture) -> list[tuple[bool, bool, int, int]]:
    """Return, for each layer, whether attention is full and whether it has keys of its own, its
    head dimension and its kv heads.
    """
    default = [_WORDS[bool((index + 1) % 6)] for index in range(a.layers)]
    layer_types = list(fields.kinds("layer_types", a.layers, _WORDS) or default)
    layer_types[-1] = "full_attention"
    shared = a.layers - fields.count("num_kv_shared_layers")
    if shared <= 0:
        shared = 0
    full = [word == "full_attention" for word in layer_types]
    widths = _widths(fields, a, full)
    return [(full[index], index < shared, *widths[index]) for index in range(a.layers)]


def _widths(fields: Fields, a: Architecture, full: list[bool]) -> list[tuple[int, int]]:
    """Return the head dimension and the kv heads of each layer.

    transformers 5.15 and later writes them in `per_layer_config`, and reads no other key beside it.
    """
    found = fields.layers("per_layer_config", a.layers, ("head_dim", "num_key_value_heads"))
    if found is not None:
        return [
            (
                own.integer("head_dim", default=a.head_dim),
                own.integer("num_key_value_heads", default=a.kv_heads),
            )
            for own in found
        ]
    heads = a.kv_heads
    if _same(fields) and fields.is_number("num_global_key_value_heads"):
        heads = fields.integer("num_global_key_value_heads")
    wide = fields.integer("global_head_dim", default=512), heads
    return [wide if each else (a.head_dim, a.kv_heads) for each in full]


def _same(fields: Fields) -> bool:
    """Return whether full attention uses its keys as values."""
    return fields.flag("attention_k_eq_v", False)


def _four_layer(a: Architecture, bias: bool, keys: bool, values: bool, narrow: int) -> list[Tensor]:
    found = _attention(a, bias, keys, values, k_first=True)
    found += modules.gated("mlp", a.hidden, a.ffn)
    found += [t for name in _NORMS for t in modules.norm(name, a.hidden)]
    found += _per_layer(narrow, a.hidden) if narrow else []
    if e := a.experts:
        found += [
            Tensor("router.scale", (a.hidden,)),
            Tensor("router.per_expert_scale", (e.count,)),
        ]
        found += modules.linear("router.proj", e.count, a.hidden)
        found += modules.stacked("experts", e.count, a.hidden, e.ffn)
        names = ("post_feedforward", "post_feedforward", "pre_feedforward")
        for name, number in zip(names, (1, 2, 2), strict=True):
            found += modules.norm(f"{name}_layernorm_{number}", a.hidden)
    return found
