"""The out-of-memory report of a run of ours; see `gpu_runner.memory.out_of_memory`."""

from __future__ import annotations

import traceback
from dataclasses import replace
from itertools import islice

from gpu_runner.data.feed import BatchShape
from gpu_runner.memory.formula import predict
from gpu_runner.memory.limit import AllocatorMessage, find_other_processes, read_limit
from gpu_runner.memory.out_of_memory import (
    ACTIVITIES,
    BatchSize,
    OutOfMemoryReport,
    describe_failure,
    explain,
)
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
    measured = dict(recorder.history.measured)
    if position.memory is not None:
        measured |= position.memory.instants
    in_step = position.micro_batch > 0
    other = recorder.doing.replace(" ", "_")
    failure = describe_failure(
        message,
        limit,
        position.resident,
        measured,
        on_gpu=planned.device.type == "cuda",
        measuring=position.instant,
        available_bytes=planned.available_bytes,
        doing=position.doing if in_step else other if other in ACTIVITIES else "between",
        step=position.step if in_step else state.step,
        micro_batch=position.micro_batch,
        micro_batches=0 if shape is None else shape.parts,
        batch=None if shape is None else BatchSize(shape.rows, shape.length, shape.loss_tokens),
        predicted=_predict(planned, shape),
        growing=position.growing,
        others=others,
    )
    most = failure.suggestion_bytes if failure.measuring else failure.budget_bytes
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
