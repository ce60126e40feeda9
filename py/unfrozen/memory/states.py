"""Weights, gradients, master copy and optimizer moments: bytes a parameter, and in all.

Sources: mixed-precision Adam 2 + 2 + 12, Rajbhandari et al., arXiv 1910.02054, section 3.1; 8-bit
moments with one fp32 scale for 256 values, Dettmers et al., arXiv 2110.02861; Adafactor's row and
column sums, Shazeer & Stern, arXiv 1804.04235; Muon's single moment for matrices, Jordan 2024;
LOMO, which never holds more than one layer's gradients, Lv et al., arXiv 2306.09782.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.model import ModelConfig, Tensor
from unfrozen.recipe import BYTES, Recipe

BLOCK: Final = 256  # values that share one fp32 scale in 8-bit optimizers
INT8_BYTES: Final = 1 + 4 / BLOCK
INT8_LEAST: Final = 4096  # smaller tensors keep fp32 moments

_MOMENTS: Final = {"adamw": 2, "sgd_momentum": 1, "lion": 1, "sgd": 0, "adafactor": 0}


@dataclass(frozen=True, slots=True)
class StateRow:
    """One line of the optimizer table: bytes a parameter on the device, by component."""

    recipe: str
    params: float
    grads: float
    master: float
    moments: float
    note: str

    @property
    def total(self) -> float:
        """Bytes a parameter in all."""
        return self.params + self.grads + self.master + self.moments


STATE_TABLE: Final = (
    StateRow("AdamW, mixed precision", 2, 2, 4, 8, "the classic 16 bytes"),
    StateRow("AdamW, fp32 and autocast", 4, 4, 0, 8, "the weights are their own master copy"),
    StateRow("AdamW, fp32 main gradients", 2, 4, 4, 8, "gradients are summed exactly"),
    StateRow("AdamW, 8-bit moments", 2, 2, 4, 2 * INT8_BYTES, "one fp32 scale for 256 values"),
    StateRow("AdamW, paged moments", 2, 2, 4, 0, "moments wait in the memory of the host"),
    StateRow("AdamW, pure bf16", 2, 2, 0, 4, "small updates are rounded away"),
    StateRow("AdamW, pure bf16, 8-bit moments", 2, 2, 0, 2 * INT8_BYTES, "the smallest AdamW"),
    StateRow("SGD with momentum", 2, 2, 4, 4, "one moment"),
    StateRow("SGD", 2, 2, 4, 0, "no moments"),
    StateRow("Muon", 2, 2, 4, 4, "one moment for matrices; the rest keeps AdamW's two"),
    StateRow("Adafactor", 2, 2, 4, 0, "4 bytes for each row and each column of a matrix"),
    StateRow("LOMO", 2, 0, 0, 0, "each layer is updated as soon as its gradient is known"),
)
"""Common recipes; a component that vanishes for each parameter counts as 0."""


def moment_bytes(model: ModelConfig, recipe: Recipe) -> int:
    """Bytes of optimizer state beside the master copy, exact tensor by tensor."""
    if recipe.optimizer == "adafactor":
        return sum(_adafactor_bytes(tensor) for tensor in model.tensors)
    copies = _MOMENTS[recipe.optimizer]
    if copies == 0:
        return 0
    if recipe.moments == "int8":
        held = sum(_int8_bytes(tensor.size) for tensor in model.tensors)
    else:
        held = BYTES[str(recipe.moments)] * model.num_parameters
    counters = 4 * model.num_tensors if recipe.optimizer == "adamw" else 0  # one step count each
    return copies * held + counters


def state_bytes(model: ModelConfig, recipe: Recipe) -> dict[str, int]:
    """Bytes of weights, master copy, gradients and moments of the whole model, unsharded."""
    count = model.num_parameters
    return {
        "params": BYTES[recipe.params] * count,
        "master": BYTES[recipe.master] * count if recipe.master else 0,
        "grads": BYTES[recipe.grads] * count,
        "moments": moment_bytes(model, recipe),
    }


def _adafactor_bytes(tensor: Tensor) -> int:
    if len(tensor.shape) < 2:
        return 4 * tensor.size
    *batch, rows, columns = tensor.shape
    matrices = 1
    for length in batch:
        matrices *= length
    return 4 * matrices * (rows + columns)


def _int8_bytes(size: int) -> int:
    return 4 * size if size < INT8_LEAST else size + 4 * -(-size // BLOCK)
