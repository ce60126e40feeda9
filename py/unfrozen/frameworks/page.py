"""The layouts that the page ranks: asked for by a button, looked for in turns of a few plans.

A turn ends before a slider would have to wait for it: the worker answers other questions between
two of them. The search that is under way is kept; another question begins another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from unfrozen.errors import InputError
from unfrozen.frameworks.known import FRAMEWORKS, Framework
from unfrozen.frameworks.table import CAUSES, MESH, spread
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.plan.dimensions import LAID_OUT
from unfrozen.plan.layouts import Layout, Search, step_sequences
from unfrozen.planner.keys import CLUSTER, RECIPE, YIELDS
from unfrozen.planner.refusals import as_problem
from unfrozen.planner.sizes import size_text
from unfrozen.planner.state import (
    State,
    as_text,
    price,
    read_job,
    read_state,
    recipe_json,
    unit,
)
from unfrozen.units import format_duration, sig3

SHOWN: Final = 8
TURN: Final = (5, 1)
"""Clusters and plans of a turn: a few milliseconds."""


@dataclass
class _Kept:
    """The question that is being looked into, and how far."""

    asked: tuple[State, str] | None = None
    search: Search | None = None


_KEPT: Final = _Kept()


def layouts(given: Mapping[str, Any]) -> dict[str, Any]:
    """A turn at the question {"state": …, "framework": a name or ""}: `done`, and the ranking so
    far. Never raises: what cannot be searched comes back as `problem`.
    """
    state: State = {}
    try:
        state = read_state(given.get("state") or {})
        framework = str(given.get("framework") or "")
        job = read_job(state)
        search = _search(job, state, framework)
        done = _turn(search)
        return _told(search, job, state, framework) | {"done": done, "problem": None}
    except InputError as error:
        return {"done": True, "rows": [], "problem": as_problem(error, state)}


def _search(job: Job, state: State, framework: str) -> Search:
    asked = (state, framework)
    if _KEPT.search is None or _KEPT.asked != asked:
        takes = FRAMEWORKS[framework].takes if framework in FRAMEWORKS else None
        _KEPT.search = Search(job, job.cluster.gpus, None, takes, SHOWN)
        _KEPT.asked = asked
    return _KEPT.search


def _turn(search: Search) -> bool:
    most, plans = TURN
    until = search.planned + plans
    for _ in islice(iter(search.go_on, False), most):
        if search.planned >= until:
            return False
    return search.over


def _told(search: Search, job: Job, state: State, framework: str) -> dict[str, Any]:
    gpus, sequences = job.cluster.gpus, step_sequences(job, job.cluster.gpus)
    cards = f"{gpus:,} card{'' if gpus == 1 else 's'}"
    step = f"{sequences:,} sequence{'' if sequences == 1 else 's'} a step"
    chosen = FRAMEWORKS.get(framework)
    rows = [_row(one, state, chosen) for one in search.found] if search.over else []
    none = "Nothing that fits: more cards, or another change of those above."
    return {
        "text": f"{cards}, {step}: {search.looked:,} layouts looked at.",
        "none": none if search.over and not rows else "",
        "rows": rows,
        "unit": "card-hours" if price(state) is None else "cost",
        "by": [{"value": "", "label": "anyone"}, *_OPTIONS],
        "framework": framework,
    }


_OPTIONS: Final = [{"value": name, "label": one.label} for name, one in FRAMEWORKS.items()]


def _row(one: Layout, state: State, framework: Framework | None) -> dict[str, Any]:
    (cause, share), cost = one.binds, price(state)
    spent = one.card_hours if cost is None else one.card_hours * cost
    return {
        "label": _label(one.job),
        "note": _note(one.job),
        "memory": size_text(one.device_bytes, unit(state)),
        "time": format_duration(one.seconds),
        "speed": f"{one.tokens_per_second:,.0f}",
        "cost": f"{spent:,.0f}" if spent >= 100 else sig3(spent),
        "bound": f"{CAUSES[cause]}, {100 * share:.0f}%",
        "state": state_of(one.job, state),
        "command": framework.command(one.job) if framework else "",
    }


def _label(job: Job) -> str:
    """Who shares what: "data 32 × tensor 2"."""
    cluster = job.cluster
    counts = {word: getattr(cluster, key) for key, word in _SHARED.items()}
    counts = {"data": cluster.replicas} | counts
    shared = [f"{word} {count:,}" for word, count in counts.items() if count > 1]
    return " × ".join(shared) or "one card alone"


_SHARED: Final = {key: key.removesuffix("_parallel") for key in MESH}


def _note(job: Job) -> str:
    """How states are spread, what is computed again, what goes through at once."""
    cluster, recipe, stage = job.cluster, job.recipe, spread(job)
    count, at_once = recipe.grad_accum, recipe.micro_batch
    parts = [
        "" if cluster.alike == 1 else "copies" if stage == "–" else f"ZeRO-{stage}",
        {"none": "", "selective": "some recomputed", "full": "layers recomputed"}[
            recipe.checkpointing
        ],
        f"{count:,} × {at_once:,} sequence{'' if count * at_once == 1 else 's'}",
        f"{cluster.chunks} stages a card" if cluster.chunks > 1 and cluster.stages > 1 else "",
    ]
    return ", ".join(part for part in parts if part)


def state_of(wanted: Job, state: State) -> State:
    """The state whose job is `wanted`, which differs by a layout from that of `state`."""
    plain = Cluster()
    texts = {
        key: ""
        if getattr(wanted.cluster, key) == getattr(plain, key)
        else as_text(getattr(wanted.cluster, key))
        for key in LAID_OUT
    }
    found = read_state({**state, **texts})
    recipe = Recipe.read(recipe_json(found))
    pinned = _differences(recipe, wanted.recipe, RECIPE, YIELDS - found.keys())
    found = read_state({**found, **pinned})
    rest = _differences(read_job(found).cluster, wanted.cluster, CLUSTER, LAID_OUT)
    return read_state({**found, **rest})


def _differences(
    found: Recipe | Cluster, wanted: Recipe | Cluster, keys: Iterable[str], but: Set[str]
) -> State:
    """Of these keys, what has to be said to come from one part of a job to another."""
    return {
        key: as_text(getattr(wanted, key))
        for key in keys
        if key not in but and getattr(found, key) != getattr(wanted, key)
    }


def _large(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else sig3(value)
