"""The search of layouts for the page, a few plans at a time.

A turn ends before a slider would have to wait for it: the worker answers other questions between
two of them. The search that is under way is kept; another question begins another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from unfrozen.errors import InputError
from unfrozen.frameworks.registry import FRAMEWORKS, Framework
from unfrozen.frameworks.tables import CAUSES, MESH, zero_stage
from unfrozen.job import Job
from unfrozen.job.cluster import CLUSTER_SETTINGS, Cluster
from unfrozen.job.recipe import RECIPE_SETTINGS, Recipe
from unfrozen.plan.layouts import LAID_OUT, Layout, Search, step_sequences
from unfrozen.planner.controls import as_problem
from unfrozen.planner.state import (
    LEFT_TO_JOB,
    PlanRequest,
    State,
    as_text,
    read_job,
    read_request,
    read_state,
    recipe_json,
)
from unfrozen.units import format_duration, format_size, sig3

__all__ = ["layouts", "state_of"]

SHOWN: Final = 8
TURN: Final = (5, 1)
"""Clusters and plans of a turn: a few milliseconds."""


@dataclass
class _Current:
    """The search in progress and its request."""

    asked: tuple[State, str] | None = None
    search: Search | None = None


_CURRENT: Final = _Current()


def layouts(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a search of layouts: `done`, and the ranking so far.

    Never raises: what cannot be searched comes back as `problem`.
    """
    state: State = {}
    try:
        state = read_state(given.get("state") or {})
        request = read_request(state)
        framework = str(given.get("framework") or "")
        search = _search(request, framework)
        done = _turn(search)
        return _ranking(search, request, framework) | {"done": done, "problem": None}
    except InputError as error:
        return {"done": True, "rows": [], "problem": as_problem(error, state)}


def _search(request: PlanRequest, framework: str) -> Search:
    job, asked = request.job, (request.state, framework)
    if _CURRENT.search is None or _CURRENT.asked != asked:
        takes = FRAMEWORKS[framework].adapt if framework in FRAMEWORKS else None
        _CURRENT.search = Search(job, job.cluster.gpus, None, takes, SHOWN)
        _CURRENT.asked = asked
    return _CURRENT.search


def _turn(search: Search) -> bool:
    most, plans = TURN
    until = search.planned + plans
    for _ in islice(iter(search.advance, False), most):
        if search.planned >= until:
            return False
    return search.over


def _ranking(search: Search, request: PlanRequest, framework: str) -> dict[str, Any]:
    job = request.job
    gpus, sequences = job.cluster.gpus, step_sequences(job, job.cluster.gpus)
    count = f"{gpus:,} GPU{'' if gpus == 1 else 's'}"
    step = f"{sequences:,} sequence{'' if sequences == 1 else 's'} a step"
    chosen = FRAMEWORKS.get(framework)
    rows = [_row(one, request, chosen) for one in search.found] if search.over else []
    none = "Nothing that fits: more GPUs, or another change of those above."
    return {
        "text": f"{count}, {step}: {search.looked:,} layouts looked at.",
        "none": none if search.over and not rows else "",
        "rows": rows,
        "unit": "GPU-hours" if request.price is None else "cost",
        "by": [{"value": "", "label": "anyone"}, *_OPTIONS],
        "framework": framework,
    }


_OPTIONS: Final = [{"value": name, "label": one.label} for name, one in FRAMEWORKS.items()]


def _row(one: Layout, request: PlanRequest, framework: Framework | None) -> dict[str, Any]:
    (cause, share), cost = one.binds, request.price
    spent = one.gpu_hours if cost is None else one.gpu_hours * cost
    return {
        "label": _label(one.job),
        "note": _note(one.job),
        "memory": format_size(one.device_bytes, request.unit),
        "time": format_duration(one.seconds),
        "speed": f"{one.tokens_per_second:,.0f}",
        "cost": f"{spent:,.0f}" if spent >= 100 else sig3(spent),
        "bound": f"{CAUSES[cause]}, {100 * share:.0f}%",
        "state": state_of(one.job, request.state),
        "command": framework.command(one.job) if framework else "",
    }


def _label(job: Job) -> str:
    """Return the size of each parallelism: "data 32 × tensor 2"."""
    cluster = job.cluster
    counts = {name: getattr(cluster, key) for key, name in _SHARED.items()}
    counts = {"data": cluster.replicas} | counts
    shared = [f"{name} {count:,}" for name, count in counts.items() if count > 1]
    return " × ".join(shared) or "one GPU"


_SHARED: Final = {key: key.removesuffix("_parallel") for key in MESH}


def _note(job: Job) -> str:
    """Return the sharding, activation checkpointing and the batch of a layout."""
    cluster, recipe, stage = job.cluster, job.recipe, zero_stage(job)
    count, at_once = recipe.grad_accum, recipe.micro_batch
    parts = [
        "" if cluster.alike == 1 else "replicated" if stage == "–" else f"ZeRO-{stage}",
        {"none": "", "selective": "some recomputed", "full": "layers recomputed"}[
            recipe.checkpointing
        ],
        f"{count:,} × {at_once:,} sequence{'' if count * at_once == 1 else 's'}",
        f"{cluster.chunks} stages per rank" if cluster.chunks > 1 and cluster.stages > 1 else "",
    ]
    return ", ".join(part for part in parts if part)


def state_of(wanted: Job, state: State) -> State:
    """Return the state whose job is `wanted`, which differs by a layout from that of `state`."""
    plain = Cluster()
    texts = {
        key: ""
        if getattr(wanted.cluster, key) == getattr(plain, key)
        else as_text(getattr(wanted.cluster, key))
        for key in LAID_OUT
    }
    found = read_state({**state, **texts})
    recipe = Recipe.read(recipe_json(found))
    pinned = _differences(recipe, wanted.recipe, RECIPE_SETTINGS, LEFT_TO_JOB - found.keys())
    found = read_state({**found, **pinned})
    rest = _differences(read_job(found).cluster, wanted.cluster, CLUSTER_SETTINGS, LAID_OUT)
    return read_state({**found, **rest})


def _differences(
    found: Recipe | Cluster, wanted: Recipe | Cluster, keys: Iterable[str], but: Set[str]
) -> State:
    """Return the keys whose values differ between two parts of a job, with the wanted values."""
    return {
        key: as_text(getattr(wanted, key))
        for key in keys
        if key not in but and getattr(found, key) != getattr(wanted, key)
    }
