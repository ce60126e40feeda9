"""GPT as Megatron-Core builds it: LayerNorm, one qkv matrix with query groups, biases, GELU.

Sizes go by the keys of a Hugging Face config. Learned positions exist where the config gives
`max_position_embeddings`; `hidden_act` "silu" or "swiglu" makes the feed-forward part gated. Names
are those of `megatron.core.models.gpt`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from unfrozen.model.architecture import Architecture, Tensor, divided
from unfrozen.model.fields import MOST_LAYERS, Fields

MODEL_TYPES: Final = ("gpt",)


def read(model_type: str, fields: Fields) -> Architecture:
    """The architecture named by the config; raises ModelError."""
    hidden = fields.integer("hidden_size")
    heads = fields.integer("num_attention_heads")
    head_dim = fields.integer("head_dim", default=0)
    activation = fields.word("hidden_act", default="gelu")
    bias = fields.flag("add_bias_linear", True)
    return Architecture(
        model_type=model_type,
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
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        norm="layer",
        fused_projections=True,
        copies_rotated=True,
        dropout=fields.share("hidden_dropout", default=0.0),
    )


def before(a: Architecture) -> Iterator[Tensor]:
    """Tensors before the first layer."""
    yield Tensor("embedding.word_embeddings.weight", (a.vocab, a.hidden))
    if a.positions:
        yield Tensor("embedding.position_embeddings.weight", (a.positions, a.hidden))


def layer(a: Architecture, index: int) -> Iterator[Tensor]:
    """Tensors of layer `index`."""
    at = f"decoder.layers.{index}"
    qkv = a.q_width + 2 * a.kv_width
    first = 2 * a.ffn if a.gated else a.ffn
    yield from _linear(f"{at}.input_layernorm", (a.hidden,), True)
    yield from _linear(f"{at}.self_attention.linear_qkv", (qkv, a.hidden), a.qkv_bias)
    yield from _linear(f"{at}.self_attention.linear_proj", (a.hidden, a.q_width), a.out_bias)
    yield from _linear(f"{at}.pre_mlp_layernorm", (a.hidden,), True)
    yield from _linear(f"{at}.mlp.linear_fc1", (first, a.hidden), a.mlp_bias)
    yield from _linear(f"{at}.mlp.linear_fc2", (a.hidden, a.ffn), a.mlp_bias)


def after(a: Architecture) -> Iterator[Tensor]:
    """Tensors after the last layer; a tied head is the embedding and is not listed again."""
    yield from _linear("decoder.final_layernorm", (a.hidden,), True)
    if not a.tied:
        yield Tensor("output_layer.weight", (a.vocab, a.hidden))


def _linear(name: str, shape: tuple[int, ...], bias: bool) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", shape)
    if bias:
        yield Tensor(f"{name}.bias", shape[:1])
