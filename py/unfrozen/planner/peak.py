"""The peak of a step in words, each read off the plan: why it is there, what has gone by then, and
which settings do not lower it.
"""

from __future__ import annotations

from typing import Final

from unfrozen.errors import InputError
from unfrozen.events import COMPONENTS, INSTANTS
from unfrozen.plan import Plan, plan_job
from unfrozen.plan.changes import patched
from unfrozen.planner.knobs import GROUPS
from unfrozen.planner.sizes import size_text

_FEW: Final = 0.1  # of the most of a component that the step ever holds
_WHY: Final = {
    "load": "The weights alone are larger than anything the step adds.",
    "end_of_forward": "Every activation is alive and the loss is being computed.",
    "end_of_backward": "Every gradient is there; the activations are gone.",
    "optimizer_step": "The optimizer holds all of its state, the gradients, and its temporaries.",
}
_PASSING: Final = ("activations", "logits_loss")
"""Components that come and go within a step."""
_ON_PASSING: Final = ("checkpointing", "kernels", "attention", "loss")
"""Settings that change what passes, and nothing of what stays."""
_OTHER_TASKS: Final = {"classification"}
_SEEN: Final = 0.999  # of a size; less of a change is lost in its three digits
_KNOBS: Final = {knob.key: knob for _, knobs in GROUPS for knob in knobs}


def instant_label(name: str) -> str:
    """An instant in words."""
    return INSTANTS.get(name, name.replace("_", " ").capitalize())


def peak_sentence(plan: Plan) -> str:
    """Which instant sets the peak, and why it is that one."""
    return f"{instant_label(plan.peak_instant)} sets the peak. {_why(plan)}"


def gone_by(plan: Plan, unit: str) -> str:
    """When the peak is, and what is held at another instant and not at this one: a list of the
    peak alone reads as if that cost nothing.
    """
    held = plan.instants[plan.peak_instant]
    gone = [_gone(name, plan, unit) for name in _PASSING if _most(name, plan) > 0]
    gone = [words for words in gone if words]
    when = f"Held at one instant, {_inside(plan.peak_instant)}."
    if not gone:
        share = sum(held.get(name, 0) for name in _PASSING) / max(1, plan.allocated_bytes)
        return f"{when} {100 * share:.0f}% of it comes and goes within the step."
    return " ".join((when, *gone))


def held_back(plan: Plan) -> str:
    """Which settings of what passes do not lower the peak, whatever is chosen; empty for none."""
    idle = [_KNOBS[key].label.lower() for key in _ON_PASSING if not _lowers(key, plan)]
    if not idle:
        return ""
    names = idle[0] if len(idle) == 1 else f"{', '.join(idle[:-1])} or {idle[-1]}"
    low = plan.instants[plan.peak_instant].get("activations", 0) < _FEW * _most("activations", plan)
    why = "few activations are left when it comes" if low else "what is chosen takes least"
    return f"No other choice of {names} lowers this peak: {why}."


def _lowers(key: str, plan: Plan) -> bool:
    """Whether another choice of one setting makes the peak smaller by what a reader would see."""
    for choice in _KNOBS[key].choices.keys() - _OTHER_TASKS:
        try:
            found = plan_job(patched(plan.job, {"recipe": {key: choice}}))
        except InputError:
            continue
        if found.device_bytes < _SEEN * plan.device_bytes:
            return True
    return False


def _why(plan: Plan) -> str:
    if plan.peak_instant == "backward":
        return _how_far_back(plan)
    why = _WHY.get(plan.peak_instant, "")
    if plan.peak_instant == "end_of_forward":
        waits = plan.job.recipe.grad_accum > 1 and "grads" in plan.instants[plan.peak_instant]
        gradients = "the gradients of earlier micro-batches wait as well"
        return f"{why[:-1]}; {gradients if waits else 'not one gradient exists yet'}."
    return why


def _how_far_back(plan: Plan) -> str:
    """Where on the way back the peak stands, read off what is still held there."""
    left = plan.instants["backward"].get("activations", 0) / max(1, _most("activations", plan))
    if left < _FEW:
        freed = plan.job.recipe.optimizer_in_backward
        there = "" if freed else ": nearly every gradient is there"
        left_over = "Few activations are left: recomputing layers would not help."
        return f"The way back has reached the first layers{there}. {left_over}"
    if left > 1 - _FEW:
        return "The way back has begun: first gradients arrive, and the activations still wait."
    return "A layer is being differentiated: gradients pile up while activations still wait."


def _most(name: str, plan: Plan) -> int:
    """The most that the step ever holds of a component."""
    return max(held.get(name, 0) for held in plan.instants.values())


def _gone(name: str, plan: Plan, unit: str) -> str:
    """What a component comes to elsewhere and holds at the peak; empty where that is alike."""
    most, left = _most(name, plan), plan.instants[plan.peak_instant].get(name, 0)
    if left >= _FEW * most:
        return ""
    [at, *_] = [instant for instant, held in plan.instants.items() if held.get(name, 0) == most]
    here = size_text(left, unit) if left else "nothing"
    return f"{COMPONENTS[name]} take {size_text(most, unit)} at {_inside(at)}, and {here} here."


def _inside(instant: str) -> str:
    """An instant inside a sentence."""
    names = {
        "load": "the loaded model",
        "end_of_forward": "the end of the forward pass",
        "backward": "the backward pass",
        "end_of_backward": "the end of the backward pass",
        "optimizer_step": "the optimizer's step",
    }
    return names.get(instant, instant_label(instant).lower())
