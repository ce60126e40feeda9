"""The block of Llama-like models with fewer saved tensors and fewer passes over memory.

Autograd saves what every operation read. Here a norm and the projections after it are one
operation, and so is the gated feed-forward part: of a norm they save the input and one number per
row, of the feed-forward part gate and up, and recompute the rest in backward. Under autocast they
also cast weights again instead of saving 16-bit copies. Values and gradients are the same to within
rounding; `unfrozen.memory` calls these kernels "fused_block".
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_runner.config.schema import TrainConfig
from gpu_runner.world import blocks_of
from unfrozen.model import ModelConfig
from unfrozen.runner import kernels


def fuses(config: TrainConfig, model: ModelConfig | None) -> bool:
    """Return whether a run uses fused blocks: asked for, and supported by the model.

    Compiled blocks and selective checkpointing save memory differently and exclude them.
    """
    if model is None:
        return False
    compiled, asked = config.compile, config.fused
    kind = kernels(model.architecture, config.checkpointing, compiled=compiled, fuse=asked)
    return kind == "fused_block"


def fuse(model: Any) -> None:
    """Replace the forward of the blocks of a model that `fuses` accepts."""
    block: Any
    for block in blocks_of(model):
        attention, mlp = block.self_attn, block.mlp
        first, second = block.input_layernorm, block.post_attention_layernorm
        attention.forward = partial(_attention, attention, first, attention.forward, first.forward)
        mlp.forward = partial(_feed_forward, mlp, second)
        first.forward = second.forward = _identity  # each is fused with what reads it


def _identity(x: Tensor) -> Tensor:
    return x


def _matmul_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which a matmul of `x` is computed here."""
    place = x.device.type
    return torch.get_autocast_dtype(place) if torch.is_autocast_enabled(place) else x.dtype


def _feed_forward(module: Any, norm: Any, x: Tensor) -> Tensor:
    weights = (p.weight for p in (module.gate_proj, module.up_proj, module.down_proj))
    value: Tensor = _GatedUnit.apply(
        x, norm.weight, norm.variance_epsilon, _matmul_dtype(x), *weights
    )  # type: ignore[no-untyped-call]
    return value


def _attention(
    module: Any,
    norm: Any,
    own: Any,
    own_norm: Any,
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Tensor | None = None,
    **more: Any,
) -> tuple[Tensor, Tensor | None]:
    """Return norm and attention of a block; without gradients by transformers' own code."""
    if not torch.is_grad_enabled():
        found: tuple[Tensor, Tensor | None] = own(
            hidden_states=own_norm(hidden_states),
            position_embeddings=position_embeddings,
            attention_mask=attention_mask,
            **more,
        )
        return found
    from transformers import AttentionInterface

    rows, width = hidden_states.shape[:-1], _matmul_dtype(hidden_states)
    linears = (module.q_proj, module.k_proj, module.v_proj)
    heads = _Projections.apply(  # type: ignore[no-untyped-call]
        hidden_states, norm.weight, norm.variance_epsilon, width,
        *(linear.weight for linear in linears), *(linear.bias for linear in linears),
    )  # fmt: skip
    heads = [head.view(*rows, -1, module.head_dim) for head in heads]
    if hasattr(module, "q_norm"):
        heads[:2] = module.q_norm(heads[0]), module.k_norm(heads[1])
    query, key, value = (head.transpose(1, 2) for head in heads)
    cos, sin = (table.unsqueeze(1) for table in position_embeddings)
    query, key = (_Rotation.apply(x, cos, sin) for x in (query, key))  # type: ignore[no-untyped-call]
    # Qwen sets the window per layer, Mistral for the model, Llama has none
    window = getattr(module, "sliding_window", getattr(module.config, "sliding_window", None))
    attend = AttentionInterface()[module.config._attn_implementation]
    output, weights = attend(
        module,
        query,
        key,
        value,
        attention_mask,
        dropout=module.attention_dropout if module.training else 0.0,
        scaling=module.scaling,
        sliding_window=window,
        **more,
    )
    return module.o_proj(output.reshape(*rows, -1)), weights


