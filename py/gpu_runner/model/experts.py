"""Experts under autocast: grouped products in its precision, of weights that are cast at each use.

PyTorch's grouped product takes no part in autocast, so that transformers computes experts with
fp32 weights in fp32, whatever the layers around them do (`transformers/integrations/moe.py`,
`_grouped_mm`). Here rows and weights are cast; of the weights no copy is kept for the backward
pass, which casts them again. Without autocast, and for weights of its precision, all is as before.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WAY: Final = "unfrozen"
"""The name of this way among the implementations of experts in transformers."""
OF_TRANSFORMERS: Final = "grouped_mm"


def narrow(model: Any) -> None:
    """Let experts that transformers would run as grouped products run by this file."""
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    own = getattr(model, "config", None)
    if getattr(own, "_experts_implementation", None) == OF_TRANSFORMERS:
        ALL_EXPERTS_FUNCTIONS.register(WAY, _forward)
        model.set_experts_implementation(WAY)


def _forward(experts: Any, hidden: Tensor, chosen: Tensor, shares: Tensor) -> Tensor:
    """What k experts of each row (T, h) say, summed by their shares (T, k): (T, h)."""
    wide = [p.dtype for p in experts.parameters(recurse=False)]
    dtype = _narrower(hidden.device, wide)
    if dtype is None or getattr(experts, "_is_expert_parallel", False):
        from transformers.integrations.moe import grouped_mm_experts_forward

        found: Tensor = grouped_mm_experts_forward(experts, hidden, chosen, shares)
        return found
    k = chosen.shape[-1]
    expert, order = torch.sort(chosen.reshape(-1))
    counts = torch.histc(
        expert.float() if hidden.device.type in ("cpu", "mps") else expert.int(),
        bins=experts.num_experts,
        min=0,
        max=experts.num_experts - 1,
    )
    ends = counts.cumsum(0, dtype=torch.int32)
    inner = _linear(experts, _up(experts), hidden[order // k], expert, ends, dtype)
    inner = experts._apply_gate(inner) if experts.has_gate else experts.act_fn(inner)
    out = _linear(experts, "down_proj", inner, expert, ends, dtype)
    if experts.has_post_expert_norm:
        out = experts.post_expert_norm(out)
    weighted = out * shares.reshape(-1)[order, None]
    back = torch.empty_like(order)
    back[order] = torch.arange(order.numel(), device=order.device)
    return weighted[back].view(-1, k, hidden.shape[-1]).sum(1).to(hidden.dtype)


def _narrower(device: torch.device, widths: list[torch.dtype]) -> torch.dtype | None:
    """The precision of autocast, if it is on, narrower than the weights, and can be computed."""
    place = device.type
    if not torch.is_autocast_enabled(place) or set(widths) != {torch.float32}:
        return None
    if place == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return None
    return torch.get_autocast_dtype(place)


def _up(experts: nn.Module) -> str:
    return "gate_up_proj" if experts.has_gate else "up_proj"


def _linear(
    experts: Any, name: str, rows: Tensor, expert: Tensor, ends: Tensor, dtype: torch.dtype
) -> Tensor:
    """The product of sorted rows (S, i) with the weights of their experts: (S, o)."""
    weight = getattr(experts, name)
    out: Tensor = _Grouped.apply(rows, weight, ends, dtype, experts.is_transposed)  # type: ignore[no-untyped-call]
    if experts.has_bias:
        out = out + getattr(experts, f"{name}_bias")[expert].to(dtype)
    return out


class _Grouped(torch.autograd.Function):
    """Rows (S, i), sorted by expert, times weights (E, i, o), or (E, o, i) if not `as_stored`.

    `ends` (E,) are the rows before each expert's last one and that one. Keeps the rows in `dtype`.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, ends: Tensor, dtype: torch.dtype, as_stored: bool
    ) -> Tensor:
        low = rows.to(dtype)
        ctx.save_for_backward(low, weight, ends)
        ctx.as_stored, ctx.width = as_stored, rows.dtype
        return F.grouped_mm(low, _ways(weight.to(dtype), as_stored), offs=ends)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        low, weight, ends = ctx.saved_tensors
        by_rows = by_weight = None
        if ctx.needs_input_grad[1]:
            factors = (low.T, slope) if ctx.as_stored else (slope.T, low)
            by_weight = F.grouped_mm(*factors, offs=ends).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            cast = _ways(weight.to(slope.dtype), not ctx.as_stored)
            by_rows = F.grouped_mm(slope, cast, offs=ends).to(ctx.width)
        return by_rows, by_weight, None, None, None


def _ways(weight: Tensor, as_stored: bool) -> Tensor:
    return weight if as_stored else weight.transpose(-2, -1)
