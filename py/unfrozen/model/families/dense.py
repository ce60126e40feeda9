"""Dense decoders beside Llama's own: the same layer with other norms, biases and projections.

What a family chooses stands in `_LAYOUTS`; names, order and defaults are those of transformers 5.24
(`modeling_*.py` and `configuration_*.py` of each). Some layers of Llama 3.2 Vision's language model
attend to the picture instead of the text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypedDict

from unfrozen.model import modules
from unfrozen.model.architecture import Architecture, NormKind, NormPlaces, QkNorm, divided
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.fields import MOST_LAYERS, Fields

PRE: Final = ("input_layernorm", "post_attention_layernorm")
_POST: Final = ("post_attention_layernorm", "post_feedforward_layernorm")


class Traits(TypedDict, total=False):
    """How a family differs from Llama."""

    bias: str  # the key of the bias of q, k and v; "always"
    out_bias: str  # … of the output
    mlp_bias: str  # … of the feed-forward part
    qk_norm: QkNorm
    qk_key: str  # the key that turns those norms on
    qk_names: tuple[str, str]
    norm: NormKind
    norms: tuple[str, ...]
    norm_places: NormPlaces
    parallel: bool
    mlp: str  # "gated", "gate_up" in one matrix, or "plain"
    mlp_names: tuple[str, str]
    out: str
    final: str
    activation: tuple[str, str]  # its key and default
    head_dim: int
    head_bias: bool
    copies_rotated: bool
    dropout: str
    floors: bool  # D / H is rounded down where head_dim is missing


_LAYER_NORM: Final[Traits] = {"norm": "layer"}
_COHERE: Final[Traits] = {
    "bias": "attention_bias",
    "out_bias": "attention_bias",
    "norm": "layer_scaled",
    "norms": ("input_layernorm",),
    "parallel": True,
}
_GLM: Final[Traits] = {"bias": "attention_bias", "mlp": "gate_up", "copies_rotated": True}

_LAYOUTS: Final[dict[str, Traits]] = {
    "smollm3": {"bias": "attention_bias", "out_bias": "attention_bias", "mlp_bias": "mlp_bias"},
    "granite": {"bias": "attention_bias", "out_bias": "attention_bias", "mlp_bias": "mlp_bias"},
    "ministral": {},
    "ministral3": {},
    "olmo3": {
        "bias": "attention_bias",
        "out_bias": "attention_bias",
        "qk_norm": "width",
        "norm": "rms_fp32",
        "norms": _POST,
        "norm_places": "post",
    },
    "exaone4": {"qk_norm": "head", "norms": _POST, "norm_places": "post"},
    "ernie4_5": {"bias": "use_bias", "out_bias": "use_bias", "mlp_bias": "use_bias"},
    "seed_oss": {
        "bias": "attention_bias",
        "out_bias": "attention_out_bias",
        "mlp_bias": "mlp_bias",
        "dropout": "residual_dropout",
    },
    "helium": {"bias": "attention_bias", "mlp_bias": "mlp_bias", "norm": "rms_fp32"},
    "hunyuan_v1_dense": {
        "bias": "attention_bias",
        "out_bias": "attention_bias",
        "qk_norm": "head",
        "qk_names": ("query_layernorm", "key_layernorm"),
    },
    "glm": _GLM,
    "glm4": {
        **_GLM,
        "norms": (*PRE, "post_self_attn_layernorm", "post_mlp_layernorm"),
        "norm_places": "sandwich",
    },
    "cohere": {**_COHERE, "qk_norm": "head", "qk_key": "use_qk_norm"},
    "cohere2": _COHERE,
    "starcoder2": {
        **_LAYER_NORM,
        "bias": "use_bias",
        "out_bias": "use_bias",
        "mlp_bias": "use_bias",
        "mlp": "plain",
        "mlp_names": ("c_fc", "c_proj"),
        "dropout": "residual_dropout",
    },
    "stablelm": {
        **_LAYER_NORM,
        "bias": "use_qkv_bias",
        "qk_norm": "head",
        "qk_key": "qk_layernorm",
        "qk_names": ("q_layernorm.norms.{}", "k_layernorm.norms.{}"),
        "copies_rotated": True,
        "dropout": "hidden_dropout",
    },
    "phi": {
        **_LAYER_NORM,
        "bias": "always",
        "out_bias": "always",
        "mlp_bias": "always",
        "qk_norm": "head",
        "qk_key": "qk_layernorm",
        "qk_names": ("q_layernorm", "k_layernorm"),
        "norms": ("input_layernorm",),
        "parallel": True,
        "mlp": "plain",
        "mlp_names": ("fc1", "fc2"),
        "out": "dense",
        "final": "final_layernorm",
        "head_bias": True,
        "copies_rotated": True,
        "dropout": "resid_pdrop",
    },
    "nemotron": {
        **_LAYER_NORM,
        "bias": "attention_bias",
        "out_bias": "attention_bias",
        "mlp_bias": "mlp_bias",
        "mlp": "plain",
        "copies_rotated": True,
    },
    "arcee": {
        "bias": "attention_bias",
        "out_bias": "attention_bias",
        "mlp_bias": "mlp_bias",
        "mlp": "plain",
    },
}

MODEL_TYPES: Final = tuple(_LAYOUTS)


def read(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture named by a config.json of one of `MODEL_TYPES`; raises ModelError."""
    choice = _LAYOUTS[model_type]
    a = sizes(model_type, fields, choice)
    norms = choice.get("norms", PRE)
    if model_type == "stablelm" and a.parallel_residual:
        norms = norms[:1]
    weights = [t for name in norms for t in modules.norm(name, a.hidden, a.norm == "layer")]
    layer = [*attend(a, choice), *feed(a, choice), *weights]
    return _with(a, choice, layer)


