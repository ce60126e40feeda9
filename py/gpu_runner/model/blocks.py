"""What a block of the model keeps and how it runs: recomputed, moved to the host, compiled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any, Final

import torch
from torch.utils.checkpoint import (
    CheckpointPolicy,
    create_selective_checkpoint_contexts,
)

from gpu_runner.config.bounds import Checkpointing
from gpu_runner.errors import ModelLoadError, UsageError
from gpu_runner.model.experts import narrow
from gpu_runner.model.fused_blocks import fuse
from gpu_runner.model.offload import Offload
from gpu_runner.world import blocks_of

_PRODUCTS: Final = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
_ATTENTION: Final = (
    "unfrozen.documents",
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_cudnn_attention",
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "torch_attn._varlen_attn",
)


def check(config: Any) -> None:
    """Refuse what PyTorch would find only in the first step. Raises `ModelLoadError`."""
    for name, value in vars(config).items():
        if name.endswith(("dropout", "pdrop")) and not 0 <= (value or 0) <= 1:
            raise ModelLoadError(
                f"config.json of the model: {name} is {value}; it must be from 0 to 1. Correct it."
            )


def prepare(
    model: Any, checkpointing: Checkpointing, *, compiled: bool, fused: bool = False
) -> None:
    """Let each block of `model` run as asked. Raises `UsageError` where the model cannot."""
    if fused:
        fuse(model)
    if not compiled:
        narrow(model)
    if checkpointing != "none":
        _checkpoint(model, checkpointing)
    if compiled:
        for block in blocks_of(model):
            block.compile(dynamic=False)


def as_written(model: Any) -> AbstractContextManager[Any]:
    """Compiled blocks run as they are written, and leave what is compiled as it is.

    For whatever is no training step: a generation would have every block compiled again for every
    layer's cache, until the compiler gives up and the steps are not compiled either; and under a
    tracker of tensors the compiler skips the blocks, from then on for good.
    """
    compiled = any(block._compiled_call_impl is not None for block in blocks_of(model))
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where the first step could not. Raises `UsageError`."""
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
    enable = getattr(model, "activation_checkpointing_enable", None)
    enable = enable or model.gradient_checkpointing_enable  # its name before 5.20
    try:
        enable(arguments)
    except ValueError as error:
        raise UsageError(f"checkpointing {kind}: {error}. Set checkpointing = none.") from None
    model.disable_input_require_grads()  # only reentrant checkpoints need it; it leaks here


def _selective() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Keep every second matrix product and the attention, make the rest again (as torchtitan does).

    Products count from one within a block and a pass, so that the same ones are kept in both.
    """
    counts = {"forward": 0, "recompute": 0}

    def policy(context: Any, operator: Any, *_: Any, **__: Any) -> CheckpointPolicy:
        if operator in _PRODUCTS:
            turn = "recompute" if context.is_recompute else "forward"
            counts[turn] += 1
            if counts[turn] % 2:
                return CheckpointPolicy.MUST_SAVE
        elif str(operator).startswith(_ATTENTION):
            return CheckpointPolicy.MUST_SAVE
        return CheckpointPolicy.PREFER_RECOMPUTE

    contexts: tuple[Any, Any] = create_selective_checkpoint_contexts(policy)
    return contexts


def offloading(model: Any) -> Callable[[], AbstractContextManager[Any]]:
    """Contexts in which what the forward pass keeps for the backward pass waits in host memory.

    One for a whole run: what a pass keeps lies where that of the pass before lay.
    """
    return Offload(model)
