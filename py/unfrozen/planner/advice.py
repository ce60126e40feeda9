"""Changes that save memory, and the largest batch, the longest sequence, the fewest GPUs that fit.

Each carries the state that the planner would have afterwards, so that a button can apply it.
"""

from __future__ import annotations

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.job.recipe import RECIPE_SETTINGS, Recipe
from unfrozen.plan import Plan, plan_job
from unfrozen.plan import advice as plan_advice
from unfrozen.plan.advice import Advice, Patch, advise
from unfrozen.plan.solve import largest, min_gpus
from unfrozen.planner.controls import Json
from unfrozen.planner.state import (
    LEFT_TO_JOB,
    State,
    patched,
    read_job,
    read_state,
    recipe_json,
)
from unfrozen.units import GIB, format_size

_MOST_ADVICE = 14


def advice(plan: Plan, state: State, unit: str) -> list[Json]:
    """Return every single change that saves memory, the best trade of memory against time first."""
    return [_advice_json(each, plan, state, unit) for each in advise(plan)[:_MOST_ADVICE]]


def solve(plan: Plan, state: State) -> list[Json]:
    """Return the largest batch, the longest sequence and the fewest GPUs, each exact."""
    found = []
    if plan.job.gpu is not None:
        batch, length = largest(plan, "micro_batch"), largest(plan, "seq_len")
        found += [
            _solution("micro_batch", "Largest micro-batch", batch, "sequence", state),
            _solution("seq_len", "Longest sequence", length, "token", state),
        ]
    gpus = min_gpus(plan)
    sharded = {"gpus": str(gpus)} | ({"sharding": "zero3"} if gpus > 1 else {"sharding": ""})
    found.append(_solution("gpus", "Fewest GPUs", gpus, "GPU", state, sharded))
    return found


def _advice_json(each: Advice, plan: Plan, state: State, unit: str) -> Json:
    return {
        "key": each.key,
        "label": each.label,
        "note": each.note,
        "saved": format_size(each.saved_gib * GIB, unit),
        "total": format_size(each.device_gib * GIB, unit),
        "time": time_text(each.time_ratio),
        "fits": each.fits,
        "state": apply_patch(plan.job, state, each.patch),
    }


def apply_patch(job: Job, state: State, patch: Patch) -> State:
    """Return the state whose job is `job` with the patch.

    Settings whose defaults would change with it are pinned to their values, so that a button does
    what its line says and no more.
    """
    wanted, found = plan_advice.patched(job, patch), patched(state, patch)
    recipe = Recipe.read(recipe_json(found))
    pinned = {
        key: getattr(wanted.recipe, key)
        for key in RECIPE_SETTINGS
        if getattr(recipe, key) != getattr(wanted.recipe, key)
        and key not in (LEFT_TO_JOB - found.keys())
    }
    return patched(found, {"recipe": pinned})


def time_text(ratio: float) -> str:
    """Return a change of step time: "the same time", "1.31× the time", "6% less time"."""
    if abs(ratio - 1) < 0.005:
        return "the same time"
    return f"{ratio:.2f}× the time" if ratio > 1 else f"{100 * (1 - ratio):.0f}% less time"


def _solution(
    key: str, label: str, count: int, noun: str, state: State, sets: State | None = None
) -> Json:
    if count == 0:
        text = "no number is enough" if key == "gpus" else "not even one fits"
        return {"key": key, "label": label, "text": text, "note": _not_even(key), "state": None}
    text = f"{count:,} {noun}{'' if count == 1 else 's'}"
    changed = read_state({**state, **(sets or {key: str(count)})})
    same = changed == state or not _can_be_planned(changed)
    note = "with ZeRO-3 / FSDP full shard" if key == "gpus" and count > 1 else "all else unchanged"
    return {
        "key": key,
        "label": label,
        "text": text,
        "note": note,
        "state": None if same else changed,
    }


def _not_even(key: str) -> str:
    if key == "gpus":
        return "one GPU's own activations do not fit"
    return "the model states alone fill the GPU"


def _can_be_planned(state: State) -> bool:
    try:
        plan_job(read_job(state))
    except PlanError:
        return False
    return True
