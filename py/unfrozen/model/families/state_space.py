"""Models whose layers carry a state: state spaces, linear attention, and hybrids with attention.

Mamba, Falcon Mamba and Mamba-2 have no feed-forward part. Jamba, Bamba, Granite 4, Falcon-H1 and
Nemotron-H have attention and state spaces, layer by layer or side by side. In Zamba2 many layers
share a few attention blocks; each is listed where it is used first, and each use has its own linear
layer and, of low rank, its own adapters. Qwen3-Next and Qwen3.5 alternate attention with the gated
delta rule, LFM2 with a short convolution. Names, order and defaults are those of transformers 5.24.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from unfrozen.errors import ModelError
from unfrozen.model import modules
from unfrozen.model.architecture import (
    Absent,
    Architecture,
    Convolution,
    Delta,
    Dual,
    Experts,
    Selective,
)
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.families import dense, sparse
from unfrozen.model.fields import MOST_LAYERS, Fields

MAMBA_TYPES: Final = ("mamba", "falcon_mamba", "mamba2")


def read_mamba(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture named by a config.json of one of `MAMBA_TYPES`; raises ModelError."""
    hidden = fields.integer("hidden_size")
    mixer: Dual | Selective
    if model_type == "mamba2":
        mixer = _dual(fields, _MAMBA2, head_dim="head_dim")
    else:
        mixer = _selective(
            fields, fields.number("expand", 2), ("time_step_rank", "state_size", "conv_kernel")
        )
    return Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=fields.integer("num_hidden_layers", at_most=MOST_LAYERS),
        heads=1,
        kv_heads=1,
        head_dim=1,
        ffn=1,
        vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings", True),
        activation=fields.word("hidden_act", default="silu"),
        mixer=mixer,
        feeds=False,
    )


