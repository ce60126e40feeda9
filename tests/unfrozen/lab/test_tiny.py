"""The tiny network: a U and a cliff in the task loss, and forgetting that grows with the rate."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest

from unfrozen.errors import PlanError
from unfrozen.lab import tiny


@pytest.fixture(scope="module")
def swept() -> list[tiny.SweepPoint]:
    return tiny.sweep()


def test_pre_training_learns_the_general_task_and_not_the_new_one() -> None:
    start = tiny.pretrained()
    assert tiny.loss(start, tiny.GENERAL) < 0.05 < 0.3 < tiny.loss(start, tiny.TASK)
    assert tiny.loss(tiny.random_weights(), tiny.GENERAL) > 10 * tiny.loss(start, tiny.GENERAL)


def test_the_task_loss_is_a_u_with_a_cliff(swept: list[tiny.SweepPoint]) -> None:
    losses = [point.task_loss for point in swept]
    best = losses.index(min(losses))
    assert 0 < best < len(losses) - 1
    assert losses[0] > 10 * losses[best]
    assert losses[-1] == tiny.CEILING
    assert [point.diverged for point in swept] == sorted(point.diverged for point in swept)


def test_the_general_loss_rises_with_the_rate(swept: list[tiny.SweepPoint]) -> None:
    losses = [point.general_loss for point in swept]
    assert losses == sorted(losses)
    healthy = [point.general_loss for point in swept if not point.diverged]
    assert losses[0] < healthy[-1] / 3, "the gentlest rate keeps most of what the network knew"


def test_pre_training_does_not_magnify_a_last_bit() -> None:
    start = tiny.random_weights()
    nudged = replace(start, b=1e-15)
    for _ in range(tiny.PRETRAINING_STEPS):
        nudged = tiny._descend(nudged, tiny.GENERAL, tiny.PRETRAINING_RATE)
    assert nudged == tiny.pretrained()


def test_starting_from_the_pre_trained_weights_beats_starting_from_scratch(
    swept: list[tiny.SweepPoint],
) -> None:
    healthy = [point for point in swept if not point.diverged]
    assert len(healthy) >= 6
    assert all(point.task_loss < point.scratch_task_loss for point in healthy)


def test_everything_a_sweep_returns_can_be_published(swept: list[tiny.SweepPoint]) -> None:
    for point in swept:
        values = (point.task_loss, point.general_loss, point.scratch_task_loss, point.drift)
        assert all(map(math.isfinite, values))
    drifts = [point.drift for point in swept]
    assert drifts == sorted(drifts)


def test_a_sweep_is_fast_enough_for_a_page_and_repeats_itself(
    swept: list[tiny.SweepPoint],
) -> None:
    tiny.pretrained.cache_clear()
    begin = time.process_time()
    assert tiny.sweep() == swept
    assert time.process_time() - begin < 1.5  # 0.4 s on an idle core


def test_a_fine_tune_tells_the_loss_before_and_after_each_step() -> None:
    start = tiny.pretrained()
    tuned = tiny.fine_tune(start, 0.05, steps=5)
    assert len(tuned.task) == len(tuned.general) == 6
    assert tuned.task[0] == tiny.loss(start, tiny.TASK)
    assert tuned.task[-1] < tuned.task[0]
    assert tiny.fine_tune(start, 0.05, steps=0).weights == start


@pytest.mark.parametrize(("rate", "steps"), [(0, 1), (-1, 1), (math.inf, 1), (0.1, -1)])
def test_a_rate_or_a_length_that_makes_no_sense_is_refused(rate: float, steps: int) -> None:
    with pytest.raises(PlanError):
        tiny.fine_tune(tiny.pretrained(), rate, steps)


def test_a_descent_that_overflows_stops_where_it_was() -> None:
    tuned = tiny.fine_tune(tiny.pretrained(), 1e150, steps=5)
    assert tuned.diverged
    assert all(map(math.isfinite, tuned.weights.flat()))
