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
from transformers.pytorch_utils import Conv1D


class LowRankLinear(nn.Module):
    """A frozen linear layer beside its adapter of rank `rank` in precision `dtype`."""

    def __init__(self, base: Any, rank: int, dtype: torch.dtype, scaling: float) -> None:
        super().__init__()
        read, given = base.weight.shape if isinstance(base, Conv1D) else base.weight.shape[::-1]
        self.base = base
        self.down = nn.Linear(read, rank, bias=False, dtype=dtype)
        self.up = nn.Linear(rank, given, bias=False, dtype=dtype)
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
) -> set[str]:
    """Freeze `model` and give the linear layers named in `targets` adapters; returns their names.

    A name is the last part of a layer's path: `q_proj` stands for that layer of every block.
    "all-linear" stands for every linear layer but the head. Experts that are stacked in one tensor
    are no linear layers.
    """
    model.requires_grad_(False)
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    found = [
        (path, layer)
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer is not head
    ]
    if "all-linear" not in targets:
        found = [entry for entry in found if entry[0].rpartition(".")[2] in targets]
    for path, layer in found:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, LowRankLinear(layer, rank, dtype, scaling))
    return {path.rpartition(".")[2] for path, _ in found}
