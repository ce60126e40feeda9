"""The planner of the page: what `<memory-planner>` shows of a state, as plain JSON.

A state goes in, everything a reader sees comes out, words and numbers finished: the widget draws
and computes none of it. The build bakes `view({})` into the page with the same code.

Reading order:

1. `sizes` — bytes in the reader's unit
2. `elsewhere` — layouts that the runner lacks, in the words of who has them
3. `launch` — cards as processes on machines
4. `runner` — what the runner does where nobody chooses, and the job it makes of a plan
5. `entries` — what readers and addresses write, as a state holds it
6. `keys` — the keys of a state
7. `state` — a flat record that an address can carry, and its job
8. `presets` — common recipes
9. `knobs` — every control: its words and choices
10. `refusals` — a refusal in the words of the controls
11. `controls` — … and where it stands
12. `peak` — the peak in words
13. `figures` — the bar, the step by instant, the verdict
14. `formulas` — the peak taken apart
15. `numbers` — the numbers beside the figures
16. `ways` — advice and inverse answers
17. `command` — what to type
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from unfrozen.errors import InputError, PlanError
from unfrozen.job import Job
from unfrozen.plan import Plan, plan_job
from unfrozen.planner import controls, presets
from unfrozen.planner.command import commands
from unfrozen.planner.figures import Json, bar, timeline, verdict
from unfrozen.planner.formulas import model_facts, with_terms
from unfrozen.planner.numbers import assumptions, memory_numbers, run_numbers
from unfrozen.planner.peak import held_back
from unfrozen.planner.refusals import as_problem
from unfrozen.planner.state import (
    UNITS,
    State,
    as_query,
    parse_query,
    price,
    read_job,
    read_state,
    setting,
    tokens,
    unit,
)
from unfrozen.planner.ways import advice, cheapest, inverse

__all__ = ["answer", "glance", "view", "ways"]


def view(given: Mapping[str, object] | str) -> Json:
    """All that the planner shows of a state, or of the part of an address that carries one."""
    found = glance(given) | {"models": controls.models(), "cards": controls.cards()}
    return found | (ways(given) if found["problem"] is None else {})


def glance(given: Mapping[str, object] | str) -> Json:
    """What must follow a slider at once: controls, verdict, figures and their numbers.

    Never raises: what cannot be planned comes back as `problem`, naming the control it belongs to,
    without figures.
    """
    state: State = {}
    job: Job | None = None
    try:
        state = _state(given)
        unit(state)
        job = read_job(state)
        return _controls(state, job) | _figures(plan_job(job), state) | {"problem": None}
    except InputError as error:
        state = state or _as_given(given)
        return _controls(state, job) | {"problem": as_problem(error, state)}


def ways(given: Mapping[str, object] | str) -> Json:
    """What may follow a moment later: advice, inverse answers, commands. Empty for a bad state."""
    try:
        state = _state(given)
        plan = plan_job(read_job(state))
        shown_in = unit(state)
        return {
            "cheapest": cheapest(plan, state, shown_in),
            "advice": advice(plan, state, shown_in),
            "held_back": held_back(plan),
            "solves": inverse(plan, state),
        }
    except InputError:
        return {}


def answer(name: str, json_text: str) -> str:
    """`glance` or `ways` of a state, JSON text in and out: what the page's worker calls."""
    ask = {"glance": glance, "ways": ways}[name]
    return json.dumps(ask(json.loads(json_text)), ensure_ascii=False, allow_nan=False)


def _state(given: Mapping[str, object] | str) -> State:
    return parse_query(given) if isinstance(given, str) else read_state(given)


def _as_given(given: Mapping[str, object] | str) -> State:
    """What can be kept of a state that cannot be read, so that controls show it."""
    if not isinstance(given, Mapping):
        return {}
    kept: State = {}
    for key, value in given.items():
        try:
            kept |= read_state({key: value})
        except PlanError:
            continue
    return kept


def _controls(state: State, job: Job | None) -> Json:
    return {
        "state": state,
        "query": as_query(state),
        "model": setting(state, "model"),
        "config": setting(state, "config"),
        "gpu": setting(state, "gpu"),
        "unit": setting(state, "unit"),
        "units": list(UNITS),
        "presets": presets.as_json(state, job),
        "sliders": controls.sliders(state, job),
        "groups": controls.groups(state, job),
    }


def _figures(plan: Plan, state: State) -> Json:
    shown_in = unit(state)
    count, cost = tokens(state), price(state)
    return {
        "facts": model_facts(plan.job.model, state),
        "verdict": verdict(plan, shown_in),
        "bar": with_terms(bar(plan, shown_in), plan, shown_in),
        "timeline": timeline(plan, shown_in),
        "memory": memory_numbers(plan, shown_in),
        "run": run_numbers(plan.job, count, cost),
        "assumptions": assumptions(plan.job, count),
        "commands": commands(plan, state),
    }
