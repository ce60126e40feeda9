"""Warm-up on the tiny network, by five seeds: it saves a high rate from its first step."""

from __future__ import annotations

from functools import cache

import pytest

from conftest import matrix
from unfrozen.errors import PlanError
from unfrozen.lab.tiny import OLD, TASK, FineTuned, adam_tune, loss, pretrained

EVERY_SEED = pytest.mark.parametrize("seed", matrix(range(5), 0))


@cache
def tuned(seed: int, rate: float, warmup: int) -> FineTuned:
    return adam_tune(pretrained(seed), rate, warmup=warmup)


@EVERY_SEED
def test_without_warm_up_a_high_rate_spikes_at_its_first_step(seed: int) -> None:
    cold = tuned(seed, 0.2, 0)
    assert max(cold.task) == cold.task[1] > 4 * cold.task[0]


@EVERY_SEED
def test_with_warm_up_the_loss_never_rises_above_its_start(seed: int) -> None:
    warm, cold = tuned(seed, 0.2, 20), tuned(seed, 0.2, 0)
    assert max(warm.task) == warm.task[0]
    assert warm.task[-1] < cold.task[-1]
    assert warm.old[-1] < cold.old[-1]


@EVERY_SEED
def test_a_tenth_of_the_rate_needs_no_warm_up(seed: int) -> None:
    cold = tuned(seed, 0.02, 0)
    assert max(cold.task) == cold.task[0]
    assert cold.task[-1] < tuned(seed, 0.02, 20).task[-1]


@EVERY_SEED
def test_the_first_step_moves_every_parameter_by_the_rate(seed: int) -> None:
    start, after = pretrained(seed), adam_tune(pretrained(seed), 0.01, steps=1).weights
    moved = [abs(a - b) for a, b in zip(start.flat(), after.flat(), strict=True)]
    assert moved == pytest.approx([0.01] * len(moved), rel=1e-3)


def test_the_losses_are_those_before_and_after_each_step() -> None:
    found = tuned(0, 0.02, 0)
    assert len(found.task) == len(found.old) == 41
    assert found.task[0] == loss(pretrained(), TASK)
    assert found.old[-1] == loss(found.weights, OLD)


def test_a_schedule_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(PlanError, match="warmup_steps"):
        adam_tune(pretrained(), 0.1, steps=10, warmup=11)
