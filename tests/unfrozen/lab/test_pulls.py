"""Two weights and three pulls: what each does at both ends of its strength, and in between."""

import math

import pytest

from unfrozen.errors import PlanError
from unfrozen.lab.pulls import (
    PULLS,
    START,
    TARGET,
    Pull,
    minimum,
    old_loss,
    strength_for,
    task_loss,
)

LEVELS = (0.1, 0.2, 0.3, 0.5)


@pytest.mark.parametrize("pull", PULLS)
def test_without_strength_the_task_is_learned_whole(pull: Pull) -> None:
    assert minimum(pull, 0.0) == TARGET
    assert task_loss(minimum(pull, 0.0)) == 0.0


@pytest.mark.parametrize("pull", PULLS)
def test_without_end_a_pull_takes_everything_to_its_centre(pull: Pull) -> None:
    assert minimum(pull, 1e6) == pytest.approx(PULLS[pull][1], abs=1e-4)


@pytest.mark.parametrize("pull", PULLS)
@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
def test_a_minimum_is_one(pull: Pull, strength: float) -> None:
    weights, centre = PULLS[pull]

    def total(x: float, y: float) -> float:
        gaps = ((x - centre[0]) ** 2 * weights[0], (y - centre[1]) ** 2 * weights[1])
        return task_loss((x, y)) + strength / 2 * sum(gaps)

    x, y = minimum(pull, strength)
    around = [(x + dx, y + dy) for dx in (-0.01, 0, 0.01) for dy in (-0.01, 0, 0.01)]
    assert min(around, key=lambda point: total(*point)) == (x, y)


@pytest.mark.parametrize("level", LEVELS)
def test_at_the_same_task_loss_ewc_keeps_most_and_weight_decay_least(level: float) -> None:
    ends = {pull: minimum(pull, strength_for(pull, level)) for pull in PULLS}
    assert not [end for end in ends.values() if task_loss(end) != pytest.approx(level)]
    lost = {pull: old_loss(end) for pull, end in ends.items()}
    assert lost["EWC"] < lost["L2-SP"] < lost["weight decay"]


@pytest.mark.parametrize("level", LEVELS)
def test_what_keeps_most_lies_farther_away_than_what_pulls_straight(level: float) -> None:
    ends = {pull: minimum(pull, strength_for(pull, level)) for pull in PULLS}
    assert math.dist(ends["EWC"], START) > math.dist(ends["L2-SP"], START)


@pytest.mark.parametrize("strength", [-1.0, 1e7, math.nan])
def test_a_strength_beyond_its_bound_is_refused(strength: float) -> None:
    with pytest.raises(PlanError, match="strength"):
        minimum("EWC", strength)


@pytest.mark.parametrize("wanted", [0.0, 9.0])
def test_a_task_loss_that_no_strength_leaves_is_refused(wanted: float) -> None:
    with pytest.raises(PlanError, match="wanted"):
        strength_for("L2-SP", wanted)
