"""The linear layers that adapters sit beside, and their names in a recipe.

LoRA (Hu et al., arXiv 2106.09685, section 4.1) puts two thin matrices beside a linear layer; which
layers these are is part of a recipe, and whether a model has them is part of a job.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from unfrozen.errors import PlanError
from unfrozen.job.recipe import Lora
from unfrozen.model import ModelConfig, Tensor


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


def layer_of_kind(model: ModelConfig, sparse: bool) -> int:
    """The number of a layer with, or without, experts."""
    a = model.architecture
    return next(index for index in range(a.layers) if a.is_sparse(index) == sparse)


def _linears(model: ModelConfig) -> list[Tensor]:
    """Linear layers of one layer: matrices but the router, which is no linear layer."""
    tensors = model.layer_tensors(layer_of_kind(model, model.sparse_layers > 0))
    return [t for t in tensors if len(t.shape) == 2 and not t.name.endswith("mlp.gate.weight")]


def _short(tensor: Tensor) -> str:
    return tensor.name.removesuffix(".weight").rsplit(".", 1)[-1]


def _reads(tensor: Tensor) -> str:
    name = tensor.name.removesuffix(".weight")
    ends = ((key, tuple(f".{end}" for end in words.split())) for key, words in _READS.items())
    return next((key for key, endings in ends if name.endswith(endings)), "down")
