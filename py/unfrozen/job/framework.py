"""What a framework does where a job does not say it: `"framework": "torchtitan"`.

`unfrozen.job.habits` names for each word that a framework sets the file it was read in. A job's own
words always count; what was set, and why, stays with the job (`Chosen`) and is printed with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from unfrozen.errors import PlanError
from unfrozen.job.habits import FRAMEWORKS, OTHER_NAMES, Words

PARTS: Final = ("recipe", "cluster")
LORA: Final = "lora."
"""What the words of adapters begin with."""


class Word(NamedTuple):
    """A word of `part` ("recipe" or "cluster") that a framework sets: to what, why, read where."""

    part: str
    key: str
    value: object
    why: str
    source: str


class Chosen(NamedTuple):
    """The framework of a job, and the words that it set."""

    name: str
    words: tuple[Word, ...]


_OF_EXPERTS: Final = frozenset({"expert_padding", "router_held", "experts_cast"})
_CLUSTER: Final = frozenset({"outer_apart", "root_resharded", "whole_embedding"})


class _Reading(NamedTuple):
    """A word that a framework means in its own way: `value` for `asked`, where `when` holds."""

    key: str
    asked: str
    value: str
    why: str
    source: str
    when: Callable[[Words], bool]


def _checkpointed(asked: Words) -> bool:
    return asked.get("checkpointing", "none") != "none"


def _always(asked: Words) -> bool:
    return bool(asked)


_READINGS: Final = {
    "prime-rl": (
        _Reading(
            *("loss", "fused_linear", "fused_vocab"),
            "its fused head takes 2048 words of the vocabulary at a time, for all tokens",
            "PrimeIntellect-ai/prime-rl @c95bd79 src/prime_rl/trainer/models/layers/lm_head.py",
            _always,
        ),
        _Reading(
            *("kernels", "fused", "eager"),
            "FlashAttention breaks the graph of a compiled layer; within a checkpoint PyTorch then"
            " compiles none of it",
            "PrimeIntellect-ai/prime-rl @c95bd79 src/prime_rl/trainer/model.py (apply_compile);"
            " torch/utils/checkpoint.py (_disable_dynamo)",
            _checkpointed,
        ),
    )
}
"""Words of a job that a framework has in another form than most."""


def apply(
    name: object,
    recipe: Words,
    cluster: Words,
    model_type: str = "",
    *,
    experts: bool = False,
    tower: bool = False,
) -> tuple[Chosen, Words, Words]:
    """The framework called `name`, and recipe and cluster of a job with what it sets for a model
    of this type; `experts` and `tower` say whether it has any. PlanError where nobody knows the
    framework.
    """
    name = _known(name)
    asked = {**recipe, **cluster, **_adapter_words(recipe), "model_type": model_type}
    words = []
    for habit in FRAMEWORKS[name]:
        of_others = not experts and habit.key in _OF_EXPERTS
        idle = of_others or (habit.key == "frozen_tower" and not tower)
        holds = habit.when is None or habit.when(asked)
        if not idle and holds and habit.key not in asked and _makes_sense(habit.key, asked):
            asked[habit.key] = habit.value
            part = "cluster" if habit.key in _CLUSTER else "recipe"
            words.append(Word(part, habit.key, habit.value, habit.why, habit.source))
    for key, said, value, why, source, when in _READINGS.get(name, ()):
        if recipe.get(key) == said and when(asked):
            words.append(Word("recipe", key, value, why, source))
    set_by = {part: {w.key: w.value for w in words if w.part == part} for part in PARTS}
    of_adapters = [key for key in set_by["recipe"] if key.startswith(LORA)]
    lora = {key.removeprefix(LORA): set_by["recipe"].pop(key) for key in of_adapters}
    if lora:
        given = recipe.get("lora")
        set_by["recipe"]["lora"] = {**lora, **(given if isinstance(given, Mapping) else {})}
    both = {**recipe, **set_by["recipe"]}, {**cluster, **set_by["cluster"]}
    return Chosen(name, tuple(words)), *both


def _adapter_words(recipe: Words) -> dict[str, object]:
    """Words of adapters by the names that habits give them."""
    given = recipe.get("lora")
    return {LORA + key: v for key, v in given.items()} if isinstance(given, Mapping) else {}


def _known(name: object) -> str:
    """The framework that is meant, however its name is spelt: Megatron-LM, torchTitan."""
    letters = _letters(name) if isinstance(name, str) else ""
    found = {_letters(each): each for each in FRAMEWORKS} | OTHER_NAMES
    if letters not in found:
        bound = f"known frameworks are {', '.join(sorted(FRAMEWORKS))}"
        raise PlanError("framework", name, bound, "choose one, or drop it and say what it does")
    return found[letters]


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _makes_sense(key: str, asked: Words) -> bool:
    """Whether the recipe may have the word: what else is asked for excludes some."""
    if key in ("master", "grads") and asked.get("method") in ("lora", "qlora"):
        return False
    if key.startswith(LORA):
        return asked.get("method") in ("lora", "qlora")
    if key == "master":
        return asked.get("params", "bf16") != "fp32" and asked.get("optimizer") != "lomo"
    if key == "params":
        return not asked.get("base") and asked.get("master") is None
    return True
