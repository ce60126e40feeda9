"""What a framework does where a job does not say it: `"framework": "torchtitan"`.

`unfrozen.job.habits` names for each word that a framework sets the file it was read in. A job's own
words always count; what was set, and why, stays with the job (`Chosen`) and is printed with it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from unfrozen.errors import PlanError
from unfrozen.job.habits import FRAMEWORKS, Words

PARTS: Final = ("recipe", "cluster")


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


_OF_EXPERTS: Final = frozenset({"expert_padding", "router_held"})
_CLUSTER: Final = frozenset({"outer_apart", "root_resharded", "whole_embedding"})
_READS_ITS_OWN_WAY: Final = {
    ("prime-rl", "loss", "fused_linear"): Word(
        "recipe",
        "loss",
        "fused_vocab",
        "its fused head takes 2048 words of the vocabulary at a time, for all tokens",
        "PrimeIntellect-ai/prime-rl @c95bd79 src/prime_rl/trainer/models/layers/lm_head.py",
    )
}


def apply(
    name: object, recipe: Words, cluster: Words, *, experts: bool = False
) -> tuple[Chosen, Words, Words]:
    """The framework called `name`, and recipe and cluster of a job with what it sets; `experts`
    says whether the model has any. Raises PlanError where nobody knows the framework.
    """
    if not isinstance(name, str) or name not in FRAMEWORKS:
        bound = f"known frameworks are {', '.join(sorted(FRAMEWORKS))}"
        raise PlanError("framework", name, bound, "choose one, or drop it and say what it does")
    asked = {**recipe, **cluster}
    words = []
    for habit in FRAMEWORKS[name]:
        idle = habit.key in _OF_EXPERTS and not experts
        holds = habit.when is None or habit.when(asked)
        if not idle and holds and habit.key not in asked and _makes_sense(habit.key, asked):
            asked[habit.key] = habit.value
            part = "cluster" if habit.key in _CLUSTER else "recipe"
            words.append(Word(part, habit.key, habit.value, habit.why, habit.source))
    for key, value in recipe.items():
        if isinstance(value, str) and (name, key, value) in _READS_ITS_OWN_WAY:
            words.append(_READS_ITS_OWN_WAY[name, key, value])
    set_by = {part: {w.key: w.value for w in words if w.part == part} for part in PARTS}
    both = {**recipe, **set_by["recipe"]}, {**cluster, **set_by["cluster"]}
    return Chosen(name, tuple(words)), *both


def _makes_sense(key: str, asked: Words) -> bool:
    """Whether the recipe may have the word: what else is asked for excludes some."""
    if key in ("master", "grads") and asked.get("method") in ("lora", "qlora"):
        return False
    if key == "master":
        return asked.get("params", "bf16") != "fp32" and asked.get("optimizer") != "lomo"
    if key == "params":
        return not asked.get("base") and asked.get("master") is None
    return True
