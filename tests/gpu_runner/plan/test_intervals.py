"""How often a run is evaluated and saved, from what a step, an evaluation and a checkpoint take."""

import math
from itertools import product
from typing import Any

import pytest

from gpu_runner.config.schema import TrainConfig
from gpu_runner.plan.intervals import (
    SHARE,
    TIMED_STEPS,
    Costs,
    choose_intervals,
    describe_intervals,
    describe_rule,
    unsaved_seconds,
    upkeep_seconds,
)


def config(**settings: Any) -> TrainConfig:
    return TrainConfig(model="m", data="d", **settings)


def counted(steps: int, evaluate: int | None, save: int | None) -> tuple[int, int]:
    """How many evaluations, and how many checkpoints before the last step, the loop makes."""
    looks = sum(step % (evaluate or steps) == 0 or step == steps for step in range(steps + 1))
    return looks, sum(step % save == 0 for step in range(1, steps)) if save else 0


@pytest.mark.parametrize("settings", [{}, {"keep_state": False}, {"early_stop": 3}])
def test_evaluations_and_checkpoints_take_a_tenth_of_the_time_or_happen_at_the_ends_only(
    settings: dict[str, Any],
) -> None:
    for steps, evaluation, checkpoint in product(
        (1, 9, 10, 100, 3_000, 60_000), (0.0, 0.01, 0.7, 40.0), (0.001, 2.0, 300.0)
    ):
        costs = Costs(1.0, evaluation, checkpoint, checkpoint / 3)
        found = choose_intervals(config(**settings), steps, costs)
        looks, saves = counted(steps, found.evaluate, found.save)
        best = looks * checkpoint if "early_stop" in settings else saves * checkpoint
        if looks > 2 or saves:
            assert looks * evaluation + best <= 2 * SHARE * steps * (1 + 1e-9)
        assert looks <= max(2, 1 + -(-steps // TIMED_STEPS))
        assert found.save is not None
        assert found.save % (found.evaluate or 1) == 0  # its loss is that of its own weights


def test_numbers_that_are_given_stay() -> None:
    costs = Costs(1.0, 100.0, 100.0, 10.0)
    assert choose_intervals(config(eval_every=3, save_every=7), 1000, costs).evaluate == 3
    assert choose_intervals(config(eval_every=3, save_every=7), 1000, costs).save == 7
    assert choose_intervals(config(save_every=0), 1000, costs).save == 0
    dear = choose_intervals(config(eval_every=10), 100_000, costs)
    assert dear.evaluate == 10
    assert dear.save == 2_050  # 48 of them: one more and the model come at the end


def test_a_cheap_look_is_taken_every_ten_steps_and_a_dear_one_seldom() -> None:
    often = choose_intervals(config(), 1000, Costs(1.0, 0.01, 0.01, 0.0))
    assert (often.evaluate, often.save) == (10, 10)
    seldom = choose_intervals(config(), 1000, Costs(1.0, 10.0, 20.0, 5.0))
    assert (seldom.evaluate, seldom.save) == (250, 500)
    assert [step for step in range(1001) if seldom.evaluates(step)] == [0, 250, 500, 750, 1000]
    assert [step for step in range(1, 1001) if seldom.saves(step)] == [500]


def test_a_run_too_short_for_them_has_those_at_its_ends() -> None:
    found = choose_intervals(config(), 20, Costs(1.0, 1.0, 1.0, 0.3))
    assert [step for step in range(21) if found.evaluates(step)] == [0, 20]
    assert not [step for step in range(1, 21) if found.saves(step)]


def test_their_seconds_are_those_of_what_the_loop_does() -> None:
    costs = Costs(1.0, 2.0, 3.0, 0.5)
    for steps in (7, 60, 991):
        found = choose_intervals(config(), steps, costs)
        looks, saves = counted(steps, found.evaluate, found.save)
        whole = looks * 2.0 + (saves + 1) * 3.0 + 0.5
        assert upkeep_seconds(config(), found, costs) == pytest.approx(whole)


def test_what_is_chosen_is_described_with_its_costs_and_its_share() -> None:
    costs = Costs(1.0, 10.0, 20.0, 5.0)
    found = choose_intervals(config(), 1000, costs)
    assert describe_intervals(config(), found, costs) == (
        "an evaluation every 250 steps, a checkpoint every 500 steps and whenever the last is 15"
        " min old: about 9% of the time"
        " (a step takes 1 s, an evaluation 10.0 s, a checkpoint 20.0 s)"
    )
    none = choose_intervals(config(save_every=0), 5, costs)
    assert "at the start and the end only, no checkpoints" in describe_intervals(
        config(save_every=0), none, costs
    )


def test_what_is_still_to_be_chosen_is_said() -> None:
    assert describe_rule(config(eval_every=1, save_every=0)) == ""
    assert describe_rule(config(eval_every=1)).startswith("checkpoint intervals are chosen")
    assert "evaluation and checkpoint intervals" in describe_rule(config())
    assert describe_rule(config()).endswith(
        "at most 5% of the time; a checkpoint is written whenever the last is 15 min old"
    )
    assert describe_rule(config(save_minutes=0)).endswith("at most 5% of the time")


def test_the_minutes_between_two_checkpoints_are_bounded_where_there_are_any() -> None:
    """Of steps of 20 s, 5% of the time of a hundred pay for no checkpoint between the ends."""
    slow = Costs(20.0, 40.0, 60.0, 60.0)
    found = choose_intervals(config(), 100, slow)
    assert not any(found.saves(step) for step in range(1, 100))
    assert unsaved_seconds(config()) == 900
    fewer = upkeep_seconds(config(save_minutes=0), found, slow)
    assert upkeep_seconds(config(), found, slow) == fewer + 2 * slow.checkpoint
    assert (
        unsaved_seconds(config(save_minutes=0)) == unsaved_seconds(config(save_every=0)) == math.inf
    )
