"""Low-rank adapters on frozen linear layers, for tracing what LoRA holds; nothing is trained here.

y = W x + (α/r) · B A x (Hu et al. 2021, arXiv 2106.09685), computed in the order in which the
library `peft` does it: the input is cast to the precision of the adapter, the products of A and B
are scaled, and the sum is cast back to what the frozen layer returned.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn


class LowRankLinear(nn.Module):
    """A frozen linear layer beside its adapter of rank `rank` in precision `dtype`."""

    def __init__(self, base: Any, rank: int, dtype: torch.dtype, scaling: float) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False, dtype=dtype)
        self.up = nn.Linear(rank, base.out_features, bias=False, dtype=dtype)
        self.scaling = scaling
        nn.init.zeros_(self.up.weight)  # a fresh adapter changes nothing

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, in) → (B, T, out), in the precision of the frozen layer."""
        frozen: Tensor = self.base(x)
        adapted = self.up(self.down(x.to(self.down.weight.dtype))) * self.scaling
        both: Tensor = (frozen + adapted).to(frozen.dtype)
        return both


def attach(
    model: Any, targets: Collection[str], rank: int, dtype: torch.dtype, scaling: float = 2.0
) -> int:
    """Freeze `model` and give every linear layer named in `targets` an adapter; returns how many.

    A name is the last part of a layer's path: `q_proj` stands for that layer of every block.
    """
    model.requires_grad_(False)
    found = [
        (path, layer)
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and path.rpartition(".")[2] in targets
    ]
    for path, layer in found:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, LowRankLinear(layer, rank, dtype, scaling))
    return len(found)
