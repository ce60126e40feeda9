"""A run of ours that had no memory left: what is known of it, for `gpu_runner.oom`."""

from __future__ import annotations

import traceback
from itertools import islice
from typing import Final

import torch

from gpu_runner.data.feed import BatchShape
from gpu_runner.oom.report import PostMortem, post_mortem
from gpu_runner.oom.scene import DOING, BatchSize, Held, Other, Proposal, Scene
from gpu_runner.oom.thrown import Thrown
from gpu_runner.plan.plan import RunPlan
from gpu_runner.plan.predict import Components, predict
from gpu_runner.plan.proposals import settings_for
from gpu_runner.plan.remedy import MARGIN
from gpu_runner.run.events.record import Recorder
from gpu_runner.system import limits
from gpu_runner.system.cards import Cards, NoCards, process_name
from gpu_runner.train.loop import State
from gpu_runner.train.place import StepPlace
from unfrozen.memory.overhead import ROUNDING

HOLES: Final = 3
"""Largest blocks of a step that live at once: logits, their log-softmax, and its gradient."""


def examine(
    error: BaseException, planned: RunPlan, place: StepPlace, state: State, recorder: Recorder
) -> PostMortem:
    """Why memory ran out.

    What lives is looked at first; then the frames that hold it are emptied, for what follows needs
    some memory itself.
    """
    thrown = Thrown.of(error)
    held = _held(planned.device)
    others = _others(thrown, planned.device)
    traceback.clear_frames(error.__traceback__)
    shape = _shape(planned, place)
    predicted = _predicted(planned, shape)
    measured = dict(recorder.history.measured)
    if place.memory is not None:
        measured |= place.memory.instants
    now = place.instant
    if place.held and place.micro_batch:
        now = now or ("optimizer_step" if place.doing == "optimizer_step" else "end_of_forward")
        measured[now] = place.held
    peak_bytes = max((sum(sizes.values()) for sizes in predicted.values()), default=0)
    budget = _budget(planned, held, place.held, thrown.asked_bytes, peak_bytes)
    in_step = place.micro_batch > 0
    other = recorder.doing.replace(" ", "_")
    scene = Scene(
        doing=place.doing if in_step else other if other in DOING else "between",
        step=place.step if in_step else state.step,
        micro_batch=place.micro_batch,
        micro_batches=0 if shape is None else shape.parts,
        batch=None if shape is None else BatchSize(shape.rows, shape.length, shape.loss_tokens),
        predicted=predicted,
        measured=measured,
        now=now,
        growing=place.growing,
        lumped=planned.device.type == "cuda",
        held=held,
        others=others,
        budget_bytes=budget,
        settings=_settings(planned, budget, predicted.get(now, {}), measured.get(now, {})),
    )
    return post_mortem(error, scene)


def _shape(planned: RunPlan, place: StepPlace) -> BatchShape | None:
    """Of the micro-batch that was under way in this process."""
    if not place.micro_batch:
        return None
    shapes = planned.feed.shapes(place.step)
    own = islice(shapes, planned.feed.rank, None, planned.feed.ranks)
    return next(islice(own, place.micro_batch - 1, None), None)


def _predicted(planned: RunPlan, shape: BatchShape | None) -> dict[str, Components]:
    """By instant, of that micro-batch; of the heaviest one where there is none, or none is known.

    The first step has no moments yet, and later ones hold them from their start.
    """
    if planned.prediction is None:
        return {}
    if planned.shape is None or shape is None:
        return planned.prediction.instants
    return predict(
        planned.shape, planned.config, planned.compute, shape, planned.feed.ranks
    ).instants


def _held(device: torch.device) -> Held:
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


def _others(thrown: Thrown, device: torch.device) -> tuple[Other, ...]:
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


def _budget(
    planned: RunPlan, held: Held, living: Components, asked_bytes: int, peak_bytes: int
) -> int:
    """Bytes that tensors could have taken in all: a part of what was free at the start, or, where
    that is less, of what they held and the bound still left; and less than what was refused makes.

    A heap keeps holes: as many of its largest blocks as live at once may lie empty in pieces while
    the next ones are asked for. That share of this step's peak is no room for tensors.
    """
    room, share = planned.available_bytes, MARGIN
    if planned.device.type == "cuda":
        room = min(room, round((held.free_bytes + held.reserved_bytes) / (1 + ROUNDING)))
    elif peak_bytes:
        share = min(share, peak_bytes / (peak_bytes + HOLES * asked_bytes))
    if planned.device.type != "cuda" and living:
        room = min(room, sum(living.values()) + held.free_bytes)
    most = round(share * room)
    return min(most, sum(living.values()) + asked_bytes) if living and asked_bytes else most


def _settings(
    planned: RunPlan, budget: int, predicted: Components, measured: Components
) -> tuple[Proposal, ...]:
    """Settings that fit; where more was measured than predicted, by as much less is left for
    predictions.
    """
    found, foreseen = sum(measured.values()), sum(predicted.values())
    share = min(1.0, foreseen / found) if found and foreseen else 1.0
    remedies = settings_for(planned, round(share * budget))
    return tuple(Proposal(r.options, r.peak_bytes, r.time_ratio, r.fits, r.note) for r in remedies)
