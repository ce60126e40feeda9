"""AdamW over every parameter of the model; clipping and the skip of a bad step are one kernel.

AdamW: Loshchilov & Hutter, arXiv 1711.05101. Fused kernels take the divisor of the gradients
(`grad_scale`) and a flag that turns the step into nothing (`found_inf`), so that neither clipping
nor skipping needs a second pass over the weights or a wait for the device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor

BETAS: Final = (0.9, 0.999)
EPSILON: Final = 1e-8


def build(model: Any, *, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW; matrices decay, norms and biases do not (0 is no sensible norm gain).

    Raises AssertionError unless every parameter is trainable and in the optimizer exactly once.
    """
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=lr,
        betas=BETAS,
        eps=EPSILON,
        fused=True,
    )
    assert_full(model, optimizer)
    return optimizer


def assert_full(model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Full means full: every parameter trainable, every one in the optimizer, none twice."""
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    left_out = [name for name, p in model.named_parameters() if id(p) not in set(held)]
    if frozen or left_out or len(held) != len(set(held)):
        raise AssertionError(
            f"not a full fine-tune: frozen {frozen[:5]}, not in the optimizer {left_out[:5]},"
            f" {len(held) - len(set(held))} held twice"
        )


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """Global L2 norm of all gradients in fp32, a scalar on their device; 0 if there are none."""
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return torch.zeros(())
    norms = [torch.linalg.vector_norm(grad, dtype=torch.float32) for grad in grads]
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return total


def step(optimizer: torch.optim.Optimizer, *, lr: float, norm: Tensor, clip: float) -> Tensor:
    """One AdamW update at rate `lr` with gradients divided by max(1, norm/clip); clip 0 never does.

    Returns a scalar on the device: 1 where `norm` was not finite and nothing changed (neither
    weights nor moments nor the step count), else 0. Gradients are gone afterwards.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    skipped = (~torch.isfinite(norm)).float()
    scale = (norm / clip).clamp(min=1.0) if clip > 0 else torch.ones_like(norm)
    optimizer.grad_scale = scale  # type: ignore[attr-defined]  # read by the fused kernel
    optimizer.found_inf = skipped  # type: ignore[attr-defined]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return skipped
