"""The planner of the page: what `<memory-planner>` shows of a state, as plain JSON.

A state goes in, everything a reader sees comes out, sentences and numbers finished: the widget
draws and computes none of it. The build bakes `view({})` into the page with the same code.

    state → request (its job, unit, tokens, price) → plan → view

Reading order:

1. `sizes` — bytes in the reader's unit
2. `runner` — the runner's defaults, how a plan is launched, and the job that is run
3. `state` — a flat record of settings that an address can carry, and its job
4. `presets` — common recipes
5. `controls` — every control, and a refusal in their labels
6. `figures` — the bar, the step by instant, the verdict, the sentences about the peak
7. `picture` — the bar as HTML by itself, for a notebook
8. `numbers` — the numbers beside the figures, and how each is computed
9. `advice` — changes that save memory, and the largest that fits
10. `commands` — what to type
11. `side_by_side` — plans that a reader keeps
"""

from __future__ import annotations

from collections.abc import Mapping

from unfrozen.errors import InputError
from unfrozen.job import Job
from unfrozen.plan import Plan, plan_job
from unfrozen.planner import controls, presets
from unfrozen.planner.advice import advice, solve
from unfrozen.planner.commands import commands
from unfrozen.planner.controls import Json, as_problem, nearest_job
from unfrozen.planner.figures import bar, timeline, verdict
from unfrozen.planner.numbers import (
    assumptions,
    memory_numbers,
    model_facts,
    run_numbers,
    with_formulas,
)
from unfrozen.planner.side_by_side import compare, read_plans
from unfrozen.planner.state import (
    UNITS,
    PlanRequest,
    State,
    as_query,
    model_name,
    read_request,
    readable_state,
    text_of,
)

__all__ = ["compare_plans", "glance", "outline", "view", "ways"]

Given = Mapping[str, object] | str


def view(given: Given) -> Json:
    """Return everything that the planner shows of a state, or of the query of an address."""
    found = glance(given)
    lists: Json = {"models": controls.models(), "gpu_options": controls.gpu_options()}
    return found | lists | (ways(given) if found["problem"] is None else {})


def glance(given: Given) -> Json:
    """Return what must follow a slider at once: controls, verdict, figures and their numbers.

    Never raises: what cannot be planned comes back as `problem`, naming the control it belongs to,
    without figures.
    """
    try:
        request = read_request(given)
        figures = _figures(request, plan_job(request.job))
    except InputError as error:
        state = readable_state(given)
        problem = as_problem(error, state)
        nearest = nearest_job(state, str(problem["control"]))
        return _controls(state, None, nearest) | {"problem": problem}
    return _controls(request.state, request.job, request.job) | figures | {"problem": None}


def outline(given: Given) -> Json:
    """Return the verdict of a state, its bar without formulas, and the model that they are of.

    Raises InputError for what cannot be planned.
    """
    request = read_request(given)
    plan = plan_job(request.job)
    return {"state": request.state} | _outline(request, plan, bar(plan, request.unit))


def ways(given: Given) -> Json:
    """Return what may follow later: advice and what would fit; {} where there is a problem."""
    try:
        request = read_request(given)
        plan = plan_job(request.job)
        return {
            "advice": advice(plan, request.state, request.unit),
            "solves": solve(plan, request.state),
        }
    except InputError:
        return {}


def compare_plans(given: Mapping[str, object]) -> Json:
    """Return the plans that a reader keeps, and the one that is shown, side by side.

    `given` is `{"plans": [query, …], "now": query}`. Never raises: a plan that cannot be made has
    its problem in its row.
    """
    return {"rows": compare(*read_plans(given))}


def _controls(state: State, job: Job | None, nearest: Job | None) -> Json:
    """Return the controls of a state and its job; without a job, those of the `nearest` one."""
    return {
        "state": state,
        "query": as_query(state),
        "model": model_name(state),
        "config": text_of(state, "config"),
        "gpu": text_of(state, "gpu"),
        "unit": text_of(state, "unit"),
        "units": list(UNITS),
        "presets": presets.as_json(state, job),
        "sliders": controls.sliders(state, job),
        "asked": controls.open_questions(state),
        "groups": controls.groups(state, job, nearest),
        "also_set": controls.also_set(state),
    }


def _outline(request: PlanRequest, plan: Plan, drawn: Json) -> Json:
    return {
        "facts": model_facts(request.job.model, request.state),
        "verdict": verdict(plan, request.unit),
        "bar": drawn,
    }


def _figures(request: PlanRequest, plan: Plan) -> Json:
    job, unit, tokens = request.job, request.unit, request.tokens
    return _outline(request, plan, with_formulas(bar(plan, unit), plan, unit)) | {
        "timeline": timeline(plan, unit),
        "memory": memory_numbers(plan, unit),
        "run": run_numbers(job, tokens, request.price),
        "assumptions": assumptions(job, tokens),
        "commands": commands(plan, request.state, unit),
    }
