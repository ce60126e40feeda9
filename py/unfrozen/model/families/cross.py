"""The language model of Llama 3.2 Vision: some of its layers look at the picture, and at no word.

Names, order and defaults are those of transformers 5.24 (`models/mllama`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from unfrozen.model import parts
from unfrozen.model.architecture import Architecture
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.families import dense
from unfrozen.model.fields import Fields

MODEL_TYPES: Final = ("mllama_text_model",)
_SPARE: Final = 8  # rows of the embedding beyond the vocabulary, for pictures


def read(model_type: str, fields: Fields) -> Architecture:
    """The architecture named by its config; raises ModelError."""
    a = replace(dense.sizes(model_type, fields, {}), estimated="its layers that look at pictures")
    looks = fields.numbers("cross_attention_layers", [3, 8, 13, 18, 23, 28, 33, 38])
    feed = parts.gated("mlp", a.hidden, a.ffn)
    norms = {name: parts.norm(name, a.hidden) for name in dense.PRE}
    heads = a.heads, a.kv_heads, a.head_dim
    reads = [*parts.attention("self_attn", a.hidden, heads), *feed]
    reads += [t for norm in norms.values() for t in norm]
    sees = [Tensor("cross_attn_attn_gate", (1,)), Tensor("cross_attn_mlp_gate", (1,))]
    sees += parts.attention("cross_attn", a.hidden, heads)
    sees += parts.norm("cross_attn.q_norm", a.head_dim) + parts.norm(
        "cross_attn.k_norm", a.head_dim
    )
    sees += [*norms[dense.PRE[0]], *feed, *norms[dense.PRE[1]]]
    order = [int(index in looks) for index in range(a.layers)]
    before = [Tensor("model.embed_tokens.weight", (a.vocab + _SPARE, a.hidden), 0)]
    after = [*parts.norm("model.norm", a.hidden), *parts.head(a.tied, a.vocab, a.hidden)]
    return replace(a, blueprint=Blueprint(before, [reads, sees], order, after))
