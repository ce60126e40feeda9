"""Dense decoders: Llama, and those with its layer but other norms and feed-forward parts.

What a family chooses stands in `_LAYOUTS`; names and defaults are those of transformers 5.24
(`configuration_*.py` of each). Some layers of Llama 3.2 Vision's language model attend to the
picture instead of the text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypedDict

from unfrozen.model import modules
from unfrozen.model.architecture import Architecture, NormKind, NormPlaces, divided
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.fields import MOST_LAYERS, Fields

_PRE: Final = ("input_layernorm", "post_attention_layernorm")


class Traits(TypedDict, total=False):
    """How a family differs from Llama."""

    norm: NormKind
    norm_places: NormPlaces
    parallel: bool
    plain: bool  # no gate multiplies the MLP
    copies_rotated: bool
    dropout: str
    fused_projections: bool
    floors: bool  # D / H is rounded down where head_dim is missing
    must_divide: bool  # D by H even where head_dim is given


_GEMMA: Final[Traits] = {"norm": "rms_fp32", "norm_places": "sandwich"}
_COHERE: Final[Traits] = {"norm": "layer_scaled", "parallel": True}
_LAYOUTS: Final[dict[str, Traits]] = {
    "llama": {"must_divide": True},
    "mistral": {},
    "qwen2": {},
    "qwen3": {},
    "gemma": {"norm": "rms_fp32"},
    "gemma2": _GEMMA,
    "gemma3_text": {**_GEMMA, "must_divide": True},
    "phi3": {"fused_projections": True, "copies_rotated": True},
    "olmo": {"norm": "layer_fp32"},
    "olmo2": {"norm": "rms_fp32", "norm_places": "post"},
    "smollm3": {},
    "granite": {},
    "ministral": {},
    "ministral3": {},
    "olmo3": {"norm": "rms_fp32", "norm_places": "post"},
    "exaone4": {"norm_places": "post"},
    "ernie4_5": {},
    "seed_oss": {"dropout": "residual_dropout"},
    "helium": {"norm": "rms_fp32"},
    "hunyuan_v1_dense": {},
    "glm": {"copies_rotated": True},
    "glm4": {"copies_rotated": True, "norm_places": "sandwich"},
    "cohere": _COHERE,
    "cohere2": _COHERE,
    "starcoder2": {"norm": "layer", "plain": True, "dropout": "residual_dropout"},
    "stablelm": {"norm": "layer", "copies_rotated": True, "dropout": "hidden_dropout"},
    "phi": {
        "norm": "layer",
        "parallel": True,
        "plain": True,
        "copies_rotated": True,
        "dropout": "resid_pdrop",
    },
    "nemotron": {"norm": "layer", "plain": True, "copies_rotated": True},
    "arcee": {"plain": True},
}

MODEL_TYPES: Final = tuple(_LAYOUTS)
_CAPPED: Final = ("gemma2", "gemma3_text")


def read(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture named by a config.json of one of `MODEL_TYPES`; raises ModelError."""
    a = sizes(model_type, fields, _LAYOUTS[model_type])
    if model_type not in _CAPPED:
        return a
    usual = model_type == "gemma2"  # which has them unless its config says null
    scores = fields.is_set("attn_logit_softcapping", usual)
    return replace(
        a, caps_scores=scores, caps_logits=fields.is_set("final_logit_softcapping", usual)
    )


def sizes(
    model_type: str, fields: Fields, choice: Traits, feeds: bool = True, layers: int = 0
) -> Architecture:
    """Return the architecture of a decoder without its tensors.

    Some have no dense MLP, and some give the number of `layers` in another way.
    """
    hidden = fields.integer("hidden_size")
    heads = fields.integer("num_attention_heads")
    head_dim = fields.integer("head_dim", default=0)
    parallel = choice.get("parallel", False)
    if model_type == "stablelm":
        parallel = fields.flag("use_parallel_residual", False)
    if choice.get("must_divide"):
        divided("num_attention_heads", hidden, heads)
    return Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=layers or fields.integer("num_hidden_layers", at_most=MOST_LAYERS),
        heads=heads,
        kv_heads=fields.integer("num_key_value_heads", default=heads),
        head_dim=head_dim or _divided(hidden, heads, choice),
        ffn=fields.integer("intermediate_size") if feeds else 1,
        vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings", False),
        activation=fields.word("hidden_activation", "hidden_act", default="silu"),
        gated=not choice.get("plain", False),
        norm=choice.get("norm", "rms"),
        norm_places=choice.get("norm_places", "pre"),
        fused_projections=choice.get("fused_projections", False),
        copies_rotated=choice.get("copies_rotated", False),
        norms=int(parallel),
        parallel_residual=parallel,
        dropout=fields.share(choice["dropout"], 0.0) if "dropout" in choice else 0.0,
    )


def _divided(hidden: int, heads: int, choice: Traits) -> int:
    if choice.get("floors"):
        return max(1, hidden // heads)
    return divided("num_attention_heads", hidden, heads)


MLLAMA_TYPES: Final = ("mllama_text_model",)
_SPARE: Final = 8  # rows of the embedding beyond the vocabulary, for pictures


def read_mllama(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture named by its config; raises ModelError."""
    a = replace(sizes(model_type, fields, {}), estimated="its layers that look at pictures")
    looks = fields.numbers("cross_attention_layers", [3, 8, 13, 18, 23, 28, 33, 38])
    feed = modules.gated("mlp", a.hidden, a.ffn)
    norms = {name: modules.norm(name, a.hidden) for name in _PRE}
    heads = a.heads, a.kv_heads, a.head_dim
    reads = [*modules.attention("self_attn", a.hidden, heads), *feed]
    reads += [t for norm in norms.values() for t in norm]
    sees = [Tensor("cross_attn_attn_gate", (1,)), Tensor("cross_attn_mlp_gate", (1,))]
    sees += modules.attention("cross_attn", a.hidden, heads)
    sees += modules.norm("cross_attn.q_norm", a.head_dim) + modules.norm(
        "cross_attn.k_norm", a.head_dim
    )
    sees += [*norms[_PRE[0]], *feed, *norms[_PRE[1]]]
    order = [int(index in looks) for index in range(a.layers)]
    before = [Tensor("model.embed_tokens.weight", (a.vocab + _SPARE, a.hidden), 0)]
    after = [*modules.norm("model.norm", a.hidden), *modules.head(a.tied, a.vocab, a.hidden)]
    return replace(a, blueprint=Blueprint(before, [reads, sees], order, after))
