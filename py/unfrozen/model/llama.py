"""The Llama style: RMSNorm, rotary positions, grouped-query attention, gated MLP.

Llama, SmolLM, Mistral, Qwen2, Qwen3, Gemma 1–3 (text), Phi-3, OLMo 1–2 and the mixtures Mixtral,
Qwen2-MoE, Qwen3-MoE differ in a few choices, all in `_CHOICES`. Names, order and defaults are
those of transformers 5 (`modeling_*.py`, `configuration_*.py` of each family).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypedDict

from unfrozen.model.architecture import (
    Architecture,
    Experts,
    NormKind,
    NormPlaces,
    QkNorm,
    Tensor,
    divided,
)
from unfrozen.model.fields import MOST_LAYERS, Fields


class _Choice(TypedDict, total=False):
    kv_heads: int  # default where the key is missing; else as many as heads
    head_dim: int  # default where the key is missing; else D / H
    tied: bool
    qkv_bias: bool  # always, whatever the config says
    reads_attention_bias: bool
    reads_mlp_bias: bool
    qk_norm: QkNorm
    norm: NormKind
    norm_places: NormPlaces
    activation: str
    fused_projections: bool
    copies_rotated: bool
    must_divide: bool  # D by H even where head_dim is given


_GEMMA: Final[_Choice] = {
    "head_dim": 256,
    "tied": True,
    "norm": "rms_fp32",
    "reads_attention_bias": True,
    "activation": "gelu_pytorch_tanh",
}
_SANDWICH: Final[_Choice] = {**_GEMMA, "kv_heads": 4, "norm_places": "sandwich"}

_CHOICES: Final[dict[str, _Choice]] = {
    "llama": {"reads_attention_bias": True, "reads_mlp_bias": True, "must_divide": True},
    "mistral": {"kv_heads": 8},
    "qwen2": {"kv_heads": 32, "qkv_bias": True},
    "qwen3": {"kv_heads": 32, "head_dim": 128, "qk_norm": "head", "reads_attention_bias": True},
    "gemma": {**_GEMMA, "kv_heads": 16},
    "gemma2": _SANDWICH,
    "gemma3_text": {**_SANDWICH, "qk_norm": "head", "must_divide": True},
    "phi3": {"fused_projections": True, "copies_rotated": True},
    "olmo": {"reads_attention_bias": True, "norm": "layer_fp32"},
    "olmo2": {
        "reads_attention_bias": True,
        "qk_norm": "width",
        "norm": "rms_fp32",
        "norm_places": "post",
    },
    "mixtral": {"kv_heads": 8},
    "qwen2_moe": {"kv_heads": 16, "qkv_bias": True},
    "qwen3_moe": {"kv_heads": 4, "qk_norm": "head", "reads_attention_bias": True},
}

MODEL_TYPES: Final = tuple(_CHOICES)
_CAPPED: Final = ("gemma2", "gemma3_text")


def read(model_type: str, fields: Fields) -> Architecture:
    """Return the architecture named by a config.json of one of `MODEL_TYPES`; raises ModelError."""
    choice = _CHOICES[model_type]
    hidden = fields.integer("hidden_size")
    heads = fields.integer("num_attention_heads")
    head_dim = fields.integer("head_dim", default=choice.get("head_dim", 0))
    if head_dim == 0 or choice.get("must_divide"):
        head_dim = head_dim or divided("num_attention_heads", hidden, heads)
        divided("num_attention_heads", hidden, heads)
    reads_bias = choice.get("reads_attention_bias", False)
    bias = reads_bias and fields.flag("attention_bias", False)
    experts = _read_experts(model_type, fields)
    return Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=fields.integer("num_hidden_layers", at_most=MOST_LAYERS),
        heads=heads,
        kv_heads=fields.integer("num_key_value_heads", default=choice.get("kv_heads", heads)),
        head_dim=head_dim,
        ffn=fields.integer("intermediate_size"),
        vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings", choice.get("tied", False)),
        activation=fields.word(
            "hidden_activation", "hidden_act", default=choice.get("activation", "silu")
        ),
        qkv_bias=_qkv_bias(model_type, fields, choice, bias),
        out_bias=bias,
        mlp_bias=choice.get("reads_mlp_bias", False) and fields.flag("mlp_bias", False),
        qk_norm=choice.get("qk_norm", "none"),
        norm=choice.get("norm", "rms"),
        norm_places=choice.get("norm_places", "pre"),
        fused_projections=choice.get("fused_projections", False),
        copies_rotated=choice.get("copies_rotated", False),
        experts=experts,
        caps_scores=_caps(model_type, fields, "attn_logit_softcapping"),
        caps_logits=_caps(model_type, fields, "final_logit_softcapping"),
    )


def _qkv_bias(model_type: str, fields: Fields, choice: _Choice, bias: bool) -> bool:
    if model_type == "qwen2_moe":
        return fields.flag("qkv_bias", True)
    return choice.get("qkv_bias", bias)


def _caps(model_type: str, fields: Fields, key: str) -> bool:
    """Return whether a soft cap is in force: Gemma 2 has one unless its config says null."""
    return fields.is_set(key, model_type == "gemma2") if model_type in _CAPPED else False


def _read_experts(model_type: str, fields: Fields) -> Experts | None:
    if model_type == "mixtral":
        count = fields.integer("num_local_experts", "num_experts", default=8)
        per_token = fields.integer("num_experts_per_tok", default=2)
        return Experts(count, per_token, fields.integer("intermediate_size"), normalised=True)
    if not model_type.endswith("_moe"):
        return None
    return Experts(
        count=fields.integer("num_experts", "num_local_experts"),
        per_token=fields.integer("num_experts_per_tok"),
        ffn=fields.integer("moe_intermediate_size"),
        shared_ffn=fields.integer("shared_expert_intermediate_size", default=5632)
        if model_type == "qwen2_moe"
        else 0,
        every=fields.integer("decoder_sparse_step", default=1),
        dense_layers=fields.indices("mlp_only_layers"),
        normalised=fields.flag("norm_topk_prob", False),
    )


def before(a: Architecture) -> Iterator[Tensor]:
    """Yield the tensors before the first layer."""
    yield Tensor("model.embed_tokens.weight", (a.vocab, a.hidden))


def after(a: Architecture) -> Iterator[Tensor]:
    """Yield tensors after the last layer; a tied head is the embedding and is not listed again."""
    if a.norm != "layer_fp32":
        yield Tensor("model.norm.weight", (a.hidden,))
    if not a.tied:
        yield Tensor("lm_head.weight", (a.vocab, a.hidden))


def layer(a: Architecture, index: int) -> Iterator[Tensor]:
    """Yield the tensors of layer `index`, in the order transformers registers them."""
    at = f"model.layers.{index}"
    yield from _attention(a, f"{at}.self_attn")
    yield from _mixture(a, f"{at}.mlp") if a.is_sparse(index) else _mlp(a, f"{at}.mlp", a.ffn)
    for name in _norms(a):
        yield Tensor(f"{at}.{name}.weight", (a.hidden,))


def _norms(a: Architecture) -> tuple[str, ...]:
    if a.norm == "layer_fp32":  # OLMo's has no weight
        return ()
    if a.norm_places == "post":
        return ("post_attention_layernorm", "post_feedforward_layernorm")
    names = ("input_layernorm", "post_attention_layernorm")
    if a.norm_places == "sandwich":
        return (*names, "pre_feedforward_layernorm", "post_feedforward_layernorm")
    return names


def _linear(name: str, out: int, into: int, bias: bool) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", (out, into))
    if bias:
        yield Tensor(f"{name}.bias", (out,))


def _attention(a: Architecture, at: str) -> Iterator[Tensor]:
    q, kv = a.q_width, a.kv_width
    if a.fused_projections:
        yield from _linear(f"{at}.o_proj", a.hidden, q, a.out_bias)
        yield from _linear(f"{at}.qkv_proj", q + 2 * kv, a.hidden, a.qkv_bias)
        return
    yield from _linear(f"{at}.q_proj", q, a.hidden, a.qkv_bias)
    yield from _linear(f"{at}.k_proj", kv, a.hidden, a.qkv_bias)
    yield from _linear(f"{at}.v_proj", kv, a.hidden, a.qkv_bias)
    yield from _linear(f"{at}.o_proj", a.hidden, q, a.out_bias)
    if a.qk_norm != "none":
        per_head = a.qk_norm == "head"
        yield Tensor(f"{at}.q_norm.weight", (a.head_dim if per_head else q,))
        yield Tensor(f"{at}.k_norm.weight", (a.head_dim if per_head else kv,))


def _mlp(a: Architecture, at: str, ffn: int) -> Iterator[Tensor]:
    if a.fused_projections:
        yield from _linear(f"{at}.gate_up_proj", 2 * ffn, a.hidden, a.mlp_bias)
    else:
        yield from _linear(f"{at}.gate_proj", ffn, a.hidden, a.mlp_bias)
        yield from _linear(f"{at}.up_proj", ffn, a.hidden, a.mlp_bias)
    yield from _linear(f"{at}.down_proj", a.hidden, ffn, a.mlp_bias)


def _mixture(a: Architecture, at: str) -> Iterator[Tensor]:
    experts = a.experts
    assert experts is not None
    router = Tensor(f"{at}.gate.weight", (experts.count, a.hidden))
    stacked = (
        Tensor(f"{at}.experts.gate_up_proj", (experts.count, 2 * experts.ffn, a.hidden)),
        Tensor(f"{at}.experts.down_proj", (experts.count, a.hidden, experts.ffn)),
    )
    if a.model_type == "qwen3_moe":
        yield from (*stacked, router)
    else:
        yield from (router, *stacked)
    if experts.shared_ffn:
        yield from _mlp(a, f"{at}.shared_expert", experts.shared_ffn)
        yield Tensor(f"{at}.shared_expert_gate.weight", (1, a.hidden))
