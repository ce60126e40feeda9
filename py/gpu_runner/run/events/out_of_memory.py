"""A run of ours that had no memory left: what is known of it, for `gpu_runner.oom`."""

from __future__ import annotations

import traceback
from itertools import islice

from gpu_runner.data.feed import BatchShape
from gpu_runner.oom.bound import budget, held_on, others_on, room
from gpu_runner.oom.report import PostMortem, post_mortem
from gpu_runner.oom.scene import DOING, BatchSize, Held, Proposal, Scene
from gpu_runner.oom.thrown import Thrown
from gpu_runner.plan.plan import RunPlan
from gpu_runner.plan.predict import Components, predict
from gpu_runner.plan.proposals import settings_for
from gpu_runner.plan.remedy import MARGIN
from gpu_runner.run.events.record import Recorder
from gpu_runner.train.loop import State
from gpu_runner.train.step_position import StepPlace


def examine(
    error: BaseException, planned: RunPlan, place: StepPlace, state: State, recorder: Recorder
) -> PostMortem:
    """Why memory ran out.

    What lives is looked at first; then the frames that hold it are emptied, for what follows needs
    some memory itself.
    """
    thrown = Thrown.of(error)
    held = held_on(planned.device)
    others = others_on(thrown, planned.device)
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
    most = _budget(planned, held, place.held, thrown.asked_bytes, peak_bytes)
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
        budget_bytes=most,
        settings=_settings(planned, most, predicted.get(now, {}), measured.get(now, {})),
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


def _budget(
    planned: RunPlan, held: Held, living: Components, asked_bytes: int, peak_bytes: int
) -> int:
    """Bytes that tensors could have taken in all: a part of what was free at the start, or, where
    that is less, of what they held and the bound still left.
    """
    card = planned.device.type == "cuda"
    most = planned.available_bytes
    if card or living:
        most = min(most, room(held, living, card=card))
    return budget(most, living, asked_bytes, peak_bytes, MARGIN, card=card)


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
