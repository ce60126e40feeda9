"""The bound that was met, who else counts against it, and what tensors could have taken of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch

from gpu_runner.oom.scene import Held, Other
from gpu_runner.oom.thrown import Thrown
from gpu_runner.system import limits
from gpu_runner.system.cards import Cards, NoCards, process_name
from unfrozen.memory.overhead import ROUNDING

HOLES: Final = 3
"""Largest blocks of a step that live at once: logits, their log-softmax, and its gradient."""


def held_on(device: torch.device) -> Held:
    """The bound that was met: the card, or the tightest limit of this process."""
    if device.type != "cuda":
        limit = limits.tightest()
        return Held(limit.name, limit.total_bytes, limit.left_bytes)
    free, total = torch.cuda.mem_get_info(device)
    segments = torch.cuda.memory_snapshot()
    index = torch.cuda.current_device() if device.index is None else device.index
    blocks = [b for s in segments if s["device"] == index for b in s["blocks"]]
    return Held(
        "the card",
        total,
        free,
        torch.cuda.memory_allocated(device),
        torch.cuda.memory_reserved(device),
        max((int(b["size"]) for b in blocks if b["state"] == "inactive"), default=0),
    )


def others_on(thrown: Thrown, device: torch.device) -> tuple[Other, ...]:
    """Other processes on the card, by NVML, else those that the message names."""
    named = tuple(Other(pid, process_name(pid), size) for pid, size in thrown.others)
    if device.type != "cuda":
        return named
    properties = torch.cuda.get_device_properties(device)
    try:
        cards = Cards.open([str(properties.uuid)])
    except NoCards:
        return named
    found = cards.others(0)
    cards.close()
    return tuple(Other(*one) for one in found) or named


def room(held: Held, living: Mapping[str, int], *, card: bool) -> int:
    """Bytes that tensors may hold in all, beside what else counts against the bound.

    On a card whatever is free or the allocator's, less what its blocks are larger than the tensors
    in them; on a CPU what the bound leaves beside `living`, the tensors that there are.
    """
    if card:
        return round((held.free_bytes + held.reserved_bytes) / (1 + ROUNDING))
    return sum(living.values()) + held.free_bytes


def budget(
    room_bytes: int,
    living: Mapping[str, int],
    asked_bytes: int,
    peak_bytes: int,
    share: float,
    *,
    card: bool,
) -> int:
    """The `share` of the room that settings may fill; and less than what was refused makes.

    A heap keeps holes: as many of its largest blocks as live at once may lie empty in pieces while
    the next ones are asked for. That share of this step's peak is no room for tensors.
    """
    if not card and peak_bytes:
        share = min(share, peak_bytes / (peak_bytes + HOLES * asked_bytes))
    most = round(share * room_bytes)
    return min(most, sum(living.values()) + asked_bytes) if living and asked_bytes else most