class _Norm:
    """RMSNorm of rows (T, h), rounded as in transformers, and its backward."""

    @staticmethod
    def root(rows: Tensor, epsilon: float) -> Tensor:
        """Return one over the root mean square of each row (T, 1), fp32."""
        length: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=torch.float32)
        return length.square_().div_(rows.shape[-1]).add_(epsilon).rsqrt_()

    @staticmethod
    def value(rows: Tensor, root: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the output of the norm in the dtype of the matmuls that read it."""
        return (rows * root).to(rows.dtype).mul(weight).to(dtype)

    @staticmethod
    def backward(
        slope: Tensor, rows: Tensor, root: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients of rows and weight from `slope` (T, h) in fp32, which is used up."""
        normalised = rows * root
        by_weight = (slope * normalised).sum(0)
        slope.mul_(weight)
        along = torch.linalg.vecdot(slope, normalised).div_(rows.shape[-1])
        slope.sub_(normalised.mul_(along[:, None])).mul_(root)
        return slope.to(rows.dtype), by_weight.to(weight.dtype)


def _by_inputs(slopes: Iterable[Tensor], weights: Iterable[Tensor]) -> Tensor:
    """Return Σ slope · weight in fp32 (T, h), as autocast sums; one weight is cast at a time."""
    total: Tensor | None = None
    for slope, weight in zip(slopes, weights, strict=True):
        if total is not None and slope.dtype == total.dtype:
            total.addmm_(slope, weight.to(slope.dtype))
        else:
            product = slope @ weight.to(slope.dtype)
            total = product.float() if total is None else total.add_(product)
            del product  # before the next one is allocated
    assert total is not None
    return total


class _Projections(torch.autograd.Function):
    """q, k and v of the normalized x (…, h), each (…, n) in `dtype`; saves x, a number per row."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, norm: Tensor, epsilon: float, dtype: torch.dtype, *linears: Tensor
    ) -> tuple[Tensor, ...]:
        weights, biases = linears[:3], linears[3:]
        rows = x.flatten(0, -2)
        root = _Norm.root(rows, epsilon)
        inputs = _Norm.value(rows, root, norm, dtype)
        ctx.save_for_backward(x, norm, root, *weights)
        ctx.dtype, ctx.biases = dtype, [None if b is None else b.dtype for b in biases]
        found = [
            F.linear(inputs, weight.to(dtype), None if bias is None else bias.to(dtype))
            for weight, bias in zip(weights, biases, strict=True)
        ]
        return tuple(product.view(*x.shape[:-1], -1) for product in found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, norm, root, *weights = ctx.saved_tensors
        rows = x.flatten(0, -2)
        inputs = _Norm.value(rows, root, norm, ctx.dtype)
        slopes = [gradient.flatten(0, -2) for gradient in gradients]
        by_weights = [
            (slope.T @ inputs).to(weight.dtype)
            for slope, weight in zip(slopes, weights, strict=True)
        ]
        by_biases = [
            None if dtype is None else slope.sum(0).to(dtype)
            for slope, dtype in zip(slopes, ctx.biases, strict=True)
        ]
        del inputs
        by_x, by_norm = _Norm.backward(_by_inputs(slopes, weights), rows, root, norm)
        return by_x.view_as(x), by_norm, None, None, *by_weights, *by_biases


class _GatedUnit(torch.autograd.Function):
    """down(SiLU(gate(n)) · up(n)) of the normalized n of x (…, h); weights (f, h), (f, h), (h, f).

    Saves x, a number per row, gate and up. Shazeer, arXiv 2002.05202.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm: Tensor,
        epsilon: float,
        dtype: torch.dtype,
        gate: Tensor,
        up: Tensor,
        down: Tensor,
    ) -> Tensor:
        rows = x.flatten(0, -2)
        root = _Norm.root(rows, epsilon)
        inputs = _Norm.value(rows, root, norm, dtype)
        gated, raised = F.linear(inputs, gate.to(dtype)), F.linear(inputs, up.to(dtype))  # (T, f)
        del inputs
        ctx.save_for_backward(x, norm, root, gated, raised, gate, up, down)
        return F.linear(F.silu(gated).mul_(raised), down.to(dtype)).view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, norm, root, gated, raised, gate, up, down = ctx.saved_tensors
        dtype = gated.dtype
        rows, slope = x.flatten(0, -2), gradient.flatten(0, -2)
        by_down = (slope.T @ F.silu(gated).mul_(raised)).to(down.dtype)
        inner = slope @ down.to(dtype)  # (T, f)
        inputs = _Norm.value(rows, root, norm, dtype)
        by_raised = F.silu(gated).mul_(inner)
        by_gated = torch.ops.aten.silu_backward.grad_input(
            inner.mul_(raised), gated, grad_input=inner
        )
        by_up, by_gate = (by_raised.T @ inputs).to(up.dtype), (by_gated.T @ inputs).to(gate.dtype)
        del inputs
        total = _by_inputs((by_raised, by_gated), (up, gate))
        del by_raised, by_gated, inner
        by_x, by_norm = _Norm.backward(total, rows, root, norm)
        return by_x.view_as(x), by_norm, None, None, by_gate, by_up, by_down


class _Rotation(torch.autograd.Function):
    """Rotary position embedding (Su et al., arXiv 2104.09864) of x (B, H, T, d), by halves."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        half = x.shape[-1] // 2
        return _rotate(x, cos, sin[..., :half], sin[..., half:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        half = gradient.shape[-1] // 2
        return _rotate(gradient, cos, -sin[..., half:], -sin[..., :half]), None, None


def _rotate(x: Tensor, cos: Tensor, first: Tensor, second: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    turned = x * cos
    turned[..., :half].addcmul_(x[..., half:], first, value=-1)
    turned[..., half:].addcmul_(x[..., :half], second)
    return turned.to(x.dtype)
