"""GPT-NeoX and Pythia: LayerNorm, rotary positions, fused qkv, attention beside the MLP.

Names, order and defaults are those of transformers 5 (`models/gpt_neox`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from unfrozen.model.architecture import Architecture, Tensor, divided
from unfrozen.model.fields import MOST_LAYERS, Fields

MODEL_TYPES: Final = ("gpt_neox",)


def read(model_type: str, fields: Fields) -> Architecture:
    """The architecture named by a GPT-NeoX config.json; raises ModelError."""
    hidden = fields.integer("hidden_size")
    heads = fields.integer("num_attention_heads")
    bias = fields.flag("attention_bias", True)
    return Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=fields.integer("num_hidden_layers", at_most=MOST_LAYERS),
        heads=heads,
        kv_heads=heads,
        head_dim=divided("num_attention_heads", hidden, heads),
        ffn=fields.integer("intermediate_size"),
        vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings", False),
        activation=fields.word("hidden_act", default="gelu"),
        gated=False,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=True,
        norm="layer",
        fused_projections=True,
        copies_rotated=True,
        dropout=fields.share("hidden_dropout", default=0.0),
        parallel_residual=fields.flag("use_parallel_residual", True),
    )


def before(a: Architecture) -> Iterator[Tensor]:
    """Tensors before the first layer."""
    yield Tensor("gpt_neox.embed_in.weight", (a.vocab, a.hidden))


def layer(a: Architecture, index: int) -> Iterator[Tensor]:
    """Tensors of layer `index`, in the order transformers registers them."""
    at = f"gpt_neox.layers.{index}"
    yield from _linear(f"{at}.input_layernorm", (a.hidden,))
    yield from _linear(f"{at}.post_attention_layernorm", (a.hidden,))
    qkv_shape = (a.q_width + 2 * a.kv_width, a.hidden)
    yield from _linear(f"{at}.attention.query_key_value", qkv_shape, a.qkv_bias)
    yield from _linear(f"{at}.attention.dense", (a.hidden, a.q_width), a.out_bias)
    yield from _linear(f"{at}.mlp.dense_h_to_4h", (a.ffn, a.hidden))
    yield from _linear(f"{at}.mlp.dense_4h_to_h", (a.hidden, a.ffn))


def after(a: Architecture) -> Iterator[Tensor]:
    """Tensors after the last layer; a tied head is the embedding and is not listed again."""
    yield from _linear("gpt_neox.final_layer_norm", (a.hidden,))
    if not a.tied:
        yield Tensor("lm_head.weight", (a.vocab, a.hidden))


def _linear(name: str, shape: tuple[int, ...], bias: bool = True) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", shape)
    if bias:
        yield Tensor(f"{name}.bias", shape[:1])
