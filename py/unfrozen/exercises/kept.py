"""Exercises on what is kept between two steps: weights, gradients, optimizer; whole or shared."""

from __future__ import annotations

from random import Random
from typing import Final

from unfrozen.exercises.exercise import (
    Exercise,
    Hint,
    See,
    Slip,
    any_model,
    count,
    in_bytes,
    listed,
    model_given,
    trimmed,
)
from unfrozen.job import Job
from unfrozen.memory.states import STATE_TABLE, StateRow

_RECIPES: Final[dict[str, dict[str, object]]] = {
    "AdamW, mixed precision": {},
    "AdamW, fp32 and autocast": {"params": "fp32"},
    "AdamW, fp32 main gradients": {"grads": "fp32"},
    "AdamW, 8-bit moments": {"moments": "int8"},
    "AdamW, pure bf16": {"master": None, "moments": "bf16"},
    "AdamW, pure bf16, 8-bit moments": {"master": None, "moments": "int8"},
    "SGD with momentum": {"optimizer": "sgd_momentum"},
    "SGD": {"optimizer": "sgd"},
    "Adafactor": {"optimizer": "adafactor"},
}
_ROWS: Final = tuple(row for row in STATE_TABLE if row.recipe in _RECIPES)
_STATES: Final = ("params", "grads", "master", "moments")
_DIVIDED_FROM: Final = {"master copy": 1, "moments": 1, "gradients": 2, "weights": 3}
_TABLE: Final = See("#fig-optimizers", "The table of recipes")
_CURVE: Final = See("#fig-zero-curve", "What more GPUs buy")

Parts = dict[str, float]
"""Bytes a parameter by what keeps them."""


def states(chance: Random) -> Exercise:
    """Bytes a parameter times parameters."""
    published, row = any_model(chance), chance.choice(_ROWS)
    parts, number = _parts(row), published.num_parameters
    each = sum(parts.values())
    return Exercise(
        "states",
        "When every gradient is there, what do weights, gradients and optimizer hold together?",
        (*model_given(published), ("Recipe", row.recipe)),
        Job.read({"model": published.config, "recipe": _RECIPES[row.recipe]}),
        "optimizer_step",
        _STATES,
        each * number,
        (
            Hint("Find out how many bytes this recipe keeps for each parameter.", _TABLE),
            Hint(f"It keeps {_counted(parts)}: {in_bytes(each)} in all."),
            _multiply(each, number),
        ),
        tuple(
            Slip((each - part) * number, f"That is what you get without {_those_of(parts, part)}.")
            for part in dict.fromkeys(parts.values())
        ),
    )


def sharded(chance: Random) -> Exercise:
    """The same on each of several GPUs, under a stage of ZeRO."""
    published, row = any_model(chance), chance.choice(_ROWS)
    stage, gpus = chance.randint(1, 3), chance.choice((2, 4, 8, 16, 32, 64))
    parts, number = _parts(row), published.num_parameters
    each = _per_gpu(parts, stage, gpus)
    cluster = {"gpus": gpus, "sharding": f"zero{stage}"}
    return Exercise(
        "sharded",
        "What do weights, gradients and optimizer hold on each GPU when every gradient is there?",
        (
            *model_given(published),
            ("Recipe", row.recipe),
            ("GPUs", f"{gpus} that share by ZeRO, stage {stage}"),
        ),
        Job.read({"model": published.config, "recipe": _RECIPES[row.recipe], "cluster": cluster}),
        "optimizer_step",
        _STATES,
        each * number,
        (
            Hint("Find out which parts this stage divides, and which stay whole.", _CURVE),
            Hint(_share_words(parts, stage, gpus)),
            _multiply(each, number),
        ),
        tuple(_stage_slips(parts, stage, gpus, number)),
    )


def _parts(row: StateRow) -> Parts:
    """What a recipe keeps; what it does not keep is left out."""
    named = {"weights": row.params, "gradients": row.grads}
    named |= {"master copy": row.master, "moments": row.moments}
    return {name: each for name, each in named.items() if each}


def _counted(parts: Parts) -> str:
    """Parts in words: "weights 2, gradients 2 and moments 8"."""
    return listed([f"{name} {trimmed(each)}" for name, each in parts.items()])


def _those_of(parts: Parts, each: float) -> str:
    """The parts of one size, any of which may have been left out."""
    return " or ".join(f"the {name}" for name, size in parts.items() if size == each)


def _multiply(each: float, number: int) -> Hint:
    return Hint(f"Multiply: {in_bytes(each)} × {count(number)} parameters.")


def _per_gpu(parts: Parts, stage: int, gpus: int) -> float:
    """Bytes a parameter on each GPU."""
    return sum(
        each / gpus if stage >= _DIVIDED_FROM[name] else each for name, each in parts.items()
    )


def _share_words(parts: Parts, stage: int, gpus: int) -> str:
    """What stays whole and what is divided, in bytes a parameter."""
    whole = {name: each for name, each in parts.items() if stage < _DIVIDED_FROM[name]}
    divided = {name: each for name, each in parts.items() if name not in whole}
    stays = f"Whole on every GPU: {_counted(whole)}. " if whole else "Nothing stays whole. "
    total = in_bytes(sum(divided.values()))
    return f"{stays}Divided: {_counted(divided)}, together {total} ÷ {gpus} GPUs."


def _stage_slips(parts: Parts, stage: int, gpus: int, number: int) -> list[Slip]:
    """What the other stages, and a GPU alone, would hold, as far as that differs."""
    words = ["what a GPU holds that shares nothing", *(f"stage {s}" for s in (1, 2, 3))]
    sizes = [_per_gpu(parts, other, gpus) for other in range(4)]
    return [
        Slip(size * number, f"That is {name}.")
        for name, size in zip(words, sizes, strict=True)
        if size != sizes[stage]
    ]