def _with(a: Architecture, choice: Traits, layer: list[Tensor]) -> Architecture:
    last = modules.norm(f"model.{choice.get('final', 'norm')}", a.hidden, a.norm == "layer")
    end = modules.head(a.tied, a.vocab, a.hidden, choice.get("head_bias", False))
    before = modules.embedding("model.embed_tokens", a.vocab, a.hidden)
    return replace(a, blueprint=Blueprint(before, [layer], [0] * a.layers, [*last, *end]))


def sizes(
    model_type: str, fields: Fields, choice: Traits, feeds: bool = True, layers: int = 0
) -> Architecture:
    """Return the architecture of a decoder without its tensors.

    Some have no dense MLP, and some give the number of `layers` in another way.
    """
    hidden = fields.integer("hidden_size")
    heads = fields.integer("num_attention_heads")
    head_dim = fields.integer("head_dim", default=0)
    plain = choice.get("mlp") == "plain"
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
        activation=fields.word("hidden_act", "hidden_activation", default="silu"),
        gated=not plain,
        qkv_bias=has_bias(fields, choice.get("bias", "")),
        out_bias=has_bias(fields, choice.get("out_bias", "")),
        mlp_bias=has_bias(fields, choice.get("mlp_bias", "")),
        qk_norm=_qk_norm(fields, choice),
        norm=choice.get("norm", "rms"),
        norm_places=choice.get("norm_places", "pre"),
        copies_rotated=choice.get("copies_rotated", False),
        norms=int(_parallel(model_type, fields, choice)),
        parallel_residual=_parallel(model_type, fields, choice),
        dropout=fields.share(choice["dropout"], 0.0) if "dropout" in choice else 0.0,
    )


