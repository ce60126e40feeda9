"""GPT-2: LayerNorm, learned positions, one fused qkv matrix, biases everywhere, GELU 4D.

Its `Conv1D` stores a matrix as (into, out), the transpose of a Linear layer. Names, order and
defaults are those of transformers 5 (`models/gpt2`), which knows neither `intermediate_size` nor
`hidden_act` of such a model and leaves them unread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from unfrozen.errors import ModelError
from unfrozen.model.architecture import Architecture, Tensor, divided
from unfrozen.model.fields import MOST_LAYERS, Fields

MODEL_TYPES: Final = ("gpt2",)


def read(model_type: str, fields: Fields) -> Architecture:
    """The architecture named by GPT-2's config.json; raises ModelError."""
    hidden = fields.integer("n_embd", "hidden_size")
    heads = fields.integer("n_head", "num_attention_heads")
    if fields.flag("add_cross_attention", False):
        bound = "decoder-only models have no cross-attention"
        raise ModelError("add_cross_attention", True, bound, "remove it")
    return Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=fields.integer("n_layer", "num_hidden_layers", at_most=MOST_LAYERS),
        heads=heads,
        kv_heads=heads,
        head_dim=divided("n_head", hidden, heads),
        ffn=fields.integer("n_inner", default=4 * hidden),
        vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings", True),
        activation=fields.word("activation_function", default="gelu_new"),
        gated=False,
        positions=fields.integer("n_positions", "max_position_embeddings", default=1024),
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        norm="layer",
        fused_projections=True,
        dropout=fields.share("resid_pdrop", default=0.1),
    )


def before(a: Architecture) -> Iterator[Tensor]:
    """Tensors before the first layer."""
    yield Tensor("transformer.wte.weight", (a.vocab, a.hidden))
    yield Tensor("transformer.wpe.weight", (a.positions, a.hidden))


def layer(a: Architecture, index: int) -> Iterator[Tensor]:
    """Tensors of layer `index`, in the order transformers registers them."""
    at = f"transformer.h.{index}"
    yield from _norm(a, f"{at}.ln_1")
    yield from _conv(f"{at}.attn.c_attn", a.hidden, a.q_width + 2 * a.kv_width)
    yield from _conv(f"{at}.attn.c_proj", a.q_width, a.hidden)
    yield from _norm(a, f"{at}.ln_2")
    yield from _conv(f"{at}.mlp.c_fc", a.hidden, a.ffn)
    yield from _conv(f"{at}.mlp.c_proj", a.ffn, a.hidden)


def after(a: Architecture) -> Iterator[Tensor]:
    """Tensors after the last layer; a tied head is the embedding and is not listed again."""
    yield from _norm(a, "transformer.ln_f")
    if not a.tied:
        yield Tensor("lm_head.weight", (a.vocab, a.hidden))


def _norm(a: Architecture, name: str) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", (a.hidden,))
    yield Tensor(f"{name}.bias", (a.hidden,))


def _conv(name: str, into: int, out: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", (into, out))
    yield Tensor(f"{name}.bias", (out,))
