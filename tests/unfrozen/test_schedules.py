"""Schedules: where the peak and the floor lie, and what is refused."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfrozen.errors import PlanError
from unfrozen.schedules import (
    Schedule,
    discriminative_rates,
    warmup_cosine,
    warmup_linear,
)


def test_the_articles_cosine_starts_at_zero_peaks_at_the_end_of_warm_up_and_ends_at_the_floor() -> (
    None
):
    rates = [warmup_cosine(step, 1000, 100, 2e-5, 1e-6) for step in range(0, 1001, 10)]
    assert rates[0] == 0.0
    assert rates[5] == pytest.approx(1e-5)
    assert rates[10] == 2e-5 == max(rates)
    assert rates[55] == pytest.approx((2e-5 + 1e-6) / 2)
    assert rates[100] == pytest.approx(1e-6)


def test_the_runners_first_step_moves_and_its_last_one_is_at_the_floor() -> None:
    planned = Schedule("cosine", 20, 1e-3, warmup_steps=4, floor=1e-5).planned()
    assert len(planned) == 20
    assert planned[0] == pytest.approx(2.5e-4)
    assert planned[3] == 1e-3
    assert planned[-1] == pytest.approx(1e-5)


def test_without_warm_up_the_peak_comes_first() -> None:
    assert Schedule("cosine", 10, 1e-3).at(0) == 1e-3


def test_a_linear_schedule_is_a_straight_line_from_peak_to_floor() -> None:
    schedule = Schedule("linear", 100, 1.0, warmup_steps=20, floor=0.2)
    assert [schedule.at(t) for t in (10, 20, 60, 100)] == pytest.approx([0.5, 1.0, 0.6, 0.2])


def test_wsd_is_constant_until_its_last_leg() -> None:
    schedule = Schedule("wsd", 100, 1.0, warmup_steps=10, floor=0.0, decay_steps=20)
    assert [schedule.at(t) for t in (5, 50, 80, 90, 100)] == pytest.approx([0.5, 1, 1, 0.5, 0])
    assert Schedule("wsd", 10, 1.0).at(10) == 1.0


def test_the_straight_schedules_are_functions_of_the_step_too() -> None:
    assert warmup_linear(60, 100, 20, 1.0, 0.2) == pytest.approx(0.6)
    constant = Schedule("constant", 100, 1.0, warmup_steps=20)
    assert [constant.at(t) for t in (10, 60, 100)] == [0.5, 1.0, 1.0]


def test_a_run_that_is_all_warm_up_ends_at_the_peak() -> None:
    assert Schedule("cosine", 10, 1e-3, warmup_steps=10).planned()[-1] == 1e-3


def test_discriminative_rates_grow_by_xi_towards_the_output() -> None:
    rates = discriminative_rates(2e-5, 4)
    assert rates[-1] == 2e-5
    assert [b / a for a, b in pairwise(rates)] == pytest.approx([2.6] * 3)
    assert discriminative_rates(1e-3, 2, decay=1.0) == [1e-3, 1e-3]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"kind": "step"}, "schedule.kind"),
        ({"total_steps": 0}, "schedule.total_steps"),
        ({"total_steps": 10.0}, "schedule.total_steps"),
        ({"total_steps": True}, "schedule.total_steps"),
        ({"warmup_steps": -1}, "schedule.warmup_steps"),
        ({"warmup_steps": 101}, "schedule.warmup_steps"),
        ({"decay_steps": 95}, "schedule.decay_steps"),
        ({"peak": 0.0}, "schedule.peak"),
        ({"peak": math.nan}, "schedule.peak"),
        ({"peak": "2e-5"}, "schedule.peak"),
        ({"floor": 3e-5}, "schedule.floor"),
        ({"floor": -1e-6}, "schedule.floor"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(changes: dict[str, object], key: str) -> None:
    good: dict[str, object] = {
        "kind": "wsd",
        "total_steps": 100,
        "peak": 2e-5,
        "warmup_steps": 10,
        "floor": 1e-6,
        "decay_steps": 10,
    }
    with pytest.raises(PlanError) as caught:
        Schedule(**(good | changes))  # type: ignore[arg-type]
    assert caught.value.key == key


@pytest.mark.parametrize("step", [-1, 101, math.nan, "5"])
def test_a_step_outside_the_run_is_refused(step: float) -> None:
    with pytest.raises(PlanError, match=r"schedule\.step"):
        warmup_linear(step, 100, 10, 1e-5)


@pytest.mark.parametrize(("peak", "layers", "decay"), [(0, 2, 2.6), (1, 0, 2.6), (1, 2, 0.5)])
def test_discriminative_rates_refuse_bad_arguments(peak: float, layers: int, decay: float) -> None:
    with pytest.raises(PlanError):
        discriminative_rates(peak, layers, decay)


@given(
    kind=st.sampled_from(["cosine", "constant", "linear", "wsd"]),
    total=st.integers(1, 400),
    data=st.data(),
)
def test_every_rate_lies_between_zero_and_the_peak_and_never_rises_after_warm_up(
    kind: str, total: int, data: st.DataObject
) -> None:
    warmup = data.draw(st.integers(0, total))
    decay = data.draw(st.integers(0, total - warmup))
    rates = Schedule(kind, total, 1e-3, warmup, 1e-5, decay).planned()  # type: ignore[arg-type]
    assert not [rate for rate in rates if not 0 < rate <= 1e-3]
    after = rates[max(0, warmup - 1) :]
    assert not [(a, b) for a, b in pairwise(after) if not b <= a]
