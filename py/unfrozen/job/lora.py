"""Adapters: the `lora` part of a recipe (Hu et al., arXiv 2106.09685, section 4.1).

LoRA puts two thin matrices beside a linear layer. Which layers get them is part of a recipe;
whether a model has those layers is a question of the job. Embedding and head can be targets too:
they get no adapter, but a copy that trains, and stay beside it (PEFT 0.21 `modules_to_save`,
src/peft/utils/other.py, `ModulesToSaveWrapper`). Experts that are stacked in one tensor are no
linear layers. As a target, each of them has an adapter (PEFT `target_parameters`,
src/peft/tuners/lora/layer.py, `ParamWrapper`).
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


def _trains_whole(job: Any) -> bool:
    narrow = _has_adapters(job) and job.recipe.params != "fp32"
    return narrow and bool(whole_targets(job.model, job.recipe.lora.targets))


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
        "Names of the linear layers that get an adapter (`target_modules` in PEFT), and experts"
        " (`target_parameters`); embedding and head, such as embed_tokens and lm_head, train whole"
        " instead (`modules_to_save`).",
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

    saved_fp32: bool = flag(
        False,
        "Trained embedding and head in fp32",
        "The copies of embedding and head that train are fp32, not as wide as the weights.",
        "Method",
        applies=_trains_whole,
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
    input), "down" (its inner product), "experts_up" or "experts_down"; the shape of stacked experts
    has the rows and the columns of all.
    """

    name: str
    reads: str
    shape: tuple[int, ...]


INPUTS: Final = ("qkv", "out", "up", "down")
STACKS: Final = ("experts_up", "experts_down")
_READS: Final = {
    "qkv": "q_proj k_proj v_proj qkv_proj c_attn query_key_value linear_qkv query key value",
    "out": "o_proj linear_proj attn.c_proj attention.dense attention.output.dense",
    "up": "gate_proj up_proj gate_up_proj c_fc dense_h_to_4h linear_fc1 intermediate.dense"
    " shared_expert_gate",
}


EXPERTS: Final = "experts"
"""The target that is a layer's stacked experts."""


@lru_cache(maxsize=1024)
def targets(model: ModelConfig, lora: Lora) -> tuple[Target, ...]:
    """Return what gets an adapter in one layer, in a sparse one where there are any."""
    found = [Target(_short(tensor), _reads(tensor), tensor.shape) for tensor in _linears(model)]
    if "all-linear" not in lora.targets:
        found = [target for target in found if target.name in lora.targets]
    experts = model.architecture.experts
    if experts is None or EXPERTS not in lora.targets:
        return tuple(found)
    columns = experts.local_count * model.architecture.hidden
    rows = experts.local_count * experts.local_ffn
    return (
        *found,
        Target(EXPERTS, "experts_up", ((1 + experts.gated) * rows, columns)),
        Target(EXPERTS, "experts_down", (columns, rows)),
    )


class Outer(NamedTuple):
    """Names of the modules of embedding and head; "" for one that a model has not."""

    embedding: str
    head: str


@lru_cache(maxsize=1024)
def outer_modules(model: ModelConfig) -> Outer:
    """Return the names of embedding and head; that of a tied head is lm_head in transformers."""
    a = model.architecture
    before, after = (
        [_short(t) for t in part if t.shape == (a.vocab, a.hidden)]
        for part in (model.before, model.after)
    )
    head = after[0] if after else "lm_head" if a.has_head and a.tied and a.head_size else ""
    return Outer(before[0] if before else "", head)


def whole_targets(model: ModelConfig, names: object) -> tuple[str, ...]:
    """Return those of the targets that are embedding or head."""
    given = (names,) if isinstance(names, str) else names
    listed = given if isinstance(given, (list, tuple)) else ()
    return tuple(name for name in listed if name and name in outer_modules(model))


@lru_cache(maxsize=1024)
def trained_whole(model: ModelConfig, lora: Lora) -> tuple[int, int]:
    """Return the parameters of the copies of embedding and head that train, 0 for one that does
    not.
    """
    a = model.architecture
    size = a.vocab * a.hidden
    embedding, head = (size * (name in lora.targets) for name in outer_modules(model))
    return embedding, head


@lru_cache(maxsize=1024)
def check_targets(model: ModelConfig, lora: Lora) -> None:
    """Raise PlanError for a target that a model does not have."""
    names = list(dict.fromkeys(_short(tensor) for tensor in _linears(model)))
    if model.architecture.experts and lora.library == "peft":
        names.append(EXPERTS)
    whole = [name for name in outer_modules(model) if name]
    for name in lora.targets:
        if name not in (*names, *whole, "all-linear"):
            bound = f"the linear layers of {model.architecture.model_type} are {', '.join(names)}"
            remedy = " or ".join(["choose among them", *whole])
            raise PlanError("recipe.lora.targets", name, bound, remedy)
    if set(lora.targets) <= set(whole):
        bound = "an adapter sits beside a linear layer"
        remedy = f"add all-linear, or some of {', '.join(names)}"
        raise PlanError("recipe.lora.targets", ", ".join(lora.targets), bound, remedy)
    if EXPERTS in lora.targets and lora.drops:
        bound = "PEFT adds adapters of experts to their weights, and drops no inputs"
        raise PlanError("recipe.lora.dropout", lora.dropout, bound, "set it to 0")


def layer_of_kind(model: ModelConfig, sparse: bool) -> int:
    """Return the number of a layer with, or without, experts."""
    a = model.architecture
    return next(index for index in range(a.layers) if a.is_sparse(index) == sparse)


_NO_LINEAR: Final = ("mlp.gate", "router", "_bias", "A_log")


def _linears(model: ModelConfig) -> list[Tensor]:
    """Return the linear layers of one layer: its matrices without routers and plain parameters."""
    tensors = model.layer_tensors(layer_of_kind(model, model.sparse_layers > 0))
    names = {t: t.name.removesuffix(".weight") for t in tensors if len(t.shape) == 2}
    return [t for t, name in names.items() if not name.endswith(_NO_LINEAR)]


def _short(tensor: Tensor) -> str:
    return tensor.name.removesuffix(".weight").rsplit(".", 1)[-1]


def _reads(tensor: Tensor) -> str:
    name = tensor.name.removesuffix(".weight")
    ends = ((key, tuple(f".{end}" for end in names.split())) for key, names in _READS.items())
    return next((key for key, endings in ends if name.endswith(endings)), "down")
