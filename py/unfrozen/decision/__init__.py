"""Full fine-tuning, LoRA, QLoRA or a prompt: what `<method-decision>` shows of a task.

A task goes in, the four methods come out in an order, each with what it takes, by the planner, and
with what would put it first. All texts and numbers are finished: the element computes none.

Reading order:

1. `task` — a reader's task, as an address carries it, and its controls
2. `evidence` — what others measured of how much each method learns
3. `options` — the four methods, measured alike: of the ways to train that fit, the fastest; bytes
   of many tasks, on disk and ready to answer
4. `ranking` — which comes first, by which question, and the least change that puts another first
5. `sentences` — all of it in sentences, and what to type
"""

from __future__ import annotations

from collections.abc import Mapping

from unfrozen.decision import ranking, sentences
from unfrozen.decision.options import KEYS, Option
from unfrozen.decision.task import (
    Task,
    as_query,
    as_state,
    controls_as_given,
    controls_of,
    read_task,
)
from unfrozen.errors import PlanError, quote_value
from unfrozen.planner.controls import Json
from unfrozen.planner.state import as_query as planner_query

__all__ = ["decide", "reversals", "view"]

Given = Mapping[str, object] | str


def view(given: Given) -> Json:
    """Return everything the element shows of a task: `decide` and, where it can, `reversals`."""
    found = decide(given)
    return found | (reversals(given) if found["problem"] is None else {})


def decide(given: Given) -> Json:
    """Return the controls, the answer and the four methods in their order.

    Never raises: what cannot be decided comes back as `problem`, naming the control it belongs to,
    without an answer.
    """
    try:
        task = read_task(given)
    except PlanError as error:
        text = f"{error.bound[:1].upper()}{error.bound[1:]}: {error.remedy}."
        problem = {"key": error.key, "value": quote_value(error.value), "text": text}
        return controls_as_given(given) | {"problem": problem}
    found = ranking.ranked(task)
    return controls_of(task) | {
        "state": as_state(task),
        "query": as_query(task),
        "title": sentences.title(found[0]),
        "text": sentences.verdict(found, task),
        "rule": f"{sentences.rule(task)} {sentences.NOTE}",
        "methods": [_method(option, task) for option in found],
        "problem": None,
    }


def reversals(given: Given) -> Json:
    """Return what would put each method first, by its key. Empty for a task that cannot be read."""
    try:
        task = read_task(given)
    except PlanError:
        return {}
    found = {key: ranking.flips(task, key) for key in KEYS}
    flips = {key: [sentences.flip_json(flip, task) for flip in each] for key, each in found.items()}
    return {"flips": flips}


def _method(option: Option, task: Task) -> Json:
    state = sentences.planner_state(option, task)
    return {
        "key": option.key,
        "name": sentences.name(option),
        "does_it": option.does_it,
        "numbers": sentences.numbers(option, task),
        "checks": sentences.checks(option, task),
        "recipe": sentences.recipe(option, task),
        "command": sentences.command(option, task),
        "planner": None if state is None else planner_query(state),
    }
