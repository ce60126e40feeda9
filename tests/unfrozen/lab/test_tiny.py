"""The tiny network, by five seeds: rates and their edge, what is forgotten, and what holds it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from conftest import matrix
from unfrozen.errors import PlanError
from unfrozen.lab import tiny
from unfrozen.lab.tiny import GENERAL, OLD, REPLAY, TASK, FineTuned, Weights

SEEDS = range(5)
EVERY_SEED = pytest.mark.parametrize("seed", matrix(SEEDS, 0))


@cache
def tuned(seed: int, **controls: float) -> FineTuned:
    return tiny.fine_tune(tiny.pretrained(seed), 0.03, 300, **controls)


def drift_of(seed: int, **controls: float) -> float:
    return math.dist(tiny.pretrained(seed).flat(), tuned(seed, **controls).weights.flat())


def test_what_it_knew_is_asked_where_neither_the_task_nor_the_replay_answers() -> None:
    asked, shown = ({x for x, _ in points} for points in (OLD, TASK))
    assert len(asked) == 10
    assert max(asked) < min(shown)
    assert not asked & {x for x, _ in REPLAY}
    assert max(x for x, _ in REPLAY) < min(shown)
    assert not [(x, y) for x, y in (*GENERAL, *OLD, *REPLAY) if y != tiny.taught(x)]
    assert not [(x, y) for x, y in TASK if y != tiny.wanted(x)]


@EVERY_SEED
def test_pre_training_learns_the_old_curve_and_not_the_new_one(seed: int) -> None:
    start, blank = tiny.pretrained(seed), tiny.random_weights(seed)
    assert tiny.loss(start, GENERAL) < 0.05 < 0.3 < tiny.loss(start, TASK)
    assert tiny.loss(start, OLD) < 0.02
    assert tiny.loss(blank, GENERAL) > 10 * tiny.loss(start, GENERAL)


@EVERY_SEED
def test_a_rate_can_be_too_low_right_or_over_the_edge(seed: int) -> None:
    slow, right, lost = (tiny.fine_tune(tiny.pretrained(seed), rate) for rate in (0.001, 0.03, 0.5))
    assert slow.task[-1] > 2 * right.task[-1]
    assert list(slow.task) == sorted(slow.task, reverse=True)
    assert lost.diverged
    assert lost.task[-1] == tiny.CEILING


@EVERY_SEED
def test_at_the_same_task_loss_it_has_forgotten_the_same_at_every_rate_below_the_edge(
    seed: int,
) -> None:
    ends = [tiny.reach(tiny.pretrained(seed), rate, 0.0125, 2000) for rate in (0.005, 0.01)]
    assert len(ends[0].task) > 1.9 * len(ends[1].task)
    assert not [end for end in ends if not end.task[-1] <= 0.0125 < end.task[-2]]
    assert ends[0].old[-1] == pytest.approx(ends[1].old[-1], rel=0.03)


@EVERY_SEED
def test_overshoot_forgets_more_at_the_same_task_loss(seed: int) -> None:
    calm, edge, beyond = (
        tiny.reach(tiny.pretrained(seed), rate, 0.0125, 1000) for rate in (0.01, 0.1, 0.15)
    )
    overshot = edge if beyond.diverged else beyond
    assert calm.task[-1] == pytest.approx(overshot.task[-1], abs=0.004)
    assert overshot.old[-1] > 1.4 * calm.old[-1]


@EVERY_SEED
def test_the_start_is_worth_more_than_the_best_rate_from_scratch(seed: int) -> None:
    scratch = tiny.random_weights(seed + 1)
    rate = tiny.best_rate(scratch)
    blank, known = tiny.fine_tune(scratch, rate), tiny.fine_tune(tiny.pretrained(seed), 0.03)
    assert rate != 0.03
    assert blank.task[-1] < tiny.fine_tune(scratch, 0.03).task[-1]
    assert next(step for step, loss in enumerate(known.task) if loss < blank.task[-1]) <= 8
    assert known.task[-1] < blank.task[-1]
    assert blank.old[-1] > 4 * known.old[-1], "what nobody shows it, it never knows"


@EVERY_SEED
def test_replay_forgets_less_than_half_and_moves_the_weights_farther(seed: int) -> None:
    plain, rehearsed = tuned(seed), tuned(seed, replay=0.1)
    assert rehearsed.old[-1] < plain.old[-1] / 2
    assert rehearsed.task[-1] < plain.task[-1] + 0.001
    assert drift_of(seed, replay=0.1) > drift_of(seed), "distance is not damage"


@EVERY_SEED
def test_ewc_forgets_less_though_it_moves_as_far(seed: int) -> None:
    plain, held = tuned(seed), tuned(seed, ewc=10)
    assert held.old[-1] < plain.old[-1] / 3
    assert drift_of(seed, ewc=10) > drift_of(seed)
    assert plain.task[-1] < held.task[-1] < plain.task[0] / 4


@EVERY_SEED
def test_l2sp_holds_the_weights_from_not_at_all_to_entirely(seed: int) -> None:
    distances = [drift_of(seed, l2sp=strength) for strength in (0.0, 0.1, 1.0, 10.0)]
    assert distances == sorted(distances, reverse=True)
    frozen = tuned(seed, l2sp=1e12)
    assert frozen.weights == tiny.pretrained(seed)
    assert frozen.task[-1] == frozen.task[0]
    assert tuned(seed, l2sp=0.0) == tuned(seed)


@EVERY_SEED
def test_weight_decay_pulls_to_zero_and_forgets_more(seed: int) -> None:
    assert tuned(seed, decay=0.01).old[-1] > 1.5 * tuned(seed).old[-1]
    assert tuned(seed, decay=1e12).weights.flat() == [0.0] * len(tiny.pretrained(seed).flat())


def test_the_curve_is_what_the_network_answers() -> None:
    start = tiny.pretrained()
    drawn = tiny.curve(start)
    assert (tiny.GRID[0], tiny.GRID[-1], len(drawn)) == (-1, 1, len(tiny.GRID))
    assert max(abs(y - tiny.taught(x)) for x, y in zip(tiny.GRID, drawn, strict=True)) < 0.2
    told = tiny.curve(start, [x for x, _ in TASK])
    errors = [y - wanted for y, (_, wanted) in zip(told, TASK, strict=True)]
    assert sum(error**2 for error in errors) / len(TASK) == pytest.approx(tiny.loss(start, TASK))


def numerical(of: Callable[[Weights], float], weights: Weights, step: float = 1e-6) -> list[float]:
    def moved(index: int, by: float) -> Weights:
        values = weights.flat()
        values[index] += by
        return Weights.from_flat(values)

    places = range(len(weights.flat()))
    return [(of(moved(i, step)) - of(moved(i, -step))) / (2 * step) for i in places]


def test_the_gradient_is_that_of_the_loss() -> None:
    weights = tiny.random_weights(3)
    assert Weights.from_flat(weights.flat()) == weights
    expected = numerical(lambda w: tiny.loss(w, TASK), weights)
    assert tiny.gradient(weights, TASK) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_replay_is_a_share_of_the_loss() -> None:
    weights = tiny.random_weights(3)
    mixed = numerical(
        lambda w: 0.7 * tiny.loss(w, TASK) + 0.3 * tiny.loss(w, REPLAY),
        weights,
    )
    moved = tiny._descend(weights, TASK, 0.1, replay=0.3)
    steps = [(a - b) / 0.1 for a, b in zip(weights.flat(), moved.flat(), strict=True)]
    assert steps == pytest.approx(mixed, rel=1e-4, abs=1e-6)


def test_the_fisher_is_the_mean_square_of_slopes_with_mean_one() -> None:
    weights = tiny.pretrained()
    slopes = [numerical(lambda w, x=x: tiny.curve(w, [x])[0], weights) for x, _ in REPLAY]  # type: ignore[misc]
    squares = [sum(row[i] ** 2 for row in slopes) for i in range(len(slopes[0]))]
    mean = sum(squares) / len(squares)
    assert tiny.fisher(weights) == pytest.approx([s / mean for s in squares], rel=1e-5, abs=1e-9)


def test_a_pull_goes_to_the_exact_minimum() -> None:
    start, weights = tiny.pretrained(1), tiny.random_weights(2).flat()
    pull = tiny._pull(start, 0.5, 2.0, 0.3)
    assert pull is not None
    found = pull.after(weights, 0.1)
    for value, end, origin, back in zip(weights, found, start.flat(), pull.back, strict=True):
        slope = (end - value) + 0.1 * (back * (end - origin) + 0.3 * end)
        assert slope == pytest.approx(0, abs=1e-12)


def test_pre_training_does_not_magnify_a_last_bit() -> None:
    start = tiny.random_weights()
    nudged = replace(start, b=1e-15)
    for _ in range(tiny.PRETRAINING_STEPS):
        nudged = tiny._descend(nudged, GENERAL, tiny.PRETRAINING_RATE)
    assert nudged == tiny.pretrained()


def test_a_fine_tune_tells_the_loss_before_and_after_each_step() -> None:
    start = tiny.pretrained()
    found = tiny.fine_tune(start, 0.05, steps=5)
    assert len(found.task) == len(found.old) == 6
    assert found.task[0] == tiny.loss(start, TASK)
    assert found.old[-1] == tiny.loss(found.weights, OLD)
    assert found.task[-1] < found.task[0]
    assert tiny.fine_tune(start, 0.05, steps=0).weights == start


@pytest.mark.parametrize(
    ("rate", "steps", "controls", "key"),
    [
        (0, 1, {}, "rate"),
        (-1, 1, {}, "rate"),
        (math.inf, 1, {}, "rate"),
        (0.1, -1, {}, "steps"),
        (0.1, 1, {"replay": 1.5}, "replay"),
        (0.1, 1, {"l2sp": -1.0}, "l2sp"),
        (0.1, 1, {"ewc": math.nan}, "ewc"),
        (0.1, 1, {"decay": math.inf}, "decay"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    rate: float, steps: int, controls: dict[str, Any], key: str
) -> None:
    with pytest.raises(PlanError) as caught:
        tiny.fine_tune(tiny.pretrained(), rate, steps, **controls)
    assert caught.value.key == key


def test_a_descent_that_overflows_stops_where_it_was() -> None:
    found = tiny.fine_tune(tiny.pretrained(), 1e150, steps=5)
    assert found.diverged
    assert all(map(math.isfinite, found.weights.flat()))
