"""T5 and mT5: an encoder and a decoder that also attends to what was encoded.

Names and defaults are those of T5ForConditionalGeneration in transformers 5.24; `layers` counts
those of both halves, encoder first.
"""

from __future__ import annotations

from typing import Final

from unfrozen.model import parts
from unfrozen.model.architecture import Architecture
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.fields import MOST_LAYERS, Fields

MODEL_TYPES: Final = ("t5", "mt5", "umt5")


def read(model_type: str, fields: Fields) -> Architecture:
    """The architecture named by a config.json of one of `MODEL_TYPES`; raises ModelError."""
    hidden, inner = fields.whole("d_model", "hidden_size"), fields.whole("d_ff")
    heads = fields.whole("num_heads", "num_attention_heads"), fields.whole("d_kv")
    encoder = fields.whole("num_layers", "num_hidden_layers", at_most=MOST_LAYERS)
    decoder = fields.whole("num_decoder_layers", default=encoder, at_most=MOST_LAYERS)
    vocab, tied = fields.whole("vocab_size"), True  # whatever the file says
    how = fields.word("feed_forward_proj", default="relu")
    gated = how.startswith("gated")
    drawn = _drawn(hidden, inner, heads, gated, (encoder, decoder), _buckets(model_type, fields))
    return Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=encoder + decoder,
        heads=heads[0],
        kv_heads=heads[0],
        head_dim=heads[1],
        ffn=inner,
        vocab=vocab,
        tied=tied,
        activation="gelu_new" if how == "gated-gelu" else how.removeprefix("gated-"),
        gated=gated,
        dropout=fields.share("dropout_rate", 0.1),
        blueprint=Blueprint(
            [
                *parts.embedding("shared", vocab, hidden),
                *parts.norm("encoder.final_layer_norm", hidden),
                *parts.norm("decoder.final_layer_norm", hidden),
            ],
            *drawn,
            parts.head(tied, vocab, hidden),
            (("encoder.block.{}", 0), ("decoder.block.{}", encoder)),
        ),
        estimated="cross-attention, and an input and an output that are each as long as a sequence",
    )


def _buckets(model_type: str, fields: Fields) -> tuple[int, int]:
    """Distances that the first block of a half learns, and the others (umT5)."""
    buckets = fields.whole("relative_attention_num_buckets")
    return buckets, buckets if model_type == "umt5" else 0


def _drawn(
    hidden: int,
    inner: int,
    heads: tuple[int, int],
    gated: bool,
    counts: tuple[int, int],
    buckets: tuple[int, int],
) -> tuple[list[list[Tensor]], list[int]]:
    """The kinds of blocks of both halves, and which of them each block is."""
    kinds: list[list[Tensor]] = []
    order: list[int] = []
    for decodes, count in enumerate(counts):
        for later, repeats in enumerate((1, count - 1)):
            order += [len(kinds)] * repeats
            kinds.append(_block(hidden, inner, heads, gated, bool(decodes), buckets[later]))
    return kinds, order


def _block(
    hidden: int, inner: int, heads: tuple[int, int], gated: bool, decodes: bool, buckets: int
) -> list[Tensor]:
    found = _attention("layer.0.SelfAttention", hidden, heads)
    if buckets:
        at = "layer.0.SelfAttention.relative_attention_bias.weight"
        found.append(Tensor(at, (buckets, heads[0]), 1))
    found += parts.norm("layer.0.layer_norm", hidden)
    if decodes:
        found += _attention("layer.1.EncDecAttention", hidden, heads)
        found += parts.norm("layer.1.layer_norm", hidden)
    last = f"layer.{2 if decodes else 1}"
    names = ("wi_0", "wi_1", "wo")
    if gated:
        found += parts.gated(f"{last}.DenseReluDense", hidden, inner, names=names)
    else:
        found += parts.plain(f"{last}.DenseReluDense", hidden, inner, False, ("wi", "wo"))
    return found + parts.norm(f"{last}.layer_norm", hidden)


def _attention(at: str, hidden: int, heads: tuple[int, int]) -> list[Tensor]:
    return parts.attention(at, hidden, (heads[0], heads[0], heads[1]), names=("q", "k", "v", "o"))
