"""GPUs for an amount of money: soonest within it, and what the cheapest costs where it is short."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import matrix
from unfrozen.errors import PlanError
from unfrozen.hardware import Gpu, find
from unfrozen.hardware.flavors import PRICES, usual_price
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.project.best import OnePlan, Work
from unfrozen.project.budget import SOON, rent
from unfrozen.project.questions import question
from unfrozen.training_data import Data

LONG = Data(1_000_000, 3, 600, 2000)


def rented(budget: float, gpu: Gpu | None = None, data: Data | None = LONG, **more: Any) -> OnePlan:
    given = {"model": CATALOGUE["Qwen/Qwen2.5-7B"].config}
    return Work(rent(budget, question(given, 1, data, **more), gpu)).finish()


def spent(answer: OnePlan) -> tuple[float, float]:
    """Hours and cost of a plan."""
    assert answer.first
    assert answer.first.run
    return answer.first.run.seconds / 3600, answer.first.cost or 0.0


@pytest.mark.slow
def test_more_money_ends_sooner_and_is_never_exceeded() -> None:
    hours, costs = zip(*(spent(rented(budget)) for budget in (180, 200, 1000)), strict=True)
    assert list(hours) == sorted(hours, reverse=True)
    assert hours[0] > hours[-1]
    assert not [
        (cost, budget)
        for cost, budget in zip(costs, (180, 200, 1000), strict=True)
        if not cost <= budget
    ]


def test_a_short_run_takes_the_cheapest_of_those_that_end_soon() -> None:
    hours, cost = spent(rented(1000, data=Data(20_000, 3, 300, 900)))
    assert hours <= SOON
    assert cost < 20


@pytest.mark.slow
def test_a_named_gpu_is_the_one_that_is_rented_at_the_readers_price() -> None:
    answer = rented(500, find("RTX 4090"), price=0.5)
    assert answer.first
    assert answer.first.job.gpu == find("RTX 4090")
    assert answer.first.price == 0.5
    with pytest.raises(PlanError, match="nobody's price of a RTX 4090"):
        rented(500, find("RTX 4090"))


@pytest.mark.parametrize("budget", matrix([0, -5, 3], 0))
def test_too_little_money_is_told_what_the_cheapest_costs(budget: float) -> None:
    with pytest.raises(PlanError) as refused:
        rented(budget)
    cost = float(refused.value.bound.partition("costs ")[2].partition(":")[0])
    assert spent(rented(cost + 0.01))[1] <= cost + 0.01
    with pytest.raises(PlanError):
        rented(cost - 0.01)


def test_what_a_budget_needs_is_asked_for() -> None:
    for asked, key in (({"data": None}, "data"), ({"price": 2.0}, "price")):
        with pytest.raises(PlanError) as refused:
            rented(100, **asked)
        assert refused.value.key == key
    with pytest.raises(PlanError):
        rented(float("nan"))


def test_the_usual_price_lies_between_the_offers() -> None:
    for name, (low, high) in PRICES.items():
        assert low <= (usual_price(find(name)) or 0) < high
    assert usual_price(find("RTX 4090")) is None
