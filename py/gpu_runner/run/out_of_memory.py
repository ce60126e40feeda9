"""The out-of-memory report of a run of ours; see `gpu_runner.memory.out_of_memory`."""

from __future__ import annotations

import traceback
from dataclasses import replace
from itertools import islice

from gpu_runner.data.feed import BatchShape
from gpu_runner.memory.allocator_message import AllocatorMessage
from gpu_runner.memory.formula import predict
from gpu_runner.memory.limit import (
    MemoryLimit,
    bytes_for_tensors,
    find_other_processes,
    memory_budget,
    read_limit,
)
from gpu_runner.memory.out_of_memory import (
    ACTIVITIES,
    BatchSize,
    Failure,
    OutOfMemoryReport,
    explain,
)
from gpu_runner.memory.prediction import MARGIN, highest_total
from gpu_runner.memory.tracker import Components
from gpu_runner.plan.plan import RunPlan
from gpu_runner.run.recorder import Recorder
from gpu_runner.train.loop import State
from gpu_runner.train.step_position import StepPosition


def examine(
    error: BaseException, planned: RunPlan, position: StepPosition, state: State, recorder: Recorder
) -> OutOfMemoryReport:
    """Return why memory ran out.

    The memory is read first; then the frames that hold it are cleared, because what follows needs
    some memory itself.
    """
    message = AllocatorMessage.parse(error)
    limit = read_limit(planned.device)
    others = find_other_processes(message, planned.device)
    traceback.clear_frames(error.__traceback__)
    shape = _shape_of(planned, position)
    predicted = _predict(planned, shape)
    measured = dict(recorder.history.measured)
    if position.memory is not None:
        measured |= position.memory.instants
    measuring = position.instant
    if position.resident and position.micro_batch:
        in_update = position.doing == "optimizer_step"
        measuring = measuring or ("optimizer_step" if in_update else "end_of_forward")
        measured[measuring] = position.resident
    requested, peak_bytes = message.requested_bytes, highest_total(predicted)
    budget = _budget(planned, limit, position.resident, requested, peak_bytes)
    in_step = position.micro_batch > 0
    other = recorder.doing.replace(" ", "_")
    failure = Failure(
        doing=position.doing if in_step else other if other in ACTIVITIES else "between",
        step=position.step if in_step else state.step,
        micro_batch=position.micro_batch,
        micro_batches=0 if shape is None else shape.parts,
        batch=None if shape is None else BatchSize(shape.rows, shape.length, shape.loss_tokens),
        predicted=predicted,
        measured=measured,
        measuring=measuring,
        growing=position.growing,
        summed=planned.device.type == "cuda",
        limit=limit,
        others=others,
        budget_bytes=budget,
    )
    most = failure.suggestion_bytes if measuring else budget
    suggested = planned.predictor.suggest(planned.config, planned.heaviest, most)
    return explain(error, replace(failure, suggestions=tuple(suggested)))


def _shape_of(planned: RunPlan, position: StepPosition) -> BatchShape | None:
    """Return the shape of the micro-batch in progress on this process; None outside a step."""
    if not position.micro_batch:
        return None
    shapes = planned.feed.shapes(position.step)
    own = islice(shapes, planned.feed.rank, None, planned.feed.ranks)
    return next(islice(own, position.micro_batch - 1, None), None)


def _predict(planned: RunPlan, shape: BatchShape | None) -> dict[str, Components]:
    """Return the prediction for that micro-batch; the run's where there is none to compute.

    The first step has no moments yet, and later ones have them from their start.
    """
    if planned.prediction is None:
        return {}
    if planned.shape is None or shape is None:
        return planned.prediction.instants
    return predict(
        planned.shape, planned.config, planned.compute, shape, planned.feed.ranks
    ).instants


def _budget(
    planned: RunPlan,
    limit: MemoryLimit,
    alive: Components,
    requested_bytes: int,
    peak_bytes: int,
) -> int:
    """Return how many bytes of tensors fit in all.

    That is a share of what was free at the start, or, where that is less, of what tensors had and
    the limit still left.
    """
    on_gpu = planned.device.type == "cuda"
    most = planned.available_bytes
    if on_gpu or alive:
        most = min(most, bytes_for_tensors(limit, alive, on_gpu=on_gpu))
    return memory_budget(most, alive, requested_bytes, peak_bytes, MARGIN, on_gpu=on_gpu)
