"""Decoders of 2021 to 2023 that people still train: Falcon, BLOOM, OPT, GPT-J, CodeGen, MPT.

Names, order and defaults are those of transformers 5.24 (`models/falcon` and so on).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from unfrozen.model import modules
from unfrozen.model.architecture import Architecture, divided
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.fields import MOST_LAYERS, Fields


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
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        norm="layer",
    )


def _with_blueprint(
    a: Architecture,
    before: list[Tensor],
    layer: list[Tensor],
    after: list[Tensor],
    at: str = "transformer.h.{}",
) -> Architecture:
    return replace(a, blueprint=Blueprint(before, [layer], [0] * a.layers, after, at))


def _norm(a: Architecture, name: str, bias: bool = True) -> list[Tensor]:
    return modules.norm(name, a.hidden, bias)


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
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
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
        *modules.plain("mlp", a.hidden, a.ffn, bias, ("dense_h_to_4h", "dense_4h_to_h")),
        *(t for name in norms for t in _norm(a, name)),
    ]
    before = modules.embedding("transformer.word_embeddings", a.vocab, a.hidden)
    after = [*_norm(a, "transformer.ln_f"), *modules.head(a.tied, a.vocab, a.hidden)]
    return _with_blueprint(a, before, layer, after)


def _bloom(fields: Fields) -> Architecture:
    names = ("hidden_size", "n_embed"), ("n_layer", "num_hidden_layers")
    a = _sizes("bloom", fields, *names, ("n_head", "num_attention_heads"))
    a = replace(a, activation="gelu_new", fused_projections=True)
    layer = [
        *_norm(a, "input_layernorm"),
        *modules.linear("self_attention.query_key_value", 3 * a.hidden, a.hidden, True, 0),
        *modules.linear("self_attention.dense", a.hidden, a.hidden, True, 1),
        *_norm(a, "post_attention_layernorm"),
        *modules.plain("mlp", a.hidden, a.ffn, True, ("dense_h_to_4h", "dense_4h_to_h")),
    ]
    before = modules.embedding("transformer.word_embeddings", a.vocab, a.hidden)
    before += _norm(a, "transformer.word_embeddings_layernorm")
    after = [*_norm(a, "transformer.ln_f"), *modules.head(a.tied, a.vocab, a.hidden)]
    return _with_blueprint(a, before, layer, after)


def _opt(fields: Fields) -> Architecture:
    names = ("hidden_size",), ("num_hidden_layers",), ("num_attention_heads",)
    a = _sizes("opt", fields, *names)
    positions = fields.integer("max_position_embeddings")
    bias = fields.flag("enable_bias", True)
    a = replace(
        a,
        ffn=fields.integer("ffn_dim"),
        positions=positions,
        activation=fields.word("activation_function", default="relu"),
        dropout=fields.share("dropout", 0.1),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
    )
    heads = a.heads, a.heads, a.head_dim
    k_first = ("k_proj", "v_proj", "q_proj", "out_proj")
    layer = [
        *modules.attention("self_attn", a.hidden, heads, bias, bias, k_first),
        *_norm(a, "self_attn_layer_norm"),
        *modules.plain(".", a.hidden, a.ffn, bias, ("fc1", "fc2")),
        *_norm(a, "final_layer_norm"),
    ]
    layer = [replace(t, name=t.name.removeprefix("..")) for t in layer]
    narrow = fields.integer("word_embed_proj_dim", default=a.hidden)
    at = "model.decoder"
    before = modules.embedding(f"{at}.embed_tokens", a.vocab, narrow)
    before.append(Tensor(f"{at}.embed_positions.weight", (positions + 2, a.hidden)))
    if narrow != a.hidden:
        before += modules.linear(f"{at}.project_out", narrow, a.hidden)
        before += modules.linear(f"{at}.project_in", a.hidden, narrow)
    if fields.flag("do_layer_norm_before", True) and not fields.flag(
        "_remove_final_layer_norm", False
    ):
        before += _norm(a, f"{at}.final_layer_norm")
    after = modules.head(a.tied, a.vocab, narrow)
    return _with_blueprint(a, before, layer, after, f"{at}.layers.{{}}")


_OPENAI: Final = ("n_embd", "hidden_size"), ("n_layer", "num_hidden_layers")


def _gptj(fields: Fields) -> Architecture:
    heads = ("k_proj", "v_proj", "q_proj")
    return _joined("gptj", fields, lambda a: [t for n in heads for t in _square(a, f"attn.{n}")])


def _codegen(fields: Fields) -> Architecture:
    return _joined(
        "codegen",
        fields,
        lambda a: modules.linear("attn.qkv_proj", 3 * a.hidden, a.hidden, cut=0),
        out_first=True,
    )


def _square(a: Architecture, name: str) -> list[Tensor]:
    return modules.linear(name, a.hidden, a.hidden, cut=0)


def _joined(
    model_type: str,
    fields: Fields,
    qkv: Callable[[Architecture], list[Tensor]],
    out_first: bool = False,
) -> Architecture:
    """Return GPT-J or CodeGen, whose attention and MLP run in parallel after one norm."""
    a = _sizes(model_type, fields, *_OPENAI, ("n_head", "num_attention_heads"))
    a = replace(
        a,
        ffn=fields.integer("n_inner", default=4 * a.hidden),
        qkv_bias=False,
        out_bias=False,
        activation=fields.word("activation_function", default="gelu_new"),
        dropout=fields.share("resid_pdrop", 0.0),
        parallel_residual=True,
        norms=1,
        copies_rotated=True,
    )
    out = modules.linear("attn.out_proj", a.hidden, a.hidden, cut=1)
    layer = [
        *_norm(a, "ln_1"),
        *([*out, *qkv(a)] if out_first else [*qkv(a), *out]),
        *modules.plain("mlp", a.hidden, a.ffn, True, ("fc_in", "fc_out")),
    ]
    before = modules.embedding("transformer.wte", a.vocab, a.hidden)
    after = [*_norm(a, "transformer.ln_f"), *modules.head(a.tied, a.vocab, a.hidden, True)]
    return _with_blueprint(a, before, layer, after)


def _bigcode(fields: Fields) -> Architecture:
    a = _sizes("gpt_bigcode", fields, *_OPENAI, ("n_head", "num_attention_heads"))
    a = replace(
        a,
        kv_heads=1 if fields.flag("multi_query", True) else a.heads,
        ffn=fields.integer("n_inner", default=4 * a.hidden),
        positions=fields.integer("n_positions"),
        dropout=fields.share("resid_pdrop", 0.1),
        activation=fields.word("activation_function", default="gelu_pytorch_tanh"),
        fused_projections=True,
    )
    layer = [
        *_norm(a, "ln_1"),
        *modules.linear("attn.c_attn", a.q_width + 2 * a.kv_width, a.hidden, True, 0),
        *modules.linear("attn.c_proj", a.hidden, a.q_width, True, 1),
        *_norm(a, "ln_2"),
        *modules.plain("mlp", a.hidden, a.ffn, True, ("c_fc", "c_proj")),
    ]
    before = modules.embedding("transformer.wte", a.vocab, a.hidden)
    before.append(Tensor("transformer.wpe.weight", (a.positions, a.hidden)))
    after = [*_norm(a, "transformer.ln_f"), *modules.head(a.tied, a.vocab, a.hidden)]
    return _with_blueprint(a, before, layer, after)


def _mpt(fields: Fields) -> Architecture:
    names = ("d_model", "hidden_size"), ("n_layers", "num_hidden_layers")
    a = _sizes("mpt", fields, *names, ("n_heads", "num_attention_heads"))
    a = replace(
        a,
        ffn=fields.integer("expansion_ratio") * a.hidden,
        qkv_bias=False,
        out_bias=False,
        mlp_bias=False,
        fused_projections=True,
    )
    layer = [
        *_norm(a, "norm_1", False),
        *modules.linear("attn.Wqkv", 3 * a.hidden, a.hidden, cut=0),
        *modules.linear("attn.out_proj", a.hidden, a.hidden, cut=1),
        *_norm(a, "norm_2", False),
        *modules.plain("ffn", a.hidden, a.ffn, False),
    ]
    before = modules.embedding("transformer.wte", a.vocab, a.hidden)
    after = [*_norm(a, "transformer.norm_f", False), *modules.head(a.tied, a.vocab, a.hidden)]
    return _with_blueprint(a, before, layer, after, "transformer.blocks.{}")


_READERS: Final[dict[str, Callable[[Fields], Architecture]]] = {
    "falcon": _falcon,
    "bloom": _bloom,
    "opt": _opt,
    "gptj": _gptj,
    "codegen": _codegen,
    "gpt_bigcode": _bigcode,
    "mpt": _mpt,
}
MODEL_TYPES: Final = tuple(_READERS)
