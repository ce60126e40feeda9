"""Attention and state spaces by turns, or side by side: Jamba, Bamba, Granite 4, Falcon-H1,
Nemotron-H.

Names, order and defaults are those of transformers 5.24 (`models/jamba` and so on).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from unfrozen.errors import ModelError
from unfrozen.model import parts
from unfrozen.model.architecture import Architecture, Experts
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.families import dense, mamba, sparse
from unfrozen.model.fields import Fields
from unfrozen.model.mixers import Absent, Dual, Selective

MODEL_TYPES: Final = ("jamba", "bamba", "granitemoehybrid", "falcon_h1", "nemotron_h")

_ATTENTION: Final = ("attention", "full_attention")
_STATE: Final = ("mamba", "linear_attention")
_LETTERS: Final = {"M": "mamba", "*": "attention", "E": "moe", "-": "mlp"}


def read(model_type: str, fields: Fields) -> Architecture:
    """The architecture named by a config.json of one of `MODEL_TYPES`; raises ModelError."""
    readers = {
        "jamba": _jamba,
        "bamba": _bamba,
        "granitemoehybrid": _granite,
        "falcon_h1": _falcon,
        "nemotron_h": _nemotron,
    }
    return readers[model_type](fields)


def by_kind(
    a: Architecture,
    kinds: dict[str, tuple[Architecture, list[Tensor]]],
    words: Sequence[str],
    last: str = "model.final_layernorm",
    first: str = "model.embed_tokens",
) -> Architecture:
    """The architecture of layers whose kinds `words` name: each with its sizes and tensors."""
    used = [word for word in kinds if word in words]
    order = tuple(used.index(word) for word in words)
    before = parts.embedding(first, a.vocab, a.hidden)
    after = [*parts.norm(last, a.hidden), *parts.head(a.tied, a.vocab, a.hidden)]
    return replace(
        a,
        blueprint=Blueprint(before, [kinds[word][1] for word in used], order, after),
        variants=tuple(kinds[word][0] for word in used),
        order=order,
    )


def _attention(a: Architecture) -> list[Tensor]:
    heads = a.heads, a.kv_heads, a.head_dim
    return parts.attention("self_attn", a.hidden, heads, a.qkv_bias, a.out_bias)


def _jamba(fields: Fields) -> Architecture:
    a = dense.sizes("jamba", fields, {})
    layers, count = a.layers, fields.whole("num_experts")
    period, offset = fields.whole("expert_layer_period"), fields.count("expert_layer_offset")
    sparse_layers = {i for i in range(layers) if count > 1 and i % period == offset}
    per_token = min(count, fields.whole("num_experts_per_tok"))
    rest = frozenset(range(layers)) - sparse_layers
    a = replace(a, experts=Experts(count, per_token, a.ffn, dense_layers=rest, shared_gate=False))
    mixer = Selective(
        inner=fields.whole("mamba_expand") * a.hidden,
        state=fields.whole("mamba_d_state"),
        rank=mamba.step_rank(fields, "mamba_dt_rank", a.hidden),
        conv=fields.whole("mamba_d_conv"),
        normed=True,
    )
    biases = fields.flag("mamba_proj_bias", False), fields.flag("mamba_conv_bias", True)
    inside = {
        "full": (a, _attention(a)),
        "state": (replace(a, mixer=mixer), mamba.selective("mamba", a.hidden, mixer, *biases)),
    }
    feeds = {
        "dense": parts.gated("feed_forward", a.hidden, a.ffn),
        "sparse": parts.mixture("feed_forward", a.hidden, count, a.ffn, "router", first=True),
    }
    kinds = {
        f"{mix} {feed}": (inside[mix][0], [*inside[mix][1], *feeds[feed], *_norms(a, "pre_ff")])
        for mix in inside
        for feed in feeds
    }
    each, at = fields.whole("attn_layer_period"), fields.count("attn_layer_offset")
    words = [
        f"{'full' if i % each == at else 'state'} {'sparse' if i in sparse_layers else 'dense'}"
        for i in range(layers)
    ]
    return by_kind(a, kinds, words)


def _norms(a: Architecture, second: str) -> list[Tensor]:
    names = ("input_layernorm", f"{second}_layernorm")
    return [t for name in names for t in parts.norm(name, a.hidden)]


def _mamba2(fields: Fields, hidden: int, normed: bool = True) -> Dual:
    inner = fields.whole("mamba_expand", default=2) * hidden
    heads = fields.whole("mamba_n_heads")
    dim = fields.whole("mamba_d_head") if fields.is_number("mamba_d_head") else inner // heads
    return Dual(
        heads=heads,
        head_dim=dim,
        state=fields.whole("mamba_d_state"),
        groups=fields.whole("mamba_n_groups"),
        conv=fields.whole("mamba_d_conv"),
        chunk=fields.whole("mamba_chunk_size"),
        normed=normed,
    )


def _bamba(fields: Fields) -> Architecture:
    biased: dense.Traits = {"bias": "attention_bias", "out_bias": "attention_bias"}
    a = dense.sizes("bamba", fields, {**biased, "mlp_bias": "mlp_bias"})
    mixer = _mamba2(fields, a.hidden)
    biases = fields.flag("mamba_proj_bias", False), fields.flag("mamba_conv_bias", True)
    begin = [*parts.gated("feed_forward", a.hidden, a.ffn, a.mlp_bias), *_norms(a, "pre_ff")]
    kinds = {
        "state": (
            replace(a, mixer=mixer),
            [*begin, *mamba.dual("mamba", a.hidden, mixer, *biases)],
        ),
        "full": (a, [*begin, *_attention(a)]),
    }
    full = fields.indices("attn_layer_indices")
    return by_kind(a, kinds, ["full" if i in full else "state" for i in range(a.layers)])


def _granite(fields: Fields) -> Architecture:
    biased: dense.Traits = {"bias": "attention_bias", "out_bias": "attention_bias"}
    a = dense.sizes("granitemoehybrid", fields, biased)
    count, shared = fields.count("num_local_experts"), fields.count("shared_intermediate_size")
    feed = sparse.granite_shared(a.hidden, shared)
    if count:
        per_token = fields.whole("num_experts_per_tok")
        a = replace(
            a,
            experts=Experts(count, per_token, a.ffn, shared, shared_gate=False, router="top"),
        )
        feed = sparse.granite_mixture(a)
    else:
        a = replace(a, ffn=shared or 1)
    mixer = _mamba2(fields, a.hidden)
    biases = fields.flag("mamba_proj_bias", False), fields.flag("mamba_conv_bias", True)
    begin = [*_norms(a, "post_attention"), *feed]
    kinds = {
        "state": (
            replace(a, mixer=mixer),
            [*begin, *mamba.dual("mamba", a.hidden, mixer, *biases)],
        ),
        "full": (a, [*begin, *_attention(a)]),
    }
    known = (*_ATTENTION, *_STATE)
    given = fields.kinds("layer_types", a.layers, known)
    given = given or fields.kinds("layers_block_type", a.layers, known)
    words = given or ["mamba"] * a.layers
    return by_kind(a, kinds, _plain(words), "model.norm")


def _plain(words: Sequence[str]) -> list[str]:
    return ["full" if word in _ATTENTION else "state" for word in words]


def _falcon(fields: Fields) -> Architecture:
    layout: dense.Traits = {"bias": "attention_bias", "out_bias": "attention_bias"}
    a = dense.sizes("falcon_h1", fields, {**layout, "mlp_bias": "mlp_bias"})
    mixer = _mamba2(fields, a.hidden, fields.flag("mamba_rms_norm", False))
    if fields.is_number("mamba_d_ssm") and not fields.is_number("mamba_d_head"):
        mixer = mixer._replace(head_dim=fields.whole("mamba_d_ssm") // mixer.heads)
    biases = fields.flag("mamba_proj_bias", False), fields.flag("mamba_conv_bias", True)
    out = fields.flag("projectors_bias", False)
    layer = [
        *parts.gated("feed_forward", a.hidden, a.ffn, a.mlp_bias),
        *mamba.dual("mamba", a.hidden, mixer, *biases, out),
        *_attention(a),
        *_norms(a, "pre_ff"),
    ]
    both = replace(a, mixer=mixer, beside=True)
    return by_kind(both, {"both": (both, layer)}, ["both"] * a.layers)


def _nemotron(fields: Fields) -> Architecture:
    words = _nemotron_words(fields)
    layout: dense.Traits = {"bias": "attention_bias", "out_bias": "attention_bias", "mlp": "plain"}
    layout = {**layout, "mlp_bias": "mlp_bias"}
    a = dense.sizes("nemotron_h", fields, layout, layers=len(words))
    activation = fields.word("mlp_hidden_act", default="relu2")
    a = replace(a, activation=activation, feeds=False)
    mixer = Dual(
        heads=fields.whole("mamba_num_heads"),
        head_dim=fields.whole("mamba_head_dim"),
        state=fields.whole("ssm_state_size"),
        groups=fields.whole("n_groups"),
        conv=fields.whole("conv_kernel"),
        chunk=fields.whole("chunk_size"),
    )
    experts = replace(
        sparse.grouped(fields),
        shared_ffn=fields.whole("moe_shared_expert_intermediate_size"),
        dense_layers=frozenset(i for i, word in enumerate(words) if word != "moe"),
        gated=False,
    )
    a = replace(a, experts=experts if "moe" in words else None)
    biases = fields.flag("use_bias", False), fields.flag("use_conv_bias", True)
    norm = parts.norm("norm", a.hidden)
    alone = replace(a, mixer=Absent(), feeds=True)
    heads = a.heads, a.kv_heads, a.head_dim
    kinds = {
        "mamba": (
            replace(a, mixer=mixer),
            [*norm, *mamba.dual("mixer", a.hidden, mixer, *biases)],
        ),
        "moe": (alone, [*norm, *_nemotron_experts(a, experts, fields.count("moe_latent_size"))]),
        "attention": (
            a,
            [*norm, *parts.attention("mixer", a.hidden, heads, a.qkv_bias, a.out_bias)],
        ),
        "mlp": (alone, [*norm, *parts.plain("mixer", a.hidden, a.ffn, a.mlp_bias)]),
    }
    return by_kind(a, kinds, words, "model.norm_f", "model.embeddings")


def _nemotron_words(fields: Fields) -> list[str]:
    pattern = fields.word("hybrid_override_pattern", default="")
    if pattern:
        if set(pattern) - set(_LETTERS):
            bound = f"its letters are {', '.join(_LETTERS)}"
            raise ModelError("hybrid_override_pattern", pattern, bound, "copy it from config.json")
        return [_LETTERS[letter] for letter in pattern]
    same = {"linear_attention": "mamba", "full_attention": "attention"}
    known = (*_LETTERS.values(), *same)
    given = fields.words("layers_block_type", known) or fields.words("layer_types", known)
    return [same.get(word, word) for word in given or ["mamba", "moe", "attention", "mlp"]]


def _nemotron_experts(a: Architecture, e: Experts, latent: int) -> list[Tensor]:
    width, at = latent or a.hidden, "mixer"
    found = parts.stacked(f"{at}.experts", e.count, width, e.ffn, gate=False)
    found += parts.linear(f"{at}.gate", e.count, a.hidden)
    found += parts.plain(f"{at}.shared_experts", a.hidden, e.shared_ffn, a.mlp_bias)
    if latent:
        found += parts.linear(f"{at}.fc1_latent_proj", latent, a.hidden, a.mlp_bias)
        found += parts.linear(f"{at}.fc2_latent_proj", a.hidden, latent, a.mlp_bias)
    return found
