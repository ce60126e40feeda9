"""Zamba2: Mamba-2 throughout, and a few attention blocks that many layers share.

Names, order and defaults are those of transformers 5.24 (`models/zamba2`). A shared block is listed
where it is used first; each use has its own linear layer and, of low rank, its own adapters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from unfrozen.model import parts
from unfrozen.model.architecture import Architecture
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.families import mamba
from unfrozen.model.fields import MOST_LAYERS, Fields
from unfrozen.model.mixers import Dual

MODEL_TYPES: Final = ("zamba2",)

_KNOWN: Final = ("mamba", "linear_attention", "hybrid")
_USUAL: Final = (
    "mamba",
    *(["mamba"] * 5 + ["hybrid"]) * 7,
    *["mamba"] * 4,
    "hybrid",
    *["mamba"] * 3,
    "hybrid",
    *["mamba"] * 2,
)


def read(model_type: str, fields: Fields) -> Architecture:
    """The architecture named by a Zamba2 config.json; raises ModelError."""
    hidden = fields.whole("hidden_size")
    layers = fields.whole("num_hidden_layers", at_most=MOST_LAYERS)
    heads = fields.whole("num_attention_heads")
    words = fields.kinds("layers_block_type", layers, _KNOWN) or list(_USUAL[:layers])
    uses = [index for index, word in enumerate(words) if word == "hybrid"]
    a = Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=fields.whole("num_key_value_heads", default=heads),
        head_dim=2 * hidden // heads,
        ffn=fields.whole("intermediate_size", default=4 * hidden),
        vocab=fields.whole("vocab_size"),
        tied=fields.flag("tie_word_embeddings", True),
        activation=fields.word("hidden_act", default="gelu"),
        estimated="its shared blocks",
    )
    mixer = _mixer(fields, hidden)
    biased = fields.flag("add_bias_linear", False)
    state = mamba.dual("mamba", hidden, mixer, biased, True)
    state += parts.norm("input_layernorm", hidden)
    kinds, order = [state], [0] * layers
    blocks = fields.whole("num_mem_blocks")
    for place, index in enumerate(uses[:blocks]):
        kinds.append(_hybrid(a, state, _block(fields, a, place, len(uses), blocks)))
        order[index] = len(kinds) - 1
    kinds.append(_hybrid(a, state, []))
    for index in uses[blocks:]:
        order[index] = len(kinds) - 1
    before = parts.embedding("model.embed_tokens", a.vocab, hidden)
    after = [*parts.norm("model.final_layernorm", hidden), *parts.head(a.tied, a.vocab, hidden)]
    alone = replace(a, mixer=mixer, feeds=False)
    return replace(
        a,
        blueprint=Blueprint(before, kinds, order, after),
        variants=(alone, replace(a, mixer=mixer, beside=True)),
        order=tuple(int(kind > 0) for kind in order),
    )


def _mixer(fields: Fields, hidden: int) -> Dual:
    heads = fields.whole("n_mamba_heads")
    return Dual(
        heads=heads,
        head_dim=int(fields.number("mamba_expand", 2) * hidden) // heads,
        state=fields.whole("mamba_d_state"),
        groups=fields.whole("mamba_ngroups"),
        conv=fields.whole("mamba_d_conv"),
        chunk=fields.whole("chunk_size"),
    )


def _hybrid(a: Architecture, state: list[Tensor], block: list[Tensor]) -> list[Tensor]:
    inside = [replace(t, name=f"mamba_decoder.{t.name}") for t in state]
    shared = [replace(t, name=f"shared_transformer.{t.name}") for t in block]
    return [*parts.linear("linear", a.hidden, a.hidden), *inside, *shared]


def _block(fields: Fields, a: Architecture, block: int, uses: int, blocks: int) -> list[Tensor]:
    """A block with the adapters of all its uses."""
    both, rank = 2 * a.hidden, fields.whole("adapter_rank")
    mine = [use for use in range(uses) if use % blocks == block]
    heads = a.heads, a.kv_heads, a.head_dim
    found = parts.attention("self_attn", both, heads)
    found[-1] = replace(found[-1], shape=(a.hidden, a.q_width))
    if fields.flag("use_shared_attention_adapter", False):
        for name in ("q", "k", "v"):
            at = f"self_attn.linear_{name}_adapter_list"
            for use in mine:
                found += parts.linear(f"{at}.{use}.0", rank, both)
                found += parts.linear(f"{at}.{use}.1", both, rank)
    biased = fields.flag("add_bias_linear", False)
    found += parts.linear("feed_forward.gate_up_proj", 2 * a.ffn, a.hidden, biased, 0)
    found += parts.linear("feed_forward.down_proj", a.hidden, a.ffn, biased, 1)
    for use in mine:
        at = f"feed_forward.gate_up_proj_adapter_list.{use}"
        found += parts.linear(f"{at}.0", rank, a.hidden)
        found += parts.linear(f"{at}.1", 2 * a.ffn, rank)
    found += parts.norm("input_layernorm", both)
    return found + parts.norm("pre_ff_layernorm", a.hidden)
