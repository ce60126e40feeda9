"""Dynamic loss scaling for matmuls in fp16, as PyTorch's GradScaler does it.

Gradients of activations below 2⁻²⁴ are 0 in fp16. The loss is therefore multiplied by a power of
two before backward, and the gradients of the weights, which are fp32, are divided by it afterwards:
both are exact. Where a gradient overflows, the step is skipped and the scale halved; after
GROWTH_STEPS steps without that it is doubled (Micikevicius et al., arXiv 1710.03740, section 3.2).
The scale and the steps since it changed are part of a run's `State`: a resumed run has the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

from gpu_runner.world import local

FIRST: Final = 2.0**16
LARGEST: Final = 2.0**40
"""Losses are summed in fp32, whose largest number is 2¹²⁸."""
GROWTH_STEPS: Final = 2000


def next_scale(scale: float, steady: int, *, skipped: bool) -> tuple[float, int]:
    """Return the scale after a step, and the steps since it changed; never below 1."""
    if skipped:
        return max(1.0, scale / 2), 0
    if steady + 1 < GROWTH_STEPS:
        return scale, steady + 1
    return min(LARGEST, 2 * scale), 0


@torch.no_grad()
def unscale(parameters: Iterable[Tensor], scale: float) -> None:
    """Divide the gradients of this process by the scale of the loss."""
    grads = [local(one.grad) for one in parameters if one.grad is not None]
    torch._foreach_mul_(grads, 1 / scale)