def _divided(hidden: int, heads: int, choice: Traits) -> int:
    if choice.get("floors"):
        return max(1, hidden // heads)
    return divided("num_attention_heads", hidden, heads)


def _parallel(model_type: str, fields: Fields, choice: Traits) -> bool:
    if model_type == "stablelm":
        return fields.flag("use_parallel_residual", False)
    return choice.get("parallel", False)


def has_bias(fields: Fields, key: str) -> bool:
    """Return whether a bias is there: "always", never for "", or as the config says."""
    return key == "always" or (bool(key) and fields.flag(key, False))


def _qk_norm(fields: Fields, choice: Traits) -> QkNorm:
    if "qk_key" in choice and not fields.flag(choice["qk_key"], False):
        return "none"
    return choice.get("qk_norm", "none")


def attend(a: Architecture, choice: Traits) -> list[Tensor]:
    """Return the matrices of attention, and the norms of queries and keys after them."""
    names = ("q_proj", "k_proj", "v_proj", choice.get("out", "o_proj"))
    heads = a.heads, a.kv_heads, a.head_dim
    found = modules.attention("self_attn", a.hidden, heads, a.qkv_bias, a.out_bias, names)
    if a.model_type == "helium":  # whose output is square
        found[-1] = replace(found[-1], shape=(a.hidden, a.hidden))
    if a.qk_norm == "none":
        return found
    for name, count in zip(choice.get("qk_names", ("q_norm", "k_norm")), heads[:2], strict=True):
        at = f"self_attn.{name}"
        if a.norm == "layer_scaled":  # a row for each head
            found.append(Tensor(f"{at}.weight", (count, a.head_dim), 0))
        elif "{}" in at:
            found += [t for i in range(count) for t in modules.norm(at.format(i), a.head_dim)]
        else:
            width = a.head_dim if a.qk_norm == "head" else count * a.head_dim
            found += modules.norm(at, width, a.norm == "layer")
    return found


def feed(a: Architecture, choice: Traits) -> list[Tensor]:
    """Return the tensors of the MLP."""
    kind = choice.get("mlp", "gated")
    if kind == "plain":
        names = choice.get("mlp_names", ("up_proj", "down_proj"))
        return modules.plain("mlp", a.hidden, a.ffn, a.mlp_bias, names)
    if kind == "gate_up":
        return [
            *modules.linear("mlp.gate_up_proj", 2 * a.ffn, a.hidden, a.mlp_bias, 0),
            *modules.linear("mlp.down_proj", a.hidden, a.ffn, a.mlp_bias, 1),
        ]
    return modules.gated("mlp", a.hidden, a.ffn, a.mlp_bias)


MLLAMA_TYPES: Final = ("mllama_text_model",)
_SPARE: Final = 8  # rows of the embedding beyond the vocabulary, for pictures


def read_mllama(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture named by its config; raises ModelError."""
    a = replace(sizes(model_type, fields, {}), estimated="its layers that look at pictures")
    looks = fields.numbers("cross_attention_layers", [3, 8, 13, 18, 23, 28, 33, 38])
    feed = modules.gated("mlp", a.hidden, a.ffn)
    norms = {name: modules.norm(name, a.hidden) for name in PRE}
    heads = a.heads, a.kv_heads, a.head_dim
    reads = [*modules.attention("self_attn", a.hidden, heads), *feed]
    reads += [t for norm in norms.values() for t in norm]
    sees = [Tensor("cross_attn_attn_gate", (1,)), Tensor("cross_attn_mlp_gate", (1,))]
    sees += modules.attention("cross_attn", a.hidden, heads)
    sees += modules.norm("cross_attn.q_norm", a.head_dim) + modules.norm(
        "cross_attn.k_norm", a.head_dim
    )
    sees += [*norms[PRE[0]], *feed, *norms[PRE[1]]]
    order = [int(index in looks) for index in range(a.layers)]
    before = [Tensor("model.embed_tokens.weight", (a.vocab + _SPARE, a.hidden), 0)]
    after = [*modules.norm("model.norm", a.hidden), *modules.head(a.tied, a.vocab, a.hidden)]
    return replace(a, blueprint=Blueprint(before, [reads, sees], order, after))
