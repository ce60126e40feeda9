"""What a run costs, by a clock that the test turns."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import UsageError
from gpu_runner.plan import plan
from gpu_runner.plan.report import show_plan
from gpu_runner.system.price import Price, Spending


def config(**choices: object) -> TrainConfig:
    return resolve({"model": "x", "data": "y", **choices})


def price(each: float = 2.5, device: str = "cuda", ranks: int = 1, **choices: Any) -> Price:
    asked = config(price=each, **choices)
    found = Price.of(asked.price, asked.currency, device, ranks)
    assert found is not None
    return found


class Clock:
    """Seconds that a test counts."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_process_pays_for_a_gpu() -> None:
    assert price(ranks=4).hourly == 10.0
    assert price(ranks=4).per == "an hour of one GPU, times 4"


def test_processes_of_one_cpu_share_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert price(device="cpu", ranks=4).hourly == 2.5
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert price(device="cpu", ranks=4).hourly == 5.0
    assert price(device="cpu", ranks=4).per == "an hour of one machine, times 2"


def test_without_a_price_there_is_none_and_a_currency_alone_is_refused() -> None:
    assert Price.of(None, "USD", "cuda", 1) is None
    with pytest.raises(UsageError, match="--currency 'EUR' has no effect: give --price"):
        config(currency="EUR")


@pytest.mark.parametrize("label", ["", "pounds sterling", "a\nb"])
def test_a_currency_is_a_short_label(label: str) -> None:
    with pytest.raises(UsageError, match="give 1 to 8, as USD"):
        price(currency=label)


@pytest.mark.parametrize(("amount", "formatted"), [(0.0123, "0.0123 €"), (1234.5, "1,234.50 €")])
def test_amounts_are_formatted_to_the_cent(amount: float, formatted: str) -> None:
    assert price(currency="€").format_amount(amount) == formatted


def test_time_costs_in_pauses_too_and_remaining_steps_cost_work() -> None:
    clock = Clock()
    spending = Spending(price(3600.0), steps=10, earlier=7.0, clock=clock)  # 1 a second
    clock.now += 5
    assert spending.after(1, worked_seconds=5) == {"cost/spent": 12.0}  # no pace yet
    clock.now += 2 + 100  # a step of two seconds, and a pause
    assert spending.after(2, worked_seconds=7) == {"cost/spent": 114.0, "cost/total": 130.0}
    clock.now += 16
    assert spending.after(10, worked_seconds=23)["cost/total"] == spending.now()["cost/spent"]


@pytest.mark.slow
def test_a_plan_shows_the_cost_and_its_unit(model_dir: Path, sums_file: Path) -> None:
    options = {"model": str(model_dir), "data": str(sums_file), "general": ()}
    planned = plan.make_plan(resolve({**options, "price": 3.0, "currency": "EUR"}))
    text = io.StringIO()
    show_plan(Console(file=text, width=200), planned)
    assert " EUR, at 3.00 EUR for an hour of one machine; pauses count" in text.getvalue()
    text = io.StringIO()
    show_plan(Console(file=text, width=200), plan.make_plan(resolve(options)))
    assert "pauses count" not in text.getvalue()
