"""BERT with a classification or a masked-language-model head: a post-norm encoder.

Names, order and defaults are those of BertForSequenceClassification in transformers 5, with two
classes where a config.json names none, as there; one that names BertForMaskedLM has that head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from unfrozen.model.architecture import Architecture, Tensor, divided
from unfrozen.model.fields import MOST_LAYERS, Fields

MODEL_TYPES: Final = ("bert",)


def read(model_type: str, fields: Fields) -> Architecture:
    """The architecture named by BERT's config.json; raises ModelError."""
    masked = fields.first_class("architectures").endswith("ForMaskedLM")
    hidden = fields.integer("hidden_size", default=768)
    heads = fields.integer("num_attention_heads", default=12)
    return Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=fields.integer("num_hidden_layers", default=12, at_most=MOST_LAYERS),
        heads=heads,
        kv_heads=heads,
        head_dim=divided("num_attention_heads", hidden, heads),
        ffn=fields.integer("intermediate_size", default=3072),
        vocab=fields.integer("vocab_size", default=30522),
        tied=True,  # no head over the vocabulary
        activation=fields.word("hidden_act", default="gelu"),
        gated=False,
        positions=fields.integer("max_position_embeddings", default=512),
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        norm="layer",
        norm_places="post",
        dropout=fields.share("hidden_dropout_prob", default=0.1),
        types=fields.integer("type_vocab_size", default=2),
        labels=0 if masked else fields.integer("num_labels", default=2),
    )


def before(a: Architecture) -> Iterator[Tensor]:
    """Tensors before the first layer."""
    at = "bert.embeddings"
    yield Tensor(f"{at}.word_embeddings.weight", (a.vocab, a.hidden))
    yield Tensor(f"{at}.position_embeddings.weight", (a.positions, a.hidden))
    yield Tensor(f"{at}.token_type_embeddings.weight", (a.types, a.hidden))
    yield from _linear(f"{at}.LayerNorm", (a.hidden,))


def layer(a: Architecture, index: int) -> Iterator[Tensor]:
    """Tensors of layer `index`, in the order transformers registers them."""
    at = f"bert.encoder.layer.{index}"
    for name in ("query", "key", "value"):
        yield from _linear(f"{at}.attention.self.{name}", (a.q_width, a.hidden))
    yield from _linear(f"{at}.attention.output.dense", (a.hidden, a.q_width))
    yield from _linear(f"{at}.attention.output.LayerNorm", (a.hidden,))
    yield from _linear(f"{at}.intermediate.dense", (a.ffn, a.hidden))
    yield from _linear(f"{at}.output.dense", (a.hidden, a.ffn))
    yield from _linear(f"{at}.output.LayerNorm", (a.hidden,))


def after(a: Architecture) -> Iterator[Tensor]:
    """The pooler and the classifier, or the masked-language-model head, tied to the embedding."""
    if not a.labels:
        at = "cls.predictions"
        yield Tensor(f"{at}.bias", (a.vocab,), 0, vocabulary=True)
        yield from _linear(f"{at}.transform.dense", (a.hidden, a.hidden))
        yield from _linear(f"{at}.transform.LayerNorm", (a.hidden,))
        return
    yield from _linear("bert.pooler.dense", (a.hidden, a.hidden))
    yield from _linear("classifier", (a.labels, a.hidden))


def _linear(name: str, shape: tuple[int, ...]) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", shape)
    yield Tensor(f"{name}.bias", shape[:1])
