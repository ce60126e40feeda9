"""Adapters and quantised weights: what LoRA trains, and what the frozen part takes.

LoRA (Hu et al., arXiv 2106.09685, section 4.1) puts two thin matrices beside a linear layer:
rank · (in + out) parameters. QLoRA (Dettmers et al., arXiv 2305.14314, section 3) stores the frozen
linear layers in 4-bit NormalFloat, with one fp32 scale for 64 weights (nf4), or with scales that
are quantised in turn, 8 bits each and one fp32 scale for 256 of them (nf4-dq). Embeddings, head
and norms stay as they are. int8 has one fp32 scale for each row.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from unfrozen.errors import PlanError
from unfrozen.model import ModelConfig, Tensor
from unfrozen.recipe import BYTES, Lora, Recipe

QUANTISED_BITS: Final = {"nf4": 4, "nf4-dq": 4, "int8": 8}
_SCALE_BITS: Final = {"nf4": 32 / 64, "nf4-dq": 8 / 64 + 32 / (64 * 256)}


class Target(NamedTuple):
    """A linear layer that an adapter sits beside: its short name, what it reads, its shape.

    `reads` is "qkv" (the attention's input), "out" (its output), "up" (the feed-forward part's
    input) or "down" (its inner product).
    """

    name: str
    reads: str
    shape: tuple[int, ...]


_READS: Final = {
    "qkv": "q_proj k_proj v_proj qkv_proj c_attn query_key_value linear_qkv query key value",
    "out": "o_proj linear_proj attn.c_proj attention.dense attention.output.dense",
    "up": "gate_proj up_proj gate_up_proj c_fc dense_h_to_4h linear_fc1 intermediate.dense"
    " shared_expert_gate",
}


@lru_cache(maxsize=1024)
def targets(model: ModelConfig, lora: Lora) -> tuple[Target, ...]:
    """The linear layers of one layer that get an adapter; PlanError for a name that is not there.

    Experts that are stacked in one tensor are no linear layers and get none.
    """
    found = tuple(
        Target(_short(tensor), _reads(tensor), tensor.shape) for tensor in _linears(model)
    )
    if "all-linear" in lora.targets:
        return found
    names = list(dict.fromkeys(target.name for target in found))
    for name in lora.targets:
        if name not in names:
            bound = f"the linear layers of {model.architecture.model_type} are {', '.join(names)}"
            raise PlanError("recipe.lora.targets", name, bound, "choose among them")
    return tuple(target for target in found if target.name in lora.targets)


@lru_cache(maxsize=1024)
def adapter_parameters(model: ModelConfig, lora: Lora) -> int:
    """Parameters of all adapters: layers · Σ rank · (in + out) over the targets of a layer."""
    layers = model.architecture.layers
    return layers * sum(lora.rank * sum(target.shape) for target in targets(model, lora))


@lru_cache(maxsize=1024)
def linear_parameters(model: ModelConfig) -> int:
    """Parameters of the linear layers inside the layers, experts included: what is quantised."""
    layers, sparse = model.architecture.layers, model.sparse_layers
    found = 0
    for is_sparse, count in ((False, layers - sparse), (True, sparse)):
        if count:
            tensors = model.layer_tensors(_example(model, is_sparse))
            found += count * sum(tensor.size for tensor in tensors if len(tensor.shape) > 1)
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


def _example(model: ModelConfig, sparse: bool) -> int:
    """The number of a layer with, or without, experts."""
    a = model.architecture
    return next(index for index in range(a.layers) if a.is_sparse(index) == sparse)


def _linears(model: ModelConfig) -> list[Tensor]:
    """Linear layers of one layer: matrices but the router, which is no linear layer."""
    tensors = model.layer_tensors(_example(model, model.sparse_layers > 0))
    return [t for t in tensors if len(t.shape) == 2 and not t.name.endswith("mlp.gate.weight")]


def _short(tensor: Tensor) -> str:
    return tensor.name.removesuffix(".weight").rsplit(".", 1)[-1]


def _reads(tensor: Tensor) -> str:
    name = tensor.name.removesuffix(".weight")
    ends = ((key, tuple(f".{end}" for end in words.split())) for key, words in _READS.items())
    return next((key for key, endings in ends if name.endswith(endings)), "down")
