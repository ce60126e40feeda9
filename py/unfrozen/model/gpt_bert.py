"""GPT-2, GPT-NeoX, Megatron-Core's GPT and BERT: their config.json, and their tensors in order.

Names, order and defaults are those of transformers 5 (`models/gpt2`, `models/gpt_neox`,
`models/bert`) and of `megatron.core.models.gpt`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from unfrozen.errors import ModelError
from unfrozen.model.architecture import Architecture, Tensor, divided
from unfrozen.model.fields import MOST_LAYERS, Fields
from unfrozen.model.modules import TensorList, linear, norm


def _read_gpt2(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture of GPT-2's config.json; raises ModelError.

    Of such a model transformers ignores `intermediate_size` and `hidden_act`.
    """
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


def _gpt2_before(a: Architecture) -> Iterator[Tensor]:
    yield Tensor("transformer.wte.weight", (a.vocab, a.hidden))
    yield Tensor("transformer.wpe.weight", (a.positions, a.hidden))


def _gpt2_layer(a: Architecture, index: int) -> Iterator[Tensor]:
    at = f"transformer.h.{index}"
    yield from norm(f"{at}.ln_1", a.hidden, True)
    yield from _conv1d(f"{at}.attn.c_attn", a.hidden, a.q_width + 2 * a.kv_width)
    yield from _conv1d(f"{at}.attn.c_proj", a.q_width, a.hidden)
    yield from norm(f"{at}.ln_2", a.hidden, True)
    yield from _conv1d(f"{at}.mlp.c_fc", a.hidden, a.ffn)
    yield from _conv1d(f"{at}.mlp.c_proj", a.ffn, a.hidden)


def _conv1d(name: str, into: int, out: int) -> Iterator[Tensor]:
    """Yield the tensors of GPT-2's Conv1D, whose matrix is the transpose of a Linear layer's."""
    yield Tensor(f"{name}.weight", (into, out))
    yield Tensor(f"{name}.bias", (out,))


def _gpt2_after(a: Architecture) -> Iterator[Tensor]:
    yield from norm("transformer.ln_f", a.hidden, True)
    yield from _untied_head(a, "lm_head")


def _untied_head(a: Architecture, name: str) -> Iterator[Tensor]:
    if not a.tied:
        yield Tensor(f"{name}.weight", (a.vocab, a.hidden))


def _read_gpt_neox(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture of the config.json of GPT-NeoX or Pythia; raises ModelError."""
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


def _gpt_neox_before(a: Architecture) -> Iterator[Tensor]:
    yield Tensor("gpt_neox.embed_in.weight", (a.vocab, a.hidden))


def _gpt_neox_layer(a: Architecture, index: int) -> Iterator[Tensor]:
    at = f"gpt_neox.layers.{index}"
    qkv = a.q_width + 2 * a.kv_width
    yield from norm(f"{at}.input_layernorm", a.hidden, True)
    yield from norm(f"{at}.post_attention_layernorm", a.hidden, True)
    yield from linear(f"{at}.attention.query_key_value", qkv, a.hidden, a.qkv_bias)
    yield from linear(f"{at}.attention.dense", a.hidden, a.q_width, a.out_bias)
    yield from linear(f"{at}.mlp.dense_h_to_4h", a.ffn, a.hidden, True)
    yield from linear(f"{at}.mlp.dense_4h_to_h", a.hidden, a.ffn, True)


def _gpt_neox_after(a: Architecture) -> Iterator[Tensor]:
    yield from norm("gpt_neox.final_layer_norm", a.hidden, True)
    yield from _untied_head(a, "lm_head")


def _read_megatron(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture of a GPT of Megatron-Core; raises ModelError.

    Sizes have the keys of a Hugging Face config. Learned positions exist where it gives
    `max_position_embeddings`; `hidden_act` "silu" or "swiglu" makes the MLP gated.
    """
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


def _megatron_before(a: Architecture) -> Iterator[Tensor]:
    yield Tensor("embedding.word_embeddings.weight", (a.vocab, a.hidden))
    if a.positions:
        yield Tensor("embedding.position_embeddings.weight", (a.positions, a.hidden))


def _megatron_layer(a: Architecture, index: int) -> Iterator[Tensor]:
    at = f"decoder.layers.{index}"
    qkv = a.q_width + 2 * a.kv_width
    up = 2 * a.ffn if a.gated else a.ffn
    yield from norm(f"{at}.input_layernorm", a.hidden, True)
    yield from linear(f"{at}.self_attention.linear_qkv", qkv, a.hidden, a.qkv_bias)
    yield from linear(f"{at}.self_attention.linear_proj", a.hidden, a.q_width, a.out_bias)
    yield from norm(f"{at}.pre_mlp_layernorm", a.hidden, True)
    yield from linear(f"{at}.mlp.linear_fc1", up, a.hidden, a.mlp_bias)
    yield from linear(f"{at}.mlp.linear_fc2", a.hidden, a.ffn, a.mlp_bias)


def _megatron_after(a: Architecture) -> Iterator[Tensor]:
    yield from norm("decoder.final_layernorm", a.hidden, True)
    yield from _untied_head(a, "output_layer")


def _read_bert(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture of BERT's config.json; raises ModelError.

    A config that names BertForMaskedLM has that head. Any other has the head of
    BertForSequenceClassification, with two classes by default, as in transformers.
    """
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


def _bert_before(a: Architecture) -> Iterator[Tensor]:
    at = "bert.embeddings"
    yield Tensor(f"{at}.word_embeddings.weight", (a.vocab, a.hidden))
    yield Tensor(f"{at}.position_embeddings.weight", (a.positions, a.hidden))
    yield Tensor(f"{at}.token_type_embeddings.weight", (a.types, a.hidden))
    yield from norm(f"{at}.LayerNorm", a.hidden, True)


def _bert_layer(a: Architecture, index: int) -> Iterator[Tensor]:
    at = f"bert.encoder.layer.{index}"
    for name in ("query", "key", "value"):
        yield from linear(f"{at}.attention.self.{name}", a.q_width, a.hidden, True)
    yield from linear(f"{at}.attention.output.dense", a.hidden, a.q_width, True)
    yield from norm(f"{at}.attention.output.LayerNorm", a.hidden, True)
    yield from linear(f"{at}.intermediate.dense", a.ffn, a.hidden, True)
    yield from linear(f"{at}.output.dense", a.hidden, a.ffn, True)
    yield from norm(f"{at}.output.LayerNorm", a.hidden, True)


def _bert_after(a: Architecture) -> Iterator[Tensor]:
    """Yield the pooler and the classifier, or the masked-language-model head, which is tied."""
    if a.labels:
        yield from linear("bert.pooler.dense", a.hidden, a.hidden, True)
        yield from linear("classifier", a.labels, a.hidden, True)
        return
    at = "cls.predictions"
    yield Tensor(f"{at}.bias", (a.vocab,), 0, vocabulary=True)
    yield from linear(f"{at}.transform.dense", a.hidden, a.hidden, True)
    yield from norm(f"{at}.transform.LayerNorm", a.hidden, True)


TENSOR_LISTS: Final = {
    "gpt2": TensorList(_read_gpt2, _gpt2_before, _gpt2_layer, _gpt2_after),
    "gpt_neox": TensorList(_read_gpt_neox, _gpt_neox_before, _gpt_neox_layer, _gpt_neox_after),
    "bert": TensorList(_read_bert, _bert_before, _bert_layer, _bert_after),
    "gpt": TensorList(_read_megatron, _megatron_before, _megatron_layer, _megatron_after),
}
"""By `model_type`, how the config is read and which tensors it names; a tied head is not listed."""
