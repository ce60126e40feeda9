"""Encoders with a masked-language-model head, and T5, which encodes and decodes.

RoBERTa, XLM-R, DistilBERT, ELECTRA's generator, DeBERTa-v2 and ModernBERT: names and defaults are
those of the `…ForMaskedLM` classes of transformers 5.24. Their head is tied to the embedding. T5,
mT5 and umT5 have a stack of layers in each half; `layers` counts both.
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
    return _READERS[model_type](model_type, fields)


def _sizes(model_type: str, fields: Fields, names: tuple[tuple[str, ...], ...]) -> Architecture:
    width, layers, heads, ffn = names
    hidden, count = fields.integer(*width), fields.integer(*heads)
    return Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=fields.integer(*layers, at_most=MOST_LAYERS),
        heads=count,
        kv_heads=count,
        head_dim=divided(heads[0], hidden, count),
        ffn=fields.integer(*ffn),
        vocab=fields.integer("vocab_size"),
        tied=True,
        activation=fields.word("hidden_act", "hidden_activation", "activation", default="gelu"),
        gated=False,
        norm="layer",
        norm_places="post",
        dropout=fields.share("hidden_dropout_prob", 0.1),
    )


_BERT: Final = (
    ("hidden_size",),
    ("num_hidden_layers",),
    ("num_attention_heads",),
    ("intermediate_size",),
)


def _roberta(model_type: str, fields: Fields) -> Architecture:
    a = _sizes(model_type, fields, _BERT)
    return replace(a, positions=fields.integer("max_position_embeddings"))


def _bert(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture of BERT's config.json; raises ModelError.

    A config that names BertForMaskedLM has that head. Any other has the head of
    BertForSequenceClassification, with two classes by default, as in transformers.
    """
    a = _roberta(model_type, fields)
    masked = fields.first_class("architectures").endswith("ForMaskedLM")
    return a if masked else replace(a, labels=fields.integer("num_labels", default=2))


def with_classifier(a: Architecture) -> Architecture:
    """Return BERT with the head of BertForSequenceClassification."""
    b, after = a.blueprint, modules.linear("bert.pooler.dense", a.hidden, a.hidden, True)
    after += modules.linear("classifier", a.labels, a.hidden, True)
    return replace(a, blueprint=Blueprint(b.before, b.kinds, b.order, after, b.at))


def _deberta(model_type: str, fields: Fields) -> Architecture:
    a, at = _roberta(model_type, fields), "deberta.embeddings"
    types = fields.count("type_vocab_size")
    width = fields.integer("embedding_size", default=a.hidden)
    before = modules.embedding(f"{at}.word_embeddings", a.vocab, width)
    if fields.flag("position_biased_input", True):
        before.append(Tensor(f"{at}.position_embeddings.weight", (a.positions, width)))
    if types:
        before.append(Tensor(f"{at}.token_type_embeddings.weight", (types, width)))
    if width != a.hidden:
        before += modules.linear("deberta.embeddings.embed_proj", a.hidden, width)
    before += modules.norm("deberta.embeddings.LayerNorm", a.hidden, True)
    layer: list[Tensor] = []
    for name in ("query_proj", "key_proj", "value_proj"):
        layer += modules.linear(f"attention.self.{name}", a.hidden, a.hidden, True, 0)
    layer += modules.linear("attention.output.dense", a.hidden, a.hidden, True, 1)
    layer += modules.norm("attention.output.LayerNorm", a.hidden, True)
    layer += modules.linear("intermediate.dense", a.ffn, a.hidden, True, 0)
    layer += modules.linear("output.dense", a.hidden, a.ffn, True, 1)
    layer += modules.norm("output.LayerNorm", a.hidden, True)
    layer, after = _relative(fields, a, layer)
    after.append(Tensor("cls.predictions.bias", (a.vocab,), 0, vocabulary=True))
    after += modules.linear("cls.predictions.transform.dense", width, a.hidden, True)
    after += modules.norm("cls.predictions.transform.LayerNorm", width, True)
    at, order = "deberta.encoder.layer.{}", [0] * a.layers
    written = Blueprint(before, [layer], order, after, at)
    return replace(a, blueprint=written, estimated="its attention to distances")