def _selective(
    fields: Fields, expand: float, names: tuple[str, str, str], normed: bool = False
) -> Selective:
    """Return Mamba's sizes; the rank of the time steps is a sixteenth of the width for "auto"."""
    hidden, (rank, state, conv) = fields.integer("hidden_size"), names
    steps = fields.integer(rank) if fields.is_number(rank) else -(-hidden // 16)
    return Selective(
        int(expand * hidden), fields.integer(state), steps, fields.integer(conv), normed
    )


_MAMBA2: Final = ("num_heads", "state_size", "n_groups", "conv_kernel", "chunk_size")
"""Heads, state, groups, convolution and chunk, as each family calls them."""
_HYBRID: Final = (
    *("mamba_n_heads", "mamba_d_state", "mamba_n_groups", "mamba_d_conv", "mamba_chunk_size"),
)
_NEMOTRON: Final = ("mamba_num_heads", "ssm_state_size", *_MAMBA2[2:])
_ZAMBA2: Final = ("n_mamba_heads", "mamba_d_state", "mamba_ngroups", "mamba_d_conv", "chunk_size")


def _dual(
    fields: Fields, names: Sequence[str], *, inner: int = 0, head_dim: str = "", normed: bool = True
) -> Dual:
    """Return Mamba-2's sizes; a head is a share of `inner` channels where no key says how wide."""
    heads, state, groups, conv, chunk = (fields.integer(name) for name in names)
    width = fields.integer(head_dim) if head_dim else inner // heads
    return Dual(heads, width, state, groups, conv, chunk, normed)


HYBRID_TYPES: Final = ("jamba", "bamba", "granitemoehybrid", "falcon_h1", "nemotron_h")

_ATTENTION: Final = ("attention", "full_attention")
_STATE: Final = ("mamba", "linear_attention")
_LETTERS: Final = {"M": "linear_attention", "*": "full_attention", "E": "moe", "-": "mlp"}


def read_hybrid(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture of a config.json of one of `HYBRID_TYPES`; raises ModelError."""
    readers = {
        "jamba": _jamba,
        "bamba": _bamba,
        "granitemoehybrid": _granite,
        "falcon_h1": _falcon,
        "nemotron_h": _nemotron,
    }
    return readers[model_type](fields)


def in_turn(
    a: Architecture, kinds: dict[str, Architecture], layer_types: Sequence[str]
) -> Architecture:
    """Return the architecture of layers of the kinds `layer_types`."""
    used = [word for word in kinds if word in layer_types]
    order = tuple(used.index(word) for word in layer_types)
    return replace(a, variants=tuple(kinds[word] for word in used), order=order)


def _jamba(fields: Fields) -> Architecture:
    a = dense.sizes("jamba", fields, {})
    layers, count = a.layers, fields.integer("num_experts")
    period, offset = fields.integer("expert_layer_period"), fields.count("expert_layer_offset")
    sparse_layers = {i for i in range(layers) if count > 1 and i % period == offset}
    per_token = min(count, fields.integer("num_experts_per_tok"))
    rest = frozenset(range(layers)) - sparse_layers
    a = replace(a, experts=Experts(count, per_token, a.ffn, dense_layers=rest, shared_gate=False))
    names = ("mamba_dt_rank", "mamba_d_state", "mamba_d_conv")
    mixer = _selective(fields, fields.integer("mamba_expand"), names, normed=True)
    kinds = {"state": replace(a, mixer=mixer), "full": a}
    each, at = fields.integer("attn_layer_period"), fields.count("attn_layer_offset")
    layer_types = ["full" if i % each == at else "state" for i in range(layers)]
    return in_turn(a, kinds, layer_types)


def _hybrid_mamba2(fields: Fields, hidden: int, normed: bool = True) -> Dual:
    inner = fields.integer("mamba_expand", default=2) * hidden
    head_dim = "mamba_d_head" if fields.is_number("mamba_d_head") else ""
    return _dual(fields, _HYBRID, inner=inner, head_dim=head_dim, normed=normed)


def _bamba(fields: Fields) -> Architecture:
    a = dense.sizes("bamba", fields, {})
    mixer = _hybrid_mamba2(fields, a.hidden)
    kinds = {"state": replace(a, mixer=mixer), "full": a}
    full = fields.indices("attn_layer_indices")
    return in_turn(a, kinds, ["full" if i in full else "state" for i in range(a.layers)])


def _granite(fields: Fields) -> Architecture:
    a = dense.sizes("granitemoehybrid", fields, {})
    count, shared = fields.count("num_local_experts"), fields.count("shared_intermediate_size")
    if count:
        per_token = fields.integer("num_experts_per_tok")
        experts = Experts(count, per_token, a.ffn, shared, shared_gate=False, router="top")
        a = replace(a, experts=experts)
    else:
        a = replace(a, ffn=shared or 1)
    mixer = _hybrid_mamba2(fields, a.hidden)
    kinds = {"state": replace(a, mixer=mixer), "full": a}
    known = (*_ATTENTION, *_STATE)
    given = fields.kinds("layer_types", a.layers, known)
    given = given or fields.kinds("layers_block_type", a.layers, known)
    layer_types = given or ["mamba"] * a.layers
    return in_turn(a, kinds, ["full" if word in _ATTENTION else "state" for word in layer_types])


def _falcon(fields: Fields) -> Architecture:
    a = dense.sizes("falcon_h1", fields, {})
    mixer = _hybrid_mamba2(fields, a.hidden, fields.flag("mamba_rms_norm", False))
    if fields.is_number("mamba_d_ssm") and not fields.is_number("mamba_d_head"):
        mixer = mixer._replace(head_dim=fields.integer("mamba_d_ssm") // mixer.heads)
    a = replace(a, mixer=mixer, beside=True)
    return in_turn(a, {"both": a}, ["both"] * a.layers)


def _nemotron(fields: Fields) -> Architecture:
    layer_types = nemotron_words(fields)
    a = dense.sizes("nemotron_h", fields, {"plain": True}, layers=len(layer_types))
    activation = fields.word("mlp_hidden_act", default="relu2")
    a = replace(a, activation=activation, feeds=False)
    mixer = _dual(fields, _NEMOTRON, head_dim="mamba_head_dim")
    experts = replace(
        sparse.grouped(fields),
        shared_ffn=fields.integer("moe_shared_expert_intermediate_size"),
        dense_layers=frozenset(i for i, word in enumerate(layer_types) if word != "moe"),
        gated=False,
    )
    a = replace(a, experts=experts if "moe" in layer_types else None)
    alone = replace(a, mixer=Absent(), feeds=True)
    state = replace(a, mixer=mixer)
    kinds = {"linear_attention": state, "moe": alone, "full_attention": a, "mlp": alone}
    return in_turn(a, kinds, layer_types)


def nemotron_words(fields: Fields) -> list[str]:
    """Return `layers_block_type` as transformers reads it from the letters of a pattern, or from
    its earlier words; raises ModelError.
    """
    pattern = fields.word("hybrid_override_pattern", default="")
    if pattern:
        if set(pattern) - set(_LETTERS):
            bound = f"its letters are {', '.join(_LETTERS)}"
            raise ModelError("hybrid_override_pattern", pattern, bound, "copy it from config.json")
        return [_LETTERS[letter] for letter in pattern]
    same = {"mamba": "linear_attention", "attention": "full_attention"}
    known = (*_LETTERS.values(), *same)
    given = fields.known_names("layers_block_type", known)
    given = given or fields.known_names("layer_types", known)
    return [same.get(word, word) for word in given or [_LETTERS[letter] for letter in "ME*-"]]


ZAMBA_TYPES: Final = ("zamba2",)

_ZAMBA_KINDS: Final = ("mamba", "linear_attention", "hybrid")
_ZAMBA: Final = (*range(6, 43, 6), 47, 51)
"""Layers with a shared block where no key names them (`Zamba2Config.layers_block_type`)."""


def read_zamba(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture named by a Zamba2 config.json; raises ModelError."""
    hidden = fields.integer("hidden_size")
    layers = fields.integer("num_hidden_layers", at_most=MOST_LAYERS)
    heads = fields.integer("num_attention_heads")
    layer_types = fields.kinds("layers_block_type", layers, _ZAMBA_KINDS)
    hybrid = [i for i, word in enumerate(layer_types or ()) if word == "hybrid"]
    uses = [index for index in (hybrid if layer_types else _ZAMBA) if index < layers]
    a = Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=fields.integer("num_key_value_heads", default=heads),
        head_dim=2 * hidden // heads,
        ffn=fields.integer("intermediate_size", default=4 * hidden),
        vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings", True),
        activation=fields.word("hidden_act", default="gelu"),
        estimated="its shared blocks",
    )
    mixer = _dual(fields, _ZAMBA2, inner=int(fields.number("mamba_expand", 2) * hidden))
    state = _zamba_mixer(fields, a, mixer)
    kinds, order = [state], [0] * layers
    blocks = fields.integer("num_mem_blocks")
    for place, index in enumerate(uses[:blocks]):
        kinds.append(_zamba_hybrid(a, state, _zamba_block(fields, a, place, len(uses), blocks)))
        order[index] = len(kinds) - 1
    kinds.append(_zamba_hybrid(a, state, []))
    for index in uses[blocks:]:
        order[index] = len(kinds) - 1
    before = modules.embedding("model.embed_tokens", a.vocab, hidden)
    after = [*modules.norm("model.final_layernorm", hidden), *modules.head(a.tied, a.vocab, hidden)]
    alone = replace(a, mixer=mixer, feeds=False)
    return replace(
        a,
        blueprint=Blueprint(before, kinds, order, after),
        variants=(alone, replace(a, mixer=mixer, beside=True)),
        order=tuple(int(kind > 0) for kind in order),
    )


def _zamba_mixer(fields: Fields, a: Architecture, mixer: Dual) -> list[Tensor]:
    """Return the mixer of Mamba-2 (arXiv 2405.21060, section 7) and the norm before it."""
    biased = fields.flag("add_bias_linear", False)
    state = [Tensor(f"mamba.{name}", (mixer.heads,), 0) for name in ("dt_bias", "A_log", "D")]
    state.append(Tensor("mamba.conv1d.weight", (mixer.convolved, 1, mixer.conv), 0))
    state.append(Tensor("mamba.conv1d.bias", (mixer.convolved,), 0))
    width = mixer.inner + mixer.convolved + mixer.heads
    state += modules.linear("mamba.in_proj", width, a.hidden, biased, 0)
    state.append(Tensor("mamba.norm.weight", (mixer.inner,), 0))
    state += modules.linear("mamba.out_proj", a.hidden, mixer.inner, biased, 1)
    return state + modules.norm("input_layernorm", a.hidden)


def _zamba_hybrid(a: Architecture, state: list[Tensor], block: list[Tensor]) -> list[Tensor]:
    inside = [replace(t, name=f"mamba_decoder.{t.name}") for t in state]
    shared = [replace(t, name=f"shared_transformer.{t.name}") for t in block]
    return [*modules.linear("linear", a.hidden, a.hidden), *inside, *shared]


def _zamba_block(
    fields: Fields, a: Architecture, block: int, uses: int, blocks: int
) -> list[Tensor]:
    """Return a block with the adapters of all its uses."""
    both, rank = 2 * a.hidden, fields.integer("adapter_rank")
    mine = [use for use in range(uses) if use % blocks == block]
    heads = a.heads, a.kv_heads, a.head_dim
    found = modules.attention("self_attn", both, heads)
    found[-1] = replace(found[-1], shape=(a.hidden, a.q_width))
    if fields.flag("use_shared_attention_adapter", False):
        for name in ("q", "k", "v"):
            at = f"self_attn.linear_{name}_adapter_list"
            for use in mine:
                found += modules.linear(f"{at}.{use}.0", rank, both)
                found += modules.linear(f"{at}.{use}.1", both, rank)
    biased = fields.flag("add_bias_linear", False)
    found += modules.linear("feed_forward.gate_up_proj", 2 * a.ffn, a.hidden, biased, 0)
    found += modules.linear("feed_forward.down_proj", a.hidden, a.ffn, biased, 1)
    for use in mine:
        at = f"feed_forward.gate_up_proj_adapter_list.{use}"
        found += modules.linear(f"{at}.0", rank, a.hidden)
        found += modules.linear(f"{at}.1", 2 * a.ffn, rank)
    found += modules.norm("input_layernorm", both)
    return found + modules.norm("pre_ff_layernorm", a.hidden)


LINEAR_TYPES: Final = (
    "qwen3_next",
    "qwen3_5_text",
    "qwen3_5_moe_text",
    "lfm2",
    "lfm2_moe",
)

_LINEAR_LAYERS: Final = ("full_attention", "linear_attention")


def read_linear(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture of a config.json of one of `LINEAR_TYPES`; raises ModelError."""
    return _lfm2(model_type, fields) if model_type.startswith("lfm2") else _qwen(model_type, fields)


def _qwen(model_type: str, fields: Fields) -> Architecture:
    a = _qwen_sizes(model_type, fields)
    mixer = Delta(
        key_heads=fields.integer("linear_num_key_heads"),
        value_heads=fields.integer("linear_num_value_heads"),
        key_dim=fields.integer("linear_key_head_dim"),
        value_dim=fields.integer("linear_value_head_dim"),
        conv=fields.integer("linear_conv_kernel_dim"),
        joined=model_type == "qwen3_next",
    )
    every = fields.integer("full_attention_interval", default=4)
    default = [_LINEAR_LAYERS[bool((index + 1) % every)] for index in range(a.layers)]
    layer_types = fields.kinds("layer_types", a.layers, _LINEAR_LAYERS) or default
    kinds = {"linear_attention": replace(a, mixer=mixer), "full_attention": a}
    return in_turn(a, kinds, layer_types)


def _qwen_sizes(model_type: str, fields: Fields) -> Architecture:
    moe = model_type == "qwen3_5_moe_text"
    a = dense.sizes(model_type, fields, {"norm": "rms_fp32"}, not moe)
    a = replace(a, gates_output=True, copies_rotated=True)
    if model_type == "qwen3_5_text":
        return a
    experts = sparse.qwen(fields)
    if moe:
        experts = replace(experts, every=1, dense_layers=frozenset(), normalised=True)
    return replace(a, experts=experts, ffn=experts.ffn if moe else a.ffn)


def _lfm2(model_type: str, fields: Fields) -> Architecture:
    a = dense.sizes(model_type, fields, {})
    a = replace(a, qk_norm="head", tied=fields.flag("tie_embedding", a.tied))
    if model_type == "lfm2":
        a = replace(a, ffn=_adjusted(fields))
    else:
        first = frozenset(range(min(a.layers, fields.count("num_dense_layers"))))
        experts = Experts(
            count=fields.integer("num_experts"),
            per_token=fields.integer("num_experts_per_tok"),
            ffn=fields.integer("moe_intermediate_size"),
            dense_layers=first,
            normalised=fields.flag("norm_topk_prob", True),
            router="sigmoid",
        )
        a = replace(a, experts=experts)
    kinds = {
        "full_attention": a,
        "conv": replace(a, mixer=Convolution(a.hidden, fields.integer("conv_L_cache"))),
    }
    given = fields.kinds("layer_types", a.layers, (*kinds,))
    full = fields.numbers("full_attn_idxs", list(range(a.layers)))
    return in_turn(
        a, kinds, given or ["full_attention" if i in full else "conv" for i in range(a.layers)]
    )


def _adjusted(fields: Fields) -> int:
    """Return the inner width that LFM2 derives from the one in the config."""
    ffn = fields.integer("block_ff_dim", "intermediate_size")
    if not fields.flag("block_auto_adjust_ff_dim", True):
        return ffn
    ffn = int(fields.number("block_ffn_dim_multiplier", 1.0) * int(2 * ffn / 3))
    multiple = fields.integer("block_multiple_of")
    return multiple * -(-ffn // multiple)
