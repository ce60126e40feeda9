"""Adapters: the `lora` part of a recipe (Hu et al., arXiv 2106.09685, section 4.1).

LoRA puts two thin matrices beside a linear layer. Which layers get them is part of a recipe;
whether a model has those layers is a question of the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from unfrozen.errors import PlanError
from unfrozen.job.settings import (
    DTYPES,
    Setting,
    check_setting,
    choice,
    flag,
    listing,
    probability,
    settings_of,
    whole_number,
)
from unfrozen.job.unplanned import refuse_key
from unfrozen.model import ModelConfig, Tensor

MOST_RANK: Final = 65_536


def _has_adapters(job: Any) -> bool:
    return job.recipe.lora is not None


def _narrow_weights(job: Any) -> bool:
    return _has_adapters(job) and job.recipe.lora.dtype == "fp32" and job.recipe.params != "fp32"


@dataclass(frozen=True, slots=True)
class Lora:
    """The adapters of a recipe: two thin matrices beside each target, rank · (in + out) parameters.

    An adapter dtype wider than that of the weights casts the adapters' inputs. LitGPT, whose
    published measurements the model is tested on, has one matmul for q, k and v and scatters the
    outputs; in PEFT each adapter stands alone. With `autocast` the matmuls of wider adapters run in
    the dtype of the weights, without it in their own.
    """

    rank: int = whole_number(
        16,
        "LoRA rank",
        "Inner width of the adapters (`r` in PEFT).",
        "Method",
        most=MOST_RANK,
        applies=_has_adapters,
    )
    dtype: str = choice(
        "bf16",
        "Adapter dtype",
        "Dtype of the adapter weights; PEFT keeps fp32 unless `autocast_adapter_dtype=False`.",
        "Method",
        DTYPES,
        applies=_has_adapters,
    )
    targets: tuple[str, ...] = listing(
        ("all-linear",),
        "Target modules",
        "Names of the linear layers that get an adapter (`target_modules` in PEFT).",
        "Method",
        "names",
        applies=_has_adapters,
    )
    library: str = choice(
        "litgpt",
        "LoRA implementation",
        "The library that runs the adapters, which decides what it saves for backward.",
        "Method",
        {"litgpt": "LitGPT", "peft": "PEFT"},
        applies=_has_adapters,
    )
    dropout: float | None = probability(
        None,
        "LoRA dropout",
        "Dropout of each adapter's input, which saves a copy of it (`lora_dropout` in PEFT).",
        "Method",
        applies=_has_adapters,
    )
    autocast: bool = flag(
        False,
        "Autocast adapters",
        "Adapter matmuls run in the dtype of the weights (`bf16=True` in the Trainer).",
        "Method",
        applies=_narrow_weights,
        json_only=True,
    )

    @property
    def drops(self) -> bool:
        """Whether adapters read a dropped copy of their inputs; by default LitGPT's do."""
        return self.library == "litgpt" if self.dropout is None else self.dropout > 0

    @classmethod
    def read(cls, given: object) -> Lora:
        """Return adapters of a recipe; raises PlanError. Whether targets exist is for the model."""
        if isinstance(given, Lora):
            return given
        if not isinstance(given, Mapping):
            raise PlanError("recipe.lora", given, "it must be an object", 'give {"rank": 16}')
        for key, value in given.items():
            if key not in LORA_SETTINGS:
                raise refuse_key("recipe.lora.", key, value, LORA_SETTINGS)
            check_setting(LORA_SETTINGS[key], value)
        targets = given.get("targets", ("all-linear",))
        names = (targets,) if isinstance(targets, str) else tuple(targets)
        return cls(**{**given, "targets": names})


LORA_SETTINGS: Final[dict[str, Setting]] = settings_of(Lora, "recipe.lora", "lora_")
"""The settings of adapters, by their name in JSON."""


class Target(NamedTuple):
    """A linear layer that gets an adapter: its short name, what it reads, its shape.

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
    """Return the linear layers of one layer that get an adapter; PlanError for an unknown name.

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
    """Return the number of a layer with, or without, experts."""
    a = model.architecture
    return next(index for index in range(a.layers) if a.is_sparse(index) == sparse)


def _linears(model: ModelConfig) -> list[Tensor]:
    """Return the linear layers of one layer: its matrices without the router."""
    tensors = model.layer_tensors(layer_of_kind(model, model.sparse_layers > 0))
    return [t for t in tensors if len(t.shape) == 2 and not t.name.endswith("mlp.gate.weight")]


def _short(tensor: Tensor) -> str:
    return tensor.name.removesuffix(".weight").rsplit(".", 1)[-1]


def _reads(tensor: Tensor) -> str:
    name = tensor.name.removesuffix(".weight")
    ends = ((key, tuple(f".{end}" for end in names.split())) for key, names in _READS.items())
    return next((key for key, endings in ends if name.endswith(endings)), "down")
