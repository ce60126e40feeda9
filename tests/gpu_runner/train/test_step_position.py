"""Where a step was when it ended badly."""

from functools import partial

import pytest
import torch

import tiny_llama
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import Feed
from gpu_runner.model.head import head_path
from gpu_runner.optim import optimizer as optim
from gpu_runner.plan.intervals import Intervals
from gpu_runner.train.loop import State, Training, TrainingStep, timed_step
from gpu_runner.train.step_position import BETWEEN
from unfrozen.schedules import Schedule


class Observer:
    """Nobody is reported."""

    def step_done(self, state: object, result: object) -> None: ...
    def look(self, state: object) -> None: ...
    def keep(self, state: object) -> None: ...


def training(*, measured: bool) -> Training:
    model = tiny_llama.model()
    rows = [Example(tuple(range(1, 9)), (False, *[True] * 7)) for _ in range(4)]
    head_path(model, torch.tensor([rows[0].ids]))  # found when a run loads its model
    step = TrainingStep(
        model=model,
        optimizer=optim.build(model, lr=1e-3, weight_decay=0.0),
        feed=Feed(rows, 0, 2, 2, 0),
        schedule=Schedule("constant", 4, 1e-3),
        clip=1.0,
    )
    steps = frozenset({1, 2}) if measured else frozenset()
    return Training(step, State(), Observer(), lambda: True, Intervals(1, 1, 0), steps)


def fail_in(run: Training, at: str, micro_batch: int) -> None:
    """Make the run's allocator refuse a block there, as PyTorch's does."""
    seen = 0

    def refuse(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == micro_batch:
            raise RuntimeError("can't allocate memory: you tried to allocate 4096 bytes")

    layer = run.step.model.model.layers[1]
    if at == "forward":
        layer.register_forward_pre_hook(partial(refuse))
    elif at == "backward":
        layer.register_full_backward_hook(refuse)
    else:
        run.step.optimizer.step = refuse  # type: ignore[assignment, method-assign]


@pytest.mark.slow
@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize(
    ("at", "refused", "micro_batch"),
    [("forward", 1, 1), ("forward", 2, 2), ("backward", 2, 2), ("optimizer_step", 1, 2)],
)
def test_step_micro_batch_and_phase_are_known(
    at: str, refused: int, micro_batch: int, measured: bool
) -> None:
    run = training(measured=measured)
    fail_in(run, at, refused)
    with pytest.raises(RuntimeError, match="can't allocate"):
        timed_step(run, 1)
    position = run.position
    assert (position.step, position.micro_batch, position.doing) == (1, micro_batch, at)
    assert (position.memory is not None) == measured
    assert bool(position.resident) == measured  # on a CPU somebody must have counted


def test_what_lived_is_reported_by_component_with_what_was_growing() -> None:
    run = training(measured=True)
    fail_in(run, "forward", 2)
    with pytest.raises(RuntimeError):
        timed_step(run, 1)
    weights = sum(p.nbytes for p in run.step.model.parameters())
    buffers = sum(b.nbytes for b in run.step.model.buffers())
    assert run.position.resident["params"] == weights + buffers
    assert run.position.resident["grads"] == weights  # of the first micro-batch
    assert run.position.resident["activations"] > 0
    assert "moments" not in run.position.resident
    assert (run.position.instant, run.position.growing) == ("end_of_forward", "activations")


def test_after_a_step_nothing_is_under_way_and_nothing_is_kept_alive() -> None:
    run = training(measured=True)
    result = timed_step(run, 1)
    assert result.memory is not None
    assert (run.position.micro_batch, run.position.doing, run.position.memory) == (0, BETWEEN, None)
