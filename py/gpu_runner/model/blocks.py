"""How the blocks of a model run: fused, checkpointed, compiled; and experts under autocast.

PyTorch's `grouped_mm` ignores autocast, so that transformers computes experts with fp32 weights in
fp32, whatever the layers around them do (`transformers/integrations/moe.py`, `_grouped_mm`). Here
inputs and weights are cast; no copy of the weights is saved for backward, which casts them again.
Without autocast, and for weights in its dtype, nothing changes.
"""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec
from inspect import signature
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import (
    CheckpointPolicy,
    create_selective_checkpoint_contexts,
)
from torch.utils.checkpoint import checkpoint as torch_checkpoint

from gpu_runner.config.bounds import Checkpointing
from gpu_runner.errors import ModelLoadError, UsageError
from gpu_runner.model.fused_blocks import fuse
from gpu_runner.model.replaced_here import ThreadReplacement
from gpu_runner.world import blocks_of

_MATMULS: Final = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
_ATTENTION: Final = (
    "unfrozen.documents",
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_cudnn_attention",
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "torch_attn._varlen_attn",
)


def check(config: Any) -> None:
    """Raise `ModelLoadError` for what PyTorch would refuse only in the first step."""
    for name, value in vars(config).items():
        if name in config.sub_configs and value is not None:
            check(value)
        elif name.endswith(("dropout", "pdrop")) and not 0 <= (value or 0) <= 1:
            raise ModelLoadError(
                f"config.json of the model: {name} is {value}; it must be from 0 to 1. Correct it."
            )


def positions_of(config: Any) -> int | None:
    """Return how many tokens a model was trained for, as far as its configuration says."""
    text = config.get_text_config()
    found = (getattr(text, name, None) for name in ("max_position_embeddings", "max_seq_len"))
    return next((positions for positions in found if isinstance(positions, int)), None)


def prepare(
    model: Any, checkpointing: Checkpointing, *, compiled: bool, fused: bool = False
) -> None:
    """Set up how the blocks of `model` run. Raises `UsageError` where the model cannot."""
    if fused:
        fuse(model)
    if not compiled:
        autocast_experts(model)
    if checkpointing != "none":
        _checkpoint(model, checkpointing)
    if compiled:
        for block in blocks_of(model):
            block.compile(dynamic=False)


def as_written(model: Any) -> AbstractContextManager[Any]:
    """Return a context in which compiled blocks run eagerly and stay compiled.

    It is for everything but a training step: a generation would recompile every block for every
    layer's cache, until the compiler gives up and training steps are not compiled either; and under
    a tensor tracker the compiler would skip the blocks for good.
    """
    compiled = any(block._compiled_call_impl is not None for block in blocks_of(model))
    return run_eagerly() if compiled else nullcontext()


@cache
def _stance() -> ThreadReplacement:
    from torch._dynamo import eval_frame

    return ThreadReplacement(eval_frame, "_callback_from_stance", lambda _: None)


def run_eagerly() -> AbstractContextManager[None]:
    """Return a context in which compiled code runs eagerly, in this thread alone.

    `torch.compiler.set_stance` would do so in all of them.
    """
    return _stance().replaced()


def check_compiler(device: torch.device) -> None:
    """Raise `UsageError` where the first step could not be compiled."""
    if device.type == "cuda":
        works, what = find_spec("triton") is not None, "Triton, which comes with CUDA builds"
    else:
        given = os.environ.get("CXX")
        names = [given] if given else ["g++", "clang++"]
        works, what = any(map(shutil.which, names)), f"a C++ compiler ({' or '.join(names)})"
    if not works:
        raise UsageError(
            f"compile = true needs {what}, and there is none: install it, or set compile = false."
        )


def _checkpoint(model: Any, kind: Checkpointing) -> None:
    arguments: dict[str, Any] = {"use_reentrant": False}
    if kind == "selective":
        arguments["context_fn"] = _selective
        if "respect_saved_tensors_hooks" in signature(torch_checkpoint).parameters:
            arguments["respect_saved_tensors_hooks"] = False  # of 2.15; as it was before
    enable = getattr(model, "activation_checkpointing_enable", None)
    enable = enable or model.gradient_checkpointing_enable  # its name before 5.20
    try:
        enable(arguments)
    except ValueError as error:
        raise UsageError(f"checkpointing {kind}: {error}. Set checkpointing = none.") from None
    model.disable_input_require_grads()  # only reentrant checkpointing needs it; here it leaks


