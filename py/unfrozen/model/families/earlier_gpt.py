"""Decoders of 2019 to 2023: GPT-2, GPT-NeoX, Megatron's GPT, Falcon, BLOOM, OPT, GPT-J, MPT.

Names, order and defaults are those of transformers 5.24 (`models/falcon` and so on).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from unfrozen.errors import ModelError
from unfrozen.model import modules
from unfrozen.model.architecture import Architecture, divided
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.fields import MOST_LAYERS, Fields

_PLAIN: Final = ("hidden_size",), ("num_hidden_layers",), ("num_attention_heads",)
_OPENAI: Final = ("n_embd", "hidden_size"), ("n_layer", "num_hidden_layers")


def read(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture named by a config.json of one of `MODEL_TYPES`; raises ModelError."""
    return _READERS[model_type](fields)


def _sizes(
    model_type: str,
    fields: Fields,
    width: tuple[str, ...],
    layers: tuple[str, ...],
    heads: tuple[str, ...],
) -> Architecture:
    hidden, count = fields.integer(*width), fields.integer(*heads)
    return Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=fields.integer(*layers, at_most=MOST_LAYERS),
        heads=count,
        kv_heads=count,
        head_dim=divided(heads[0], hidden, count),
        ffn=4 * hidden,
        vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings", True),
        activation=fields.word("activation_function", "activation", default="gelu"),
        gated=False,
        norm="layer",
    )


def _falcon(fields: Fields) -> Architecture:
    names = ("hidden_size", "n_embed"), ("num_hidden_layers", "n_layer")
    a = _sizes("falcon", fields, *names, ("num_attention_heads", "n_head"))
    bias, parallel = fields.flag("bias", False), fields.flag("parallel_attn", True)
    new = fields.flag("new_decoder_architecture", False)
    kv_heads = 1 if fields.flag("multi_query", True) else a.heads
    if new:
        kv_heads = fields.integer("num_kv_heads", "n_head_kv", default=a.heads)
    ffn = (
        fields.integer("ffn_hidden_size", default=4 * a.hidden)
        if fields.has("ffn_hidden_size")
        else a.ffn
    )
    a = replace(
        a,
        kv_heads=kv_heads,
        ffn=ffn,
        parallel_residual=parallel,
        fused_projections=True,
    )
    norms = ["input_layernorm"] if parallel else ["post_attention_layernorm", "input_layernorm"]
    if parallel and fields.integer("num_ln_in_parallel_attn", default=2 if new else 1) == 2:
        norms = ["ln_attn", "ln_mlp"]
    layer = [
        *modules.linear(
            "self_attention.query_key_value", a.q_width + 2 * a.kv_width, a.hidden, bias, 0
        ),
        *modules.linear("self_attention.dense", a.hidden, a.q_width, bias, 1),
        *modules.linear("mlp.dense_h_to_4h", a.ffn, a.hidden, bias, 0),
        *modules.linear("mlp.dense_4h_to_h", a.hidden, a.ffn, bias, 1),
        *(t for name in norms for t in modules.norm(name, a.hidden, True)),
    ]
    before = modules.embedding("transformer.word_embeddings", a.vocab, a.hidden)
    after = modules.norm("transformer.ln_f", a.hidden, True)
    after += modules.head(a.tied, a.vocab, a.hidden)
    order = [0] * a.layers
    return replace(a, blueprint=Blueprint(before, [layer], order, after, "transformer.h.{}"))


def _bloom(fields: Fields) -> Architecture:
    names = ("hidden_size", "n_embed"), ("n_layer", "num_hidden_layers")
    a = _sizes("bloom", fields, *names, ("n_head", "num_attention_heads"))
    return replace(a, activation="gelu_new", fused_projections=True)


def _opt(fields: Fields) -> Architecture:
    a = _sizes("opt", fields, *_PLAIN)
    if fields.flag("_remove_final_layer_norm", False):
        raise ModelError("_remove_final_layer_norm", True, "no published OPT says so", "remove it")
    return replace(
        a,
        ffn=fields.integer("ffn_dim"),
        positions=fields.integer("max_position_embeddings"),
        activation=fields.word("activation_function", default="relu"),
        dropout=fields.share("dropout", 0.1),
    )


def _joined(model_type: str, fields: Fields) -> Architecture:
    """Return GPT-J or CodeGen, whose attention and MLP run in parallel after one norm."""
    a = _sizes(model_type, fields, *_OPENAI, ("n_head", "num_attention_heads"))
    return replace(
        a,
        ffn=fields.integer("n_inner", default=4 * a.hidden),
        activation=fields.word("activation_function", default="gelu_new"),
        dropout=fields.share("resid_pdrop", 0.0),
        parallel_residual=True,
        norms=1,
        copies_rotated=True,
    )


