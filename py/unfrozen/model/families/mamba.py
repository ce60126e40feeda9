"""State-space models: Mamba, Falcon Mamba and Mamba-2; their layers have no feed-forward part.

Names, order and defaults are those of transformers 5.24 (`models/mamba`, `models/mamba2`).
"""

from __future__ import annotations

from typing import Final

from unfrozen.model import parts
from unfrozen.model.architecture import Architecture
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.fields import MOST_LAYERS, Fields
from unfrozen.model.mixers import Dual, Selective

MODEL_TYPES: Final = ("mamba", "falcon_mamba", "mamba2")


def read(model_type: str, fields: Fields) -> Architecture:
    """The architecture named by a config.json of one of `MODEL_TYPES`; raises ModelError."""
    hidden = fields.whole("hidden_size")
    mixer = _dual(fields) if model_type == "mamba2" else _selective(fields, hidden)
    bias, conv_bias = fields.flag("use_bias", False), fields.flag("use_conv_bias", True)
    inside = (
        dual("mixer", hidden, mixer, bias, conv_bias)
        if isinstance(mixer, Dual)
        else selective("mixer", hidden, mixer, bias, conv_bias)
    )
    layers = fields.whole("num_hidden_layers", at_most=MOST_LAYERS)
    vocab, tied = fields.whole("vocab_size"), fields.flag("tie_word_embeddings", True)
    before = parts.embedding("backbone.embeddings", vocab, hidden)
    after = [*parts.norm("backbone.norm_f", hidden), *parts.head(tied, vocab, hidden)]
    layer = [*parts.norm("norm", hidden), *inside]
    return Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=layers,
        heads=1,
        kv_heads=1,
        head_dim=1,
        ffn=1,
        vocab=vocab,
        tied=tied,
        activation=fields.word("hidden_act", default="silu"),
        mixer=mixer,
        feeds=False,
        blueprint=Blueprint(before, [layer], [0] * layers, after, "backbone.layers.{}"),
    )


def _selective(fields: Fields, hidden: int) -> Selective:
    return Selective(
        inner=int(fields.number("expand", 2) * hidden),
        state=fields.whole("state_size"),
        rank=step_rank(fields, "time_step_rank", hidden),
        conv=fields.whole("conv_kernel"),
    )


def step_rank(fields: Fields, key: str, hidden: int) -> int:
    """Numbers from which steps are made; "auto" is a sixteenth of the width."""
    if not fields.is_number(key):
        return -(-hidden // 16)
    return fields.whole(key)


def _dual(fields: Fields) -> Dual:
    return Dual(
        heads=fields.whole("num_heads"),
        head_dim=fields.whole("head_dim"),
        state=fields.whole("state_size"),
        groups=fields.whole("n_groups"),
        conv=fields.whole("conv_kernel"),
        chunk=fields.whole("chunk_size"),
    )


def selective(at: str, hidden: int, m: Selective, bias: bool, conv_bias: bool) -> list[Tensor]:
    """Mamba's mixer (arXiv 2312.00752, section 3.4); Jamba's steps, B and C pass norms."""
    found = [Tensor(f"{at}.A_log", (m.inner, m.state), 0), Tensor(f"{at}.D", (m.inner,), 0)]
    found += convolution(f"{at}.conv1d", m.inner, m.conv, conv_bias)
    found += parts.linear(f"{at}.in_proj", 2 * m.inner, hidden, bias, 0)
    found += parts.linear(f"{at}.x_proj", m.rank + 2 * m.state, m.inner, False, 1)
    found += parts.linear(f"{at}.dt_proj", m.inner, m.rank, True, 0)
    found += parts.linear(f"{at}.out_proj", hidden, m.inner, bias, 1)
    if m.normed:
        for name, width in (("dt", m.rank), ("b", m.state), ("c", m.state)):
            found += parts.norm(f"{at}.{name}_layernorm", width)
    return found


def dual(
    at: str, hidden: int, m: Dual, bias: bool, conv_bias: bool, out_bias: bool | None = None
) -> list[Tensor]:
    """Mamba-2's mixer (arXiv 2405.21060, section 7)."""
    found = [Tensor(f"{at}.{name}", (m.heads,), 0) for name in ("dt_bias", "A_log", "D")]
    found += convolution(f"{at}.conv1d", m.convolved, m.conv, conv_bias)
    width = m.inner + m.convolved + m.heads
    found += parts.linear(f"{at}.in_proj", width, hidden, bias, 0)
    if m.normed:
        found.append(Tensor(f"{at}.norm.weight", (m.inner,), 0))
    return found + parts.linear(
        f"{at}.out_proj", hidden, m.inner, bias if out_bias is None else out_bias, 1
    )


def convolution(name: str, channels: int, length: int, bias: bool) -> list[Tensor]:
    """A convolution that leaves channels apart."""
    found = [Tensor(f"{name}.weight", (channels, 1, length), 0)]
    return found + ([Tensor(f"{name}.bias", (channels,), 0)] if bias else [])
