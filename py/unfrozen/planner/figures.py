"""What the planner draws of a plan: the bar of its peak, the step by instant, and the verdict."""

from __future__ import annotations

from typing import Final

from unfrozen.events import COMPONENTS, in_order
from unfrozen.memory.holder import holder_words
from unfrozen.memory.overhead import COMMUNICATION_BYTES, CONTEXT_BYTES
from unfrozen.plan import Plan
from unfrozen.planner.peak import gone_by, instant_label, peak_sentence
from unfrozen.planner.sizes import scale, share_text, size_text
from unfrozen.units import GIB

Json = dict[str, object]

OVERHEAD: Final = {
    "reserve": "Allocator's reserve",
    "context": COMPONENTS["context"],
    "communication": "Communication buffers",
}
_ROOM: Final = 1.02  # of what the scale shows beyond its largest value


def overhead(plan: Plan) -> dict[str, int]:
    """What the card holds beside tensors, in bytes, by the keys of `OVERHEAD`."""
    many = plan.job.cluster.gpus > 1
    parts = {
        "reserve": plan.reserved_bytes - plan.allocated_bytes,
        "context": CONTEXT_BYTES,
        "communication": COMMUNICATION_BYTES if many else 0,
    }
    return {key: size for key, size in parts.items() if size}


def tensor_room_bytes(plan: Plan) -> int | None:
    """What tensors may take on the plan's card while the allocator's reserve grows with them, in
    the proportion of this plan; None without a card.
    """
    if plan.job.gpu is None:
        return None
    beside = sum(size for key, size in overhead(plan).items() if key != "reserve")
    share = plan.allocated_bytes / max(1, plan.reserved_bytes)
    return int((plan.job.gpu.capacity_bytes - beside) * share)


def bar(plan: Plan, unit: str) -> Json:
    """The card at the peak: tensors by component, then what is held beside them."""
    low, high = (edge * GIB for edge in plan.band_gib)
    card = plan.job.gpu
    most, marks = scale(_ROOM * max(high, card.capacity_bytes if card else 0), unit)
    parts = _parts(plan.instants[plan.peak_instant], plan.device_bytes, unit)
    parts += [
        _part(key, OVERHEAD[key], size, plan.device_bytes, unit)
        for key, size in overhead(plan).items()
    ]
    limit = card and {
        "bytes": card.capacity_bytes,
        "label": f"{card.name}: {size_text(card.capacity_bytes, unit)}",
    }
    return {
        "most": most,
        "unit": unit,
        "parts": parts,
        "total": {"bytes": plan.device_bytes, "text": size_text(plan.device_bytes, unit)},
        "band": {"low": low, "high": high, "text": band_text(plan, unit)},
        "limit": limit,
        "marks": marks,
        "note": gone_by(plan, unit),
    }


def timeline(plan: Plan, unit: str) -> Json:
    """Every instant of the step on one scale, what tensors hold at each, the highest marked."""
    totals = {name: sum(parts.values()) for name, parts in plan.instants.items()}
    room = tensor_room_bytes(plan)
    most, marks = scale(_ROOM * max(plan.allocated_bytes, room or 0, 1), unit)
    rows = [
        {
            "key": name,
            "label": instant_label(name),
            "bytes": totals[name],
            "text": size_text(totals[name], unit),
            "peak": name == plan.peak_instant,
            "parts": _parts(parts, totals[name], unit),
        }
        for name, parts in plan.instants.items()
    ]
    limit = room and {"bytes": room, "label": f"room for tensors: {size_text(room, unit)}"}
    return {
        "most": most,
        "unit": unit,
        "rows": rows,
        "limit": limit,
        "marks": marks,
        "sentence": peak_sentence(plan),
    }


def verdict(plan: Plan, unit: str) -> Json:
    """Whether it fits, in a headline and a sentence; `kind` is yes, narrow, short, no or open."""
    need, card = plan.device_bytes, plan.job.gpu
    each = " on each card" if plan.job.cluster.gpus > 1 else ""
    if card is None:
        title = f"It needs {size_text(need, unit)}{each}."
        return {"kind": "open", "title": title, "text": "Choose a card to see whether it fits."}
    room = card.capacity_bytes
    low, high = (edge * GIB for edge in plan.band_gib)
    of = f"{size_text(need, unit)} of {size_text(room, unit)}{each}"
    whose = holder_words(plan.job)
    after = f" {whose}" if whose else ""
    if need <= room:
        free = f"{of}; {size_text(room - need, unit)} stay free.{after}"
        if high <= room:
            return {"kind": "yes", "title": "It fits.", "text": free}
        text = f"{free} The error band reaches past the edge: try it before you rely on it."
        return {"kind": "narrow", "title": "It fits, narrowly.", "text": text}
    missing = f"{of}; {size_text(need - room, unit)} are missing.{after}"
    if low > room:
        return {"kind": "no", "title": "It does not fit.", "text": missing}
    text = f"{missing} The lower end of the error band would fit; do not count on it."
    return {"kind": "short", "title": "It does not fit, narrowly.", "text": text}


def band_text(plan: Plan, unit: str) -> str:
    """The error band: "121–140 GiB"."""
    low, high = (size_text(edge * GIB, unit) for edge in plan.band_gib)
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
        "text": size_text(size, unit),
        "share": share_text(size, whole),
    }
