"""Activations: what the forward pass keeps for the backward pass, in bytes a token.

Read off autograd: each term names the tensors that transformers' modules save (torch 2.13, eager
kernels), and the tests compare the sum with what a real forward pass saves. Legend: h width,
q = heads·d, k = kv heads·d, f ffn, a heads, s sequence; c bytes of the compute precision.

With fp32 weights and 16-bit compute (autocast) the residual stream and the norms stay fp32, and
every linear layer saves its own 16-bit copy of its input. For fused kernels the terms are those of
implementations that recompute norms and the activation function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.errors import PlanError
from unfrozen.model import Architecture
from unfrozen.recipe import BYTES, Recipe

# tensors of width f that the activation function and what surrounds it save
_GATED_SAVES: Final = {"silu": 4, "gelu": 4, "gelu_pytorch_tanh": 4, "relu": 3}
_PLAIN_SAVES: Final = {"gelu": 2, "gelu_pytorch_tanh": 2, "silu": 2, "relu": 1, "gelu_new": 5}


@dataclass(frozen=True, slots=True)
class Precision:
    """Bytes of the numbers that flow: of the matrix products, and of the residual stream."""

    compute: int
    stream: int

    @property
    def autocast(self) -> bool:
        """Whether linear layers cast their inputs and weights themselves."""
        return self.stream > self.compute

    @classmethod
    def of(cls, recipe: Recipe, sharded_weights: bool = False) -> Precision:
        """Precisions of a recipe; sharded fp32 weights are gathered in 16 bits: no autocast."""
        compute = BYTES[recipe.compute]
        return cls(compute, compute if sharded_weights else BYTES[recipe.params])


def layer_bytes(a: Architecture, recipe: Recipe, precision: Precision) -> int:
    """Bytes a token that one layer keeps for its backward pass. PlanError where it is unknown."""
    if a.experts is not None:
        bound = "activations of mixtures of experts are not planned yet"
        raise PlanError("model.model_type", a.model_type, bound, "choose a dense model")
    if recipe.kernels == "fused":
        return _fused_layer_bytes(a, precision)
    return (
        _norms_bytes(a, precision)
        + _linear_inputs_bytes(a, precision)
        + _attention_bytes(a, recipe, precision)
        + _mlp_bytes(a, precision)
    )


def outside_bytes(a: Architecture, recipe: Recipe, precision: Precision, loss_share: float) -> int:
    """Bytes a token kept outside the layers: ids, rotary tables, last norm, input of the head.

    `loss_share` is the share of positions whose logits are computed.
    """
    ids = 8
    mask = {"flash": 0, "sdpa_masked": precision.compute}.get(recipe.attention, 1)
    if mask == 1 and recipe.checkpointing == "none":
        mask = 0  # truth values, which only a checkpoint keeps
    rotary = 0 if a.positions else 2 * a.head_dim * precision.stream // recipe.micro_batch
    head_input = round(precision.compute * a.hidden * loss_share)
    return ids + mask * recipe.seq_len + rotary + norm_bytes(a, a.hidden, precision) + head_input


def checkpoint_bytes(a: Architecture, precision: Precision) -> int:
    """Bytes a token of a checkpointed layer: its input."""
    return precision.stream * a.hidden


def norm_bytes(a: Architecture, width: int, precision: Precision, rows: int = 1) -> int:
    """Bytes a token of one norm over `width` numbers in `rows` groups, its output not counted.

    RMSNorm saves its fp32 input, the inverse root (4 bytes a row) and the normalised values, the
    latter in the compute precision unless the weight multiplies in fp32. LayerNorm saves its input,
    the mean and the inverse deviation.
    """
    stream = precision.stream
    if a.norm == "layer":
        return stream * width + 2 * stream * rows
    if a.norm == "layer_fp32":
        return 4 * width + 8 * rows
    normalised = 4 if a.norm == "rms_fp32" else stream
    return (4 + normalised) * width + 4 * rows


def _norms_bytes(a: Architecture, precision: Precision) -> int:
    count = 4 if a.norm_places == "sandwich" else 2
    total = count * norm_bytes(a, a.hidden, precision)
    if a.parallel_residual:  # both norms read, and save, the same tensor
        total -= precision.stream * a.hidden
    if a.qk_norm == "none":
        return total
    q_rows, k_rows = (a.heads, a.kv_heads) if a.qk_norm == "head" else (1, 1)
    narrow = Precision(precision.compute, precision.compute)  # they read 16-bit projections
    total += norm_bytes(a, a.q_width, narrow, q_rows)
    return total + norm_bytes(a, a.kv_width, narrow, k_rows)


def _linear_inputs_bytes(a: Architecture, precision: Precision) -> int:
    """Inputs of the q, k, v and of the gate and up projections (those of o and down are below)."""
    copies = 2
    if precision.autocast:
        readers = (1 if a.fused_projections else 3) + (2 if a.gated else 1)
        copies = 2 if a.fused_projections else readers
    return copies * precision.compute * a.hidden


def _attention_bytes(a: Architecture, recipe: Recipe, precision: Precision) -> int:
    c, q, k = precision.compute, a.q_width, a.kv_width
    # a view of the fused product keeps all of it alive, beside the rotated copies of q and k
    viewed = (q + 2 * k) + q + k if a.fused_projections and a.copies_rotated else q + 2 * k
    repeated = a.kv_heads < a.heads  # keys and values are copied for every query head
    if recipe.attention == "eager":
        whole = repeated or recipe.micro_batch > 1  # the batched product needs its own copies
        scores = c * a.heads * recipe.seq_len
        softmax = 4 * a.heads * recipe.seq_len if _upcasts_softmax(a, precision) else 0  # in fp32
        return c * ((3 * q if whole else viewed) + q) + scores + softmax
    output = 2 * q if a.copies_rotated else q  # a copy is made where the layout differs
    if recipe.attention == "flash":
        return c * (viewed + output) + 4 * a.heads
    qkv = 3 * q if repeated and a.kv_heads > 1 else viewed  # one head is repeated by a view
    mask = c * recipe.seq_len if recipe.attention == "sdpa" else 0  # each layer casts it
    return c * (qkv + output) + mask + 4 * a.heads


def _upcasts_softmax(a: Architecture, precision: Precision) -> bool:
    """Whether eager attention keeps fp32 probabilities beside 16-bit ones; GPT-2 leaves it to
    autocast, the others always do.
    """
    return precision.compute == 2 and (not a.positions or precision.autocast)


def _mlp_bytes(a: Architecture, precision: Precision) -> int:
    saves = _GATED_SAVES if a.gated else _PLAIN_SAVES
    if a.activation not in saves:
        bound = f"known activation functions are {', '.join(saves)}"
        raise PlanError("model.hidden_act", a.activation, bound, "choose a model with one of them")
    return saves[a.activation] * precision.compute * a.ffn


def _fused_layer_bytes(a: Architecture, precision: Precision) -> int:
    """Fused norms and activations keep inputs only: 8h + 4q + 4k + 6f bytes in 16 bits."""
    if not a.gated or a.norm == "layer":
        bound = "fused kernels are planned for gated models with RMSNorm"
        raise PlanError("recipe.kernels", "fused", bound, "use eager")
    c = precision.compute
    return c * (4 * a.hidden + 2 * a.q_width + 2 * a.kv_width + 3 * a.ffn)
