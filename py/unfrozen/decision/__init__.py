"""Full fine-tuning, LoRA, QLoRA or a prompt: what `<method-decision>` shows of a task.

A task goes in, the four methods come out in an order, each with what it takes, by the planner, and
with what would put it first. Words and numbers are finished: the element draws and computes none.

Reading order:

1. `choices` — what the reader says, as an address carries it
2. `evidence` — what others measured of how much each method learns
3. `serving` — bytes of many tasks, on disk and ready to answer
4. `training` — how each method would train: of the ways that fit, the fastest
5. `options` — the four methods, measured alike
6. `ranking` — which comes first, and by which question
7. `flips` — the least change that puts another first
8. `words` — all of it in sentences
9. `commands` — what to type
10. `controls` — the controls, and where they stand
"""

from __future__ import annotations

from collections.abc import Mapping

from unfrozen.decision import controls, words
from unfrozen.decision.choices import Choice, as_query, as_state, read_choice
from unfrozen.decision.commands import command, planner_state
from unfrozen.decision.flips import flips
from unfrozen.decision.options import KEYS, Option
from unfrozen.decision.ranking import ranked
from unfrozen.errors import PlanError, shown
from unfrozen.planner.controls import Json
from unfrozen.planner.state import as_query as planner_query

__all__ = ["decide", "reversals", "view"]

Given = Mapping[str, object] | str


def view(given: Given) -> Json:
    """All that the element shows of a task: `decide` and, where it can, `reversals`."""
    found = decide(given)
    return found | (reversals(given) if found["problem"] is None else {})


def decide(given: Given) -> Json:
    """The controls, the answer and the four methods in their order. Never raises: what cannot be
    decided comes back as `problem`, naming the control it belongs to, without an answer.
    """
    try:
        choice = read_choice(given)
    except PlanError as error:
        text = f"{error.bound[:1].upper()}{error.bound[1:]}: {error.remedy}."
        problem = {"key": error.key, "value": shown(error.value), "text": text}
        return controls.as_given(given) | {"problem": problem}
    found = ranked(choice)
    return controls.of(choice) | {
        "state": as_state(choice),
        "query": as_query(choice),
        "title": words.title(found[0]),
        "text": words.verdict(found, choice),
        "rule": f"{words.rule(choice)} {words.NOTE}",
        "methods": [_method(option, choice) for option in found],
        "problem": None,
    }


def reversals(given: Given) -> Json:
    """What would put each method first, by its key. Empty for a task that cannot be read."""
    try:
        choice = read_choice(given)
    except PlanError:
        return {}
    found = {key: [words.flip_json(flip, choice) for flip in flips(choice, key)] for key in KEYS}
    return {"flips": found}


def _method(option: Option, choice: Choice) -> Json:
    state = planner_state(option, choice)
    return {
        "key": option.key,
        "name": words.name(option),
        "does_it": option.does_it,
        "numbers": words.numbers(option, choice),
        "checks": words.checks(option, choice),
        "recipe": words.recipe(option, choice),
        "command": command(option, choice),
        "planner": None if state is None else planner_query(state),
    }
