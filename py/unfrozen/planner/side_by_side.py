"""Plans that a reader keeps: side by side, with what differs and what each changes.

Everything is said beside the first plan that was kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from unfrozen.errors import InputError
from unfrozen.job.cluster import CLUSTER_SETTINGS
from unfrozen.job.recipe import RECIPE_SETTINGS
from unfrozen.plan import Plan, plan_job
from unfrozen.plan.compute import Estimate, estimate
from unfrozen.planner.advice import time_text
from unfrozen.planner.controls import Json, as_problem
from unfrozen.planner.state import (
    SETTINGS,
    PlanRequest,
    as_query,
    as_text,
    model_name,
    read_request,
    readable_state,
    text_of,
)
from unfrozen.units import NO_BREAK, format_duration, format_positive, format_size

MOST_KEPT: Final = 8


@dataclass(frozen=True, slots=True)
class _PlannedRow:
    request: PlanRequest
    plan: Plan
    run: Estimate


def compare(queries: list[str], now: str) -> list[Json]:
    """Return a row for each kept plan, and for the one that is shown `now` if it is not kept.

    Of more than `MOST_KEPT` queries the first are taken. One that cannot be planned has a problem
    instead of numbers.
    """
    taken = list(dict.fromkeys(queries))[:MOST_KEPT]
    asked = taken if now in taken else [*taken, now]
    rows: list[Json] = []
    first: _PlannedRow | None = None
    for query in asked:
        row: Json = {"query": query, "now": query == now, "kept": query in taken}
        try:
            found = _read(query)
        except InputError as error:
            problem = as_problem(error, readable_state(query))
            rows.append(row | {"name": str(problem["label"]), "problem": problem["text"]})
            continue
        first = first or found
        rows.append(row | _row(found, first))
    return rows


def _read(query: str) -> _PlannedRow:
    request = read_request(query)
    run = estimate(request.job, request.tokens, price=request.price)
    return _PlannedRow(request, plan_job(request.job), run)


def _row(one: _PlannedRow, first: _PlannedRow) -> Json:
    unit, plan = one.request.unit, one.plan
    is_first = one is first
    more = plan.device_bytes - first.plan.device_bytes
    sign = "+" if more > 0 else "−"
    return {
        "name": _title(one.request) if is_first else "; ".join(_changes(one, first)),
        "memory": format_size(plan.device_bytes, unit),
        "fits": plan.fits,
        "saved": "" if is_first else f"{sign}{format_size(abs(more), unit)}",
        "time": format_duration(one.run.seconds, space=NO_BREAK),
        "ratio": "" if is_first else time_text(one.run.seconds / first.run.seconds),
        "cost": "" if one.run.cost is None else format_positive(one.run.cost),
        "problem": "",
    }


def _title(request: PlanRequest) -> str:
    """Return the model and what it trains on: "Llama-3.1-8B, 8 × H100 SXM"."""
    name = model_name(request.state).rpartition("/")[2] or "your config.json"
    gpu, gpus = text_of(request.state, "gpu"), request.job.cluster.gpus
    return f"{name}, {gpus:,} × {gpu}" if gpu else name


def _changes(one: _PlannedRow, first: _PlannedRow) -> list[str]:
    """Return the settings that differ, each with its value: "Method: LoRA"."""
    states = (one.request.state, first.request.state)
    keys = [key for key in SETTINGS if states[0].get(key, "") != states[1].get(key, "")]
    said = [
        f"{SETTINGS[key].short_label}: {_value(key, one.request)}" for key in keys if key != "unit"
    ]
    return said or ["the same plan"]


def _value(key: str, request: PlanRequest) -> str:
    """Return what a setting comes to in this plan, in the words of its control."""
    text = text_of(request.state, key)
    if key == "config":
        return "yours" if text else "none"
    if not text and key in RECIPE_SETTINGS:
        text = as_text(getattr(request.job.recipe, key))
    elif not text and key in CLUSTER_SETTINGS:
        text = as_text(getattr(request.job.cluster, key))
    words = {**SETTINGS[key].choices, "true": "on", "false": "off", "": "none"}
    return words.get(text, text)


def read_plans(given: Mapping[str, object]) -> tuple[list[str], str]:
    """Return the queries of `{"plans": […], "now": …}`; what is no text is left out."""
    plans = given.get("plans")
    queries = (
        [query for query in plans if isinstance(query, str)] if isinstance(plans, list) else []
    )
    now = given.get("now")
    return queries, now if isinstance(now, str) else as_query({})