def _selective() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Return contexts that save every second matmul and the attention, as torchtitan does.

    Matmuls are counted within a block and a pass, so that both passes save the same ones.
    """
    counts = {"forward": 0, "recompute": 0}

    def policy(context: Any, operator: Any, *_: Any, **__: Any) -> CheckpointPolicy:
        if operator in _MATMULS:
            turn = "recompute" if context.is_recompute else "forward"
            counts[turn] += 1
            if counts[turn] % 2:
                return CheckpointPolicy.MUST_SAVE
        elif str(operator).startswith(_ATTENTION):
            return CheckpointPolicy.MUST_SAVE
        return CheckpointPolicy.PREFER_RECOMPUTE

    contexts: tuple[Any, Any] = create_selective_checkpoint_contexts(policy)
    return contexts


EXPERTS: Final = "unfrozen"
"""The name of ours among the experts implementations of transformers."""
GROUPED_MM: Final = "grouped_mm"
"""The name of theirs that it replaces."""


def autocast_experts(model: Any) -> None:
    """Let experts that transformers would run with `grouped_mm` take part in autocast."""
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    own = getattr(model, "config", None)
    if getattr(own, "_experts_implementation", None) == GROUPED_MM:
        ALL_EXPERTS_FUNCTIONS.register(EXPERTS, _experts_forward)
        model.set_experts_implementation(EXPERTS)


def _experts_forward(experts: Any, hidden: Tensor, chosen: Tensor, shares: Tensor) -> Tensor:
    """Return the output (T, h) of each token's k chosen experts, weighted by `shares` (T, k)."""
    wide = [p.dtype for p in experts.parameters(recurse=False)]
    dtype = _autocast_dtype(hidden.device, wide)
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
    up = "gate_up_proj" if experts.has_gate else "up_proj"
    inner = _linear(experts, up, hidden[order // k], expert, ends, dtype)
    inner = experts._apply_gate(inner) if experts.has_gate else experts.act_fn(inner)
    out = _linear(experts, "down_proj", inner, expert, ends, dtype)
    if experts.has_post_expert_norm:
        out = experts.post_expert_norm(out)
    weighted = out * shares.reshape(-1)[order, None]
    back = torch.empty_like(order)
    back[order] = torch.arange(order.numel(), device=order.device)
    return weighted[back].view(-1, k, hidden.shape[-1]).sum(1).to(hidden.dtype)


def _autocast_dtype(device: torch.device, weights: list[torch.dtype]) -> torch.dtype | None:
    """Return autocast's dtype if it is on, the weights are fp32 and the device supports it."""
    place = device.type
    if not torch.is_autocast_enabled(place) or set(weights) != {torch.float32}:
        return None
    dtype = torch.get_autocast_dtype(place)
    if place == "cuda" and (
        dtype != torch.bfloat16 or torch.cuda.get_device_capability(device) < (8, 0)
    ):
        return None
    return dtype


def _linear(
    experts: Any, name: str, rows: Tensor, expert: Tensor, ends: Tensor, dtype: torch.dtype
) -> Tensor:
    """Return sorted rows (S, i) times the weights of their experts: (S, o)."""
    weight = getattr(experts, name)
    out: Tensor = _Grouped.apply(rows, weight, ends, dtype, experts.is_transposed)  # type: ignore[no-untyped-call]
    if experts.has_bias:
        out = out + getattr(experts, f"{name}_bias")[expert].to(dtype)
    return out


class _Grouped(torch.autograd.Function):
    """Rows (S, i), sorted by expert, times weights (E, i, o), or (E, o, i) if not `as_stored`.

    `ends` (E,) are the numbers of rows up to each expert's last. Saves the rows in `dtype`.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, ends: Tensor, dtype: torch.dtype, as_stored: bool
    ) -> Tensor:
        low = rows.to(dtype)
        ctx.save_for_backward(low, weight, ends)
        ctx.as_stored, ctx.width = as_stored, rows.dtype
        return F.grouped_mm(low, _orient(weight.to(dtype), as_stored), offs=ends)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        low, weight, ends = ctx.saved_tensors
        by_rows = by_weight = None
        if ctx.needs_input_grad[1]:
            factors = (low.T, slope) if ctx.as_stored else (slope.T, low)
            by_weight = F.grouped_mm(*factors, offs=ends).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            cast = _orient(weight.to(slope.dtype), not ctx.as_stored)
            by_rows = F.grouped_mm(slope, cast, offs=ends).to(ctx.width)
        return by_rows, by_weight, None, None, None


def _orient(weight: Tensor, as_stored: bool) -> Tensor:
    return weight if as_stored else weight.transpose(-2, -1)
