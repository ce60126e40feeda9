"""Ways out of a job that does not fit, and ways on from one that does: advice and inverse answers.

Everything here can be applied: it carries the state that the planner would have afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.job.recipe import Recipe
from unfrozen.plan import Plan, changes, plan_job
from unfrozen.plan.advice import Advice, advise, cheapest_fit
from unfrozen.plan.changes import Patch
from unfrozen.plan.solve import largest, min_gpus
from unfrozen.planner.figures import Json
from unfrozen.planner.keys import RECIPE, YIELDS
from unfrozen.planner.sizes import size_text
from unfrozen.planner.state import State, patched, read_job, read_state, recipe_json
from unfrozen.units import GIB

_MOST_ADVICE = 14


def advice(plan: Plan, state: State, unit: str) -> list[Json]:
    """Every single change that saves memory, the best trade of memory against time first."""
    return [_advice_json(each, plan, state, unit) for each in advise(plan)[:_MOST_ADVICE]]


def cheapest(plan: Plan, state: State, unit: str) -> Json | None:
    """The set of changes that makes the job fit at the least cost in time.

    None where it fits already or no card is named; without a state where nothing helps.
    """
    if plan.fits is not False:
        return None
    steps = cheapest_fit(plan)
    if not steps:
        text = (
            "No set of these changes makes it fit. Use more cards, larger ones, or a smaller model."
        )
        return {"what": "", "text": text, "state": None}
    changed = _all(plan.job, state, steps)
    after = plan_job(read_job(changed))
    need = size_text(after.device_bytes, unit)
    text = f"{need} in all; a step takes {_time_text(_product(steps))}."
    return {"what": _list([step.label for step in steps]), "text": text, "state": changed}


def inverse(plan: Plan, state: State) -> list[Json]:
    """The largest batch, the longest sequence and the fewest cards, each exact for the model."""
    found = []
    if plan.job.gpu is not None:
        batch, length = largest(plan, "micro_batch"), largest(plan, "seq_len")
        found += [
            _answer("micro_batch", "Largest micro-batch", batch, "sequence", state),
            _answer("seq_len", "Longest sequence", length, "token", state),
        ]
    cards = min_gpus(plan)
    sharded = {"gpus": str(cards)} | ({"sharding": "zero3"} if cards > 1 else {"sharding": ""})
    found.append(_answer("gpus", "Fewest cards", cards, "card", state, sharded))
    return found


def _advice_json(each: Advice, plan: Plan, state: State, unit: str) -> Json:
    return {
        "key": each.key,
        "label": each.label,
        "note": each.note,
        "saved": size_text(each.saved_gib * GIB, unit),
        "total": size_text(each.device_gib * GIB, unit),
        "time": _time_text(each.time_ratio),
        "fits": each.fits,
        "state": after(plan.job, state, each.patch),
    }


def after(job: Job, state: State, patch: Patch) -> State:
    """The state whose job is `job` with the patch in it: what a default would now make of the rest
    is pinned to what it was, so that a button does what its line says and no more.
    """
    wanted, found = changes.patched(job, patch), patched(state, patch)
    recipe = Recipe.read(recipe_json(found))
    pinned = {
        key: getattr(wanted.recipe, key)
        for key in RECIPE
        if getattr(recipe, key) != getattr(wanted.recipe, key)
        and key not in (YIELDS - found.keys())
    }
    return patched(found, {"recipe": pinned})


def _all(job: Job, state: State, steps: Iterable[Advice]) -> State:
    for step in steps:
        state = after(job, state, step.patch)
        job = changes.patched(job, step.patch)
    return state


def _list(labels: list[str]) -> str:
    """Labels in a sentence: "8-bit moments, ZeRO-3 and no master copy"."""
    first, *rest = labels
    words = [first, *(_inside(label) for label in rest)]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _inside(label: str) -> str:
    """A label inside a sentence; names like LoRA keep their letters."""
    first = label.split()[0]
    return label if first[1:] != first[1:].lower() else label[:1].lower() + label[1:]


def _product(steps: Iterable[Advice]) -> float:
    ratio = 1.0
    for step in steps:
        ratio *= step.time_ratio
    return ratio


def _time_text(ratio: float) -> str:
    """A change of step time: "the same time", "1.31× the time", "6% less time"."""
    if abs(ratio - 1) < 0.005:
        return "the same time"
    return f"{ratio:.2f}× the time" if ratio > 1 else f"{100 * (1 - ratio):.0f}% less time"


def _answer(
    key: str, label: str, count: int, noun: str, state: State, sets: State | None = None
) -> Json:
    if count == 0:
        text = "none is enough" if key == "gpus" else "not even one fits"
        return {"key": key, "label": label, "text": text, "note": _not_even(key), "state": None}
    text = f"{count:,} {noun}{'' if count == 1 else 's'}"
    changed = read_state({**state, **(sets or {key: str(count)})})
    same = changed == state or not _can_be_planned(changed)
    note = "sharing everything out (ZeRO-3)" if key == "gpus" and count > 1 else "all else as it is"
    return {
        "key": key,
        "label": label,
        "text": text,
        "note": note,
        "state": None if same else changed,
    }


def _not_even(key: str) -> str:
    if key == "gpus":
        return "what one card computes is too large by itself"
    return "the states alone fill the card"


def _can_be_planned(state: State) -> bool:
    try:
        plan_job(read_job(state))
    except PlanError:
        return False
    return True
