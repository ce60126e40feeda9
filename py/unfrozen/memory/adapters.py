"""Adapters and quantised weights: what LoRA trains, and what the frozen part takes.

LoRA (Hu et al., arXiv 2106.09685, section 4.1) puts two thin matrices beside a linear layer:
rank · (in + out) parameters. QLoRA (Dettmers et al., arXiv 2305.14314, section 3) stores the frozen
linear layers in 4-bit NormalFloat, with one fp32 scale for 64 weights (nf4), or with scales that
are quantised in turn, 8 bits each and one fp32 scale for 256 of them (nf4-dq). Embeddings, head
and norms stay as they are. int8 has one fp32 scale for each row, also where
the weights train in it (torchao/prototype/quantized_training/int8.py, after Q-GaLore, Zhang et al.,
arXiv 2407.08296).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from unfrozen.job.recipe import BYTES, Lora, Recipe
from unfrozen.job.targets import targets
from unfrozen.model import ModelConfig

QUANTISED_BITS: Final = {"nf4": 4, "nf4-dq": 4, "int8": 8}
_SCALE_BITS: Final = {"nf4": 32 / 64, "nf4-dq": 8 / 64 + 32 / (64 * 256)}


@lru_cache(maxsize=1024)
def adapter_parameters(model: ModelConfig, lora: Lora) -> int:
    """Parameters of all adapters: layers · Σ rank · (in + out) over the targets of a layer."""
    layers = model.architecture.layers
    return layers * sum(lora.rank * sum(target.shape) for target in targets(model, lora))


@lru_cache(maxsize=1024)
def linear_parameters(model: ModelConfig) -> int:
    """Parameters of the linear layers inside the layers, experts included: what is quantised."""
    found = 0
    for kind in model.kinds:
        tensors = model.layer_tensors(kind.first)
        found += kind.layers * sum(tensor.size for tensor in tensors if len(tensor.shape) > 1)
    return found


def frozen_bytes(model: ModelConfig, recipe: Recipe) -> tuple[int, int]:
    """Bytes of the frozen weights and, apart, of the constants that undo their quantisation."""
    if recipe.base is None:
        return BYTES[recipe.params] * model.num_parameters, 0
    linear = linear_parameters(model)
    rest = BYTES[recipe.params] * (model.num_parameters - linear)
    if recipe.base == "int8":
        scales = round(4 * linear / model.architecture.hidden)
    else:
        scales = round(_SCALE_BITS[recipe.base] / 8 * linear)
    return rest + QUANTISED_BITS[recipe.base] * linear // 8, scales