def _relative(
    fields: Fields, a: Architecture, layer: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the tensors of relative attention in a layer, and outside the layers."""
    if not fields.flag("relative_attention", False):
        return layer, []
    attends_by = fields.names("pos_att_type")
    if not fields.flag("share_att_key", False):
        extra = {"c2p": "pos_key_proj", "p2c": "pos_query_proj"}
        for word in (word for word in extra if word in attends_by):
            at = next(i for i, t in enumerate(layer) if t.name.startswith("attention.output"))
            layer[at:at] = modules.linear(
                f"attention.self.{extra[word]}", a.hidden, a.hidden, True, 0
            )
    reach = (
        fields.integer("max_relative_positions")
        if fields.is_positive("max_relative_positions")
        else a.positions
    )
    buckets = (
        fields.integer("position_buckets") if fields.is_positive("position_buckets") else reach
    )
    outside = [Tensor("deberta.encoder.rel_embeddings.weight", (2 * buckets, a.hidden))]
    if "layer_norm" in fields.word("norm_rel_ebd", default="none"):
        outside += modules.norm("deberta.encoder.LayerNorm", a.hidden, True)
    kernel = fields.count("conv_kernel_size")
    if kernel:
        groups = fields.integer("conv_groups", default=1)
        outside.append(
            Tensor("deberta.encoder.conv.conv.weight", (a.hidden, a.hidden // groups, kernel))
        )
        outside.append(Tensor("deberta.encoder.conv.conv.bias", (a.hidden,)))
        outside += modules.norm("deberta.encoder.conv.LayerNorm", a.hidden, True)
    return layer, outside


def _distilbert(model_type: str, fields: Fields) -> Architecture:
    names = (("dim", "hidden_size"), ("n_layers", "num_hidden_layers"))
    heads = ("n_heads", "num_attention_heads")
    a = _sizes(model_type, fields, (*names, heads, ("hidden_dim",)))
    positions = fields.integer("max_position_embeddings")
    return replace(a, positions=positions, dropout=fields.share("dropout", 0.1))


def _modernbert(model_type: str, fields: Fields) -> Architecture:
    a = _sizes(model_type, fields, _BERT)
    return replace(
        a,
        gated=True,
        norm_places="pre",
        dropout=fields.share("mlp_dropout", 0.0),
        fused_projections=True,
        tied=fields.flag("tie_word_embeddings", True),
        estimated="its windows and rotated copies",
    )


_READERS: Final[dict[str, Callable[[str, Fields], Architecture]]] = {
    "bert": _bert,
    "roberta": _roberta,
    "electra": _roberta,
    "deberta-v2": _deberta,
    "distilbert": _distilbert,
    "modernbert": _modernbert,
}
MODEL_TYPES: Final = tuple(_READERS)


T5_TYPES: Final = ("t5", "mt5", "umt5")


def read_t5(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture named by a config.json of one of `T5_TYPES`; raises ModelError."""
    hidden, inner = fields.integer("d_model", "hidden_size"), fields.integer("d_ff")
    heads = fields.integer("num_heads", "num_attention_heads"), fields.integer("d_kv")
    encoder = fields.integer("num_layers", "num_hidden_layers", at_most=MOST_LAYERS)
    decoder = fields.integer("num_decoder_layers", default=encoder, at_most=MOST_LAYERS)
    vocab, tied = fields.integer("vocab_size"), True  # whatever the file says
    how = fields.word("feed_forward_proj", default="relu")
    gated = how.startswith("gated")
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
        estimated="cross-attention, and an input and an output that are each as long as a sequence",
    )
