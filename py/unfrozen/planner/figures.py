"""The figures of a plan: the bar of its peak, the step by instant, the verdict, and sentences about
the peak.
"""

from __future__ import annotations

import math
from typing import Final

from unfrozen.events import COMPONENTS, INSTANTS, in_order
from unfrozen.memory.explain import format_peak_rank
from unfrozen.memory.overhead import COMMUNICATION_BYTES
from unfrozen.plan import VERDICTS, Plan
from unfrozen.plan.record import chance_of, fits_words
from unfrozen.planner.controls import Json
from unfrozen.units import GIB, UNIT_BYTES, format_size

OVERHEAD: Final = {
    "reserve": "Allocator reserve",
    "context": COMPONENTS["context"],
    "communication": "Communication buffers",
    "rollouts": "vLLM",
}
EXPANDABLE: Final = (
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True leaves fewer blocks unused; try it before you"
    " rely on it."
)
"""Advice for a job that is tight."""
_ROOM: Final = 1.02  # of what the scale shows beyond its largest value


def overhead(plan: Plan) -> dict[str, int]:
    """Return the GPU memory beside tensors, in bytes, by the keys of `OVERHEAD`."""
    many = plan.job.cluster.gpus > 1
    parts = {
        "reserve": plan.device_bytes - plan.beside_bytes - plan.allocated_bytes,
        "context": plan.context_bytes,
        "communication": COMMUNICATION_BYTES if many else 0,
        "rollouts": plan.rollout_bytes,
    }
    return {key: size for key, size in parts.items() if size}


def tensor_room_bytes(plan: Plan) -> int | None:
    """Return the bytes tensors may take on the plan's GPU; None without a GPU.

    What the allocator needs beside them is assumed to grow with them, as in this plan.
    """
    if plan.job.gpu is None:
        return None
    share = plan.allocated_bytes / max(1, plan.safe_bytes - plan.beside_bytes)
    return int((plan.job.gpu.capacity_bytes - plan.beside_bytes) * share)


def bar(plan: Plan, unit: str) -> Json:
    """Return the GPU's memory at the peak: tensors by component, then the overhead."""
    low, high = (edge * GIB for edge in plan.band_gib)
    gpu = plan.job.gpu
    most, marks = byte_axis(_ROOM * max(high, gpu.capacity_bytes if gpu else 0), unit)
    parts = _parts(plan.instants[plan.peak_instant], plan.device_bytes, unit)
    parts += [
        _part(key, OVERHEAD[key], size, plan.device_bytes, unit)
        for key, size in overhead(plan).items()
    ]
    limit = gpu and {
        "bytes": gpu.capacity_bytes,
        "label": f"{gpu.name}: {format_size(gpu.capacity_bytes, unit)}",
    }
    return {
        "most": most,
        "unit": unit,
        "parts": parts,
        "total": {"bytes": plan.device_bytes, "text": format_size(plan.device_bytes, unit)},
        "band": {"low": low, "high": high, "text": band_text(plan, unit)},
        "limit": limit,
        "marks": marks,
        "note": peak_note(plan, unit),
    }


def timeline(plan: Plan, unit: str) -> Json:
    """Return every instant of the step on one scale with its components, the highest marked."""
    totals = {name: sum(parts.values()) for name, parts in plan.instants.items()}
    room = tensor_room_bytes(plan)
    most, marks = byte_axis(_ROOM * max(plan.allocated_bytes, room or 0, 1), unit)
    rows = [
        {
            "key": name,
            "label": instant_label(name),
            "bytes": totals[name],
            "text": format_size(totals[name], unit),
            "peak": name == plan.peak_instant,
            "parts": _parts(parts, totals[name], unit),
        }
        for name, parts in plan.instants.items()
    ]
    limit = room and {"bytes": room, "label": f"room for tensors: {format_size(room, unit)}"}
    return {
        "most": most,
        "unit": unit,
        "rows": rows,
        "limit": limit,
        "marks": marks,
        "sentence": peak_sentence(plan),
    }


def verdict(plan: Plan, unit: str) -> Json:
    """Return whether it fits: headline, sentence, `kind` (yes, narrow, no or open)."""
    need, gpu = plan.device_bytes, plan.job.gpu
    each = " on each GPU" if plan.job.cluster.gpus > 1 else ""
    if gpu is None or plan.chance is None:
        title = f"It needs {format_size(need, unit)}{each}."
        return {"kind": "open", "title": title, "text": "Choose a GPU to see whether it fits."}
    room = gpu.capacity_bytes
    rank = format_peak_rank(plan.job)
    after = f" {rank}" if rank else ""
    of = f"{format_size(need, unit)} of {format_size(room, unit)}{each}"
    spare = format_size(abs(room - plan.safe_bytes), unit)
    if plan.verdict == VERDICTS[0]:
        text = f"{of}; {spare} are to spare.{after} {fits_words(plan.job)}"
        return {"kind": "yes", "title": "It fits.", "text": text}
    if plan.verdict == VERDICTS[1]:
        text = f"It runs with a probability of {chance_of(plan):.0%}.{after}"
        text += f" {EXPANDABLE}" if gpu.device == "cuda" else ""
        return {"kind": "narrow", "title": "It is tight.", "text": text}
    text = f"{of}; to be safe it needs {spare} more.{after}"
    return {"kind": "no", "title": "It does not fit.", "text": text}


def band_text(plan: Plan, unit: str) -> str:
    """Return the error band: "121–140 GiB"."""
    low, high = (format_size(edge * GIB, unit) for edge in plan.band_gib)
    return f"{low.split(chr(160))[0]}–{high}" if low.endswith(unit) else f"{low} – {high}"