def _bigcode(fields: Fields) -> Architecture:
    a = _sizes("gpt_bigcode", fields, *_OPENAI, ("n_head", "num_attention_heads"))
    return replace(
        a,
        kv_heads=1 if fields.flag("multi_query", True) else a.heads,
        ffn=fields.integer("n_inner", default=4 * a.hidden),
        positions=fields.integer("n_positions"),
        dropout=fields.share("resid_pdrop", 0.1),
        activation=fields.word("activation_function", default="gelu_pytorch_tanh"),
        fused_projections=True,
    )


def _mpt(fields: Fields) -> Architecture:
    names = ("d_model", "hidden_size"), ("n_layers", "num_hidden_layers")
    a = _sizes("mpt", fields, *names, ("n_heads", "num_attention_heads"))
    ffn = fields.integer("expansion_ratio") * a.hidden
    return replace(a, ffn=ffn, fused_projections=True)


def _gpt2(fields: Fields) -> Architecture:
    """Return GPT-2, of which transformers ignores `intermediate_size` and `hidden_act`."""
    if fields.flag("add_cross_attention", False):
        bound = "decoder-only models have no cross-attention"
        raise ModelError("add_cross_attention", True, bound, "remove it")
    a = _sizes("gpt2", fields, *_OPENAI, ("n_head", "num_attention_heads"))
    return replace(
        a,
        ffn=fields.integer("n_inner", default=4 * a.hidden),
        activation=fields.word("activation_function", default="gelu_new"),
        positions=fields.integer("n_positions", "max_position_embeddings", default=1024),
        fused_projections=True,
        dropout=fields.share("resid_pdrop", default=0.1),
    )


def _gpt_neox(fields: Fields) -> Architecture:
    return replace(
        _sizes("gpt_neox", fields, *_PLAIN),
        ffn=fields.integer("intermediate_size"),
        tied=fields.flag("tie_word_embeddings", False),
        activation=fields.word("hidden_act", default="gelu"),
        fused_projections=True,
        copies_rotated=True,
        dropout=fields.share("hidden_dropout", default=0.0),
        parallel_residual=fields.flag("use_parallel_residual", True),
    )


def _megatron(fields: Fields) -> Architecture:
    """Return a GPT of Megatron-Core (`megatron.core.models.gpt`).

    Sizes have the keys of a Hugging Face config. Learned positions exist where it gives
    `max_position_embeddings`; `hidden_act` "silu" or "swiglu" makes the MLP gated.
    """
    hidden, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    head_dim = fields.integer("head_dim", default=0)
    activation = fields.word("hidden_act", default="gelu")
    a = Architecture(
        model_type="gpt",
        hidden=hidden,
        layers=fields.integer("num_hidden_layers", at_most=MOST_LAYERS),
        heads=heads,
        kv_heads=fields.integer("num_key_value_heads", default=heads),
        head_dim=head_dim or divided("num_attention_heads", hidden, heads),
        ffn=fields.integer("intermediate_size", default=4 * hidden),
        vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings", True),
        activation="silu" if activation == "swiglu" else activation,
        gated=activation in ("silu", "swiglu"),
        positions=fields.integer("max_position_embeddings", default=0),
        norm="layer",
        fused_projections=True,
        copies_rotated=True,
        dropout=fields.share("hidden_dropout", default=0.0),
    )
    bias, qkv = fields.flag("add_bias_linear", True), a.q_width + 2 * a.kv_width
    layer = [
        *modules.norm("input_layernorm", hidden, True),
        *modules.linear("self_attention.linear_qkv", qkv, hidden, bias, 0),
        *modules.linear("self_attention.linear_proj", hidden, a.q_width, bias, 1),
        *modules.norm("pre_mlp_layernorm", hidden, True),
        *modules.linear("mlp.linear_fc1", (1 + a.gated) * a.ffn, hidden, bias, 0),
        *modules.linear("mlp.linear_fc2", hidden, a.ffn, bias, 1),
    ]
    before = modules.embedding("embedding.word_embeddings", a.vocab, hidden)
    if a.positions:
        before.append(Tensor("embedding.position_embeddings.weight", (a.positions, hidden)))
    after = modules.norm("decoder.final_layernorm", hidden, True)
    after += [] if a.tied else modules.embedding("output_layer", a.vocab, hidden)
    order = [0] * a.layers
    return replace(a, blueprint=Blueprint(before, [layer], order, after, "decoder.layers.{}"))


_READERS: Final[dict[str, Callable[[Fields], Architecture]]] = {
    "falcon": _falcon,
    "bloom": _bloom,
    "opt": _opt,
    "gptj": partial(_joined, "gptj"),
    "codegen": partial(_joined, "codegen"),
    "gpt_bigcode": _bigcode,
    "mpt": _mpt,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
    "gpt": _megatron,
}
MODEL_TYPES: Final = tuple(_READERS)
WITHOUT_DEFAULTS: Final = ("gpt2", "gpt_neox", "gpt")
"""Types whose files must name what their readers have no default for."""