def _parts(components: dict[str, int], whole: int, unit: str) -> list[Json]:
    return [
        _part(name, COMPONENTS[name], components[name], whole, unit)
        for name in in_order(components)
    ]


def _part(key: str, label: str, size: int, whole: int, unit: str) -> Json:
    return {
        "key": key,
        "label": label,
        "bytes": size,
        "text": format_size(size, unit),
        "share": format_share(size, whole),
    }


_ROUND: Final = (1, 2, 5, 10)
_WANTED: Final = 5  # ticks of a scale, about


def byte_axis(largest_bytes: float, unit: str) -> tuple[float, list[dict[str, object]]]:
    """Return the end of an axis that holds `largest_bytes`, and its ticks from 0 on: bytes, and
    texts without unit.

    It ends at a mark or half-way to the next, so that it stands still while a slider moves.
    """
    size = UNIT_BYTES[unit]
    largest = max(largest_bytes / size, 1e-9)
    power = 10.0 ** math.floor(math.log10(largest / _WANTED))
    step = next(power * factor for factor in _ROUND if power * factor * _WANTED >= largest * 0.999)
    halves = math.ceil(largest / step * 2 * (1 - 1e-9))
    marks: list[dict[str, object]] = [
        {"bytes": index * step * size, "text": f"{index * step:,.6g}"}
        for index in range(halves // 2 + 1)
    ]
    return halves / 2 * step * size, marks


def format_share(part: float, whole: float) -> str:
    """Return a part of a whole in per cent: "12%", "0.4%"."""
    percent = 100 * part / whole if whole else 0.0
    digits = 0 if percent >= 10 or percent == 0 else 1
    return f"{percent:.{digits}f}%"


_FEW: Final = 0.1  # of the largest size of a component in the step
_WHY: Final = {
    "load": "The weights alone are larger than anything the step adds.",
    "end_of_forward": "Every activation is alive and the loss is being computed.",
    "end_of_backward": "Every gradient is there; the activations are gone.",
    "optimizer_step": "All optimizer states and gradients are there, and the update's temporaries.",
}
_TRANSIENT: Final = ("activations", "logits_loss")
"""Components that are allocated and freed within a step."""


def instant_label(name: str) -> str:
    """Return the name of an instant."""
    return INSTANTS.get(name, name.replace("_", " ").capitalize())


def peak_sentence(plan: Plan) -> str:
    """Return a sentence on which instant sets the peak, and why."""
    return f"{instant_label(plan.peak_instant)} sets the peak. {_why(plan)}"


def peak_note(plan: Plan, unit: str) -> str:
    """Return a note on when the peak is, and on what is allocated at another instant instead.

    A list of the peak alone reads as if that cost nothing.
    """
    at_peak = plan.instants[plan.peak_instant]
    gone = [_freed(name, plan, unit) for name in _TRANSIENT if _most(name, plan) > 0]
    gone = [text for text in gone if text]
    when = f"At one instant, {_inside(plan.peak_instant)}."
    if not gone:
        share = sum(at_peak.get(name, 0) for name in _TRANSIENT) / max(1, plan.allocated_bytes)
        return f"{when} {100 * share:.0f}% of it is allocated and freed within the step."
    return " ".join((when, *gone))


def _why(plan: Plan) -> str:
    if plan.peak_instant == "backward":
        return _how_far_back(plan)
    why = _WHY.get(plan.peak_instant, "")
    if plan.peak_instant == "end_of_forward":
        gradients = "not one gradient exists yet"
        if "grads" in plan.instants[plan.peak_instant]:
            gradients = "of the gradients, the head's alone exists"
            if plan.job.recipe.grad_accum > 1:
                gradients = "and so are the gradients of earlier micro-batches"
        return f"{why[:-1]}; {gradients}."
    return why


def _how_far_back(plan: Plan) -> str:
    """Return how far backward has come at the peak, by the activations that are left."""
    left = plan.instants["backward"].get("activations", 0) / max(1, _most("activations", plan))
    if left < _FEW:
        freed = plan.job.recipe.optimizer_in_backward
        there = "" if freed else ": nearly every gradient is there"
        left_over = "Few activations are left: recomputing layers would not help."
        return f"Backward has reached the first layers{there}. {left_over}"
    if left > 1 - _FEW:
        return (
            "Backward has begun: the first gradients are there, nearly all activations still are."
        )
    return "Backward is under way: gradients accumulate while activations are still there."


def _most(name: str, plan: Plan) -> int:
    """Return the largest size of a component in the step."""
    return max(held.get(name, 0) for held in plan.instants.values())


def _freed(name: str, plan: Plan, unit: str) -> str:
    """Return a sentence on how much larger a component is at another instant; else empty."""
    most, left = _most(name, plan), plan.instants[plan.peak_instant].get(name, 0)
    if left >= _FEW * most:
        return ""
    [at, *_] = [instant for instant, held in plan.instants.items() if held.get(name, 0) == most]
    here = format_size(left, unit) if left else "nothing"
    return f"{COMPONENTS[name]} take {format_size(most, unit)} at {_inside(at)}, and {here} here."


def _inside(instant: str) -> str:
    """Return the name of an instant inside a sentence."""
    names = {
        "load": "the loaded model",
        "end_of_forward": "the end of the forward pass",
        "backward": "the backward pass",
        "end_of_backward": "the end of the backward pass",
        "optimizer_step": "the optimizer's step",
    }
    return names.get(instant, instant_label(instant).lower())
