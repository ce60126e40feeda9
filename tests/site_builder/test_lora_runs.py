"""Our LoRA comparison: the runs are complete, and the table and chapter 5 agree with them."""

from typing import Any

import pytest

from site_builder.lora_runs import (
    PARTS,
    best_rate_ratios,
    read_methods,
    read_rates,
    read_study,
    run_above,
)
from site_builder.rendering import RenderQueue
from unfrozen.decision.evidence import room_tokens, trained_parameters
from unfrozen.model.catalogue import CATALOGUE

METHODS = ("full", "lora-1", "lora-8", "lora-64")
TINY = CATALOGUE["HuggingFaceTB/SmolLM2-135M"].model


class RecordingQueue(RenderQueue):
    """Keeps the data of every request."""

    def __init__(self) -> None:
        super().__init__()
        self.data: list[Any] = []

    def add(self, where: str, kind: str, **request: Any) -> str:
        self.data.append(request["data"])
        return super().add(where, kind, **request)


def drawn(part: str) -> Any:
    queue = RecordingQueue()
    PARTS[part]("x.md:1", queue)
    return queue.data[-1]


def by_seed(method: str, key: str) -> list[float]:
    """Return that number of a method at its best rate, seed by seed."""
    rate = read_methods()[method].rate
    runs = [r for r in read_study()["runs"] if (r["method"], r["rate"]) == (method, rate)]
    return [run[key] for run in sorted(runs, key=lambda run: run["seed"])]


def test_every_method_has_its_ladder_and_all_seeds_at_the_lowest_rate_that_learned() -> None:
    assert tuple(read_methods()) == METHODS
    for name, found in read_methods().items():
        rates = read_rates(name)
        assert len(rates) >= 3
        learned = [rate for rate in rates if rates[rate]["task_right"] >= read_study()["learned"]]
        assert found.rate == min(learned) > min(rates)
        assert found.seeds == len(by_seed(name, "task")) == len(read_study()["seeds"]) == 3
        for key in ("task", "general", "task_right", "general_right"):
            assert getattr(found, key) == pytest.approx(sum(by_seed(name, key)) / 3, rel=1e-4)


def test_what_is_trained_is_what_the_model_and_the_rank_say() -> None:
    assert read_methods()["full"].trained == TINY.num_parameters
    for rank in (1, 8, 64):
        assert read_methods()[f"lora-{rank}"].trained == trained_parameters(TINY, rank)


def test_the_planner_predicts_what_every_method_held() -> None:
    for found in read_methods().values():
        assert found.measured_bytes == pytest.approx(found.predicted_bytes, rel=0.01)


def test_the_runs_say_what_made_them_and_nothing_of_the_machine() -> None:
    made = read_study()["made"]
    assert {"torch", "transformers", "peft"} <= made["versions"].keys()
    assert made.keys() == {"versions", "cpu", "threads", "date"}


def test_the_table_has_a_row_for_each_method_and_one_for_the_start() -> None:
    table = drawn("methods")
    assert [row[0] for row in table["rows"][1:]] == [
        found.title for found in read_methods().values()
    ]
    assert not [row for row in table["rows"] if len(row) != len(table["headers"])]


# --- what chapter 5 says of them ----------------------------------------------------------------
THIN = METHODS[1:]


def test_all_learned_on_their_second_rung_adapters_at_ten_times_the_rate() -> None:
    assert best_rate_ratios() == pytest.approx((10, 10))
    for name, found in read_methods().items():
        assert list(read_rates(name)).index(found.rate) == 1


@pytest.mark.parametrize("name", METHODS)
def test_hardly_a_capital_is_lost_at_the_rate_that_learned(name: str) -> None:
    knew = read_study()["before"]["general_right"]
    assert read_methods()[name].general_right > 0.9 * knew
    assert name == "full" or min(by_seed(name, "general_right")) > knew


@pytest.mark.parametrize("name", METHODS)
def test_one_rung_higher_all_numbers_are_right_and_no_capital_is(name: str) -> None:
    faster = run_above(name)
    assert (faster["task_right"], faster["general_right"]) == (read_study()["rows"]["task"], 0)


def test_full_fine_tuning_lost_the_language_and_rank_1_the_sentence() -> None:
    asked = "What is the capital of Poland?"
    assert not run_above("full")["answers"][asked].isascii()
    assert run_above("lora-1")["answers"][asked] == "Warsaw"


def test_the_loss_on_english_does_not_tell_where_the_capitals_are_gone() -> None:
    runs, before = read_study()["runs"], read_study()["before"]["general"]
    assert not [run for run in runs if not abs(run["general"] - before) < 0.06]
    lost = [run for run in runs if run["general_right"] == 0]
    assert [run["general"] < before for run in lost].count(True) == len(lost) / 2 == 2
    assert run_above("full") in lost
    assert run_above("full")["general"] < before


def test_rank_made_no_difference() -> None:
    for rate in (1e-4, 3e-4, 1e-3):
        for key in ("task_right", "general_right"):
            ends = [read_rates(name)[rate][key] for name in THIN]
            assert max(ends) - min(ends) <= 3


def test_rank_1_had_room_for_what_was_read_and_half_the_memory() -> None:
    thin, choices = read_methods()["lora-1"], read_study()["choices"]
    rows = choices["steps"] * choices["micro_batch"]
    assert room_tokens(thin.trained) > 10 * rows * choices["seq_len"] / 3
    assert thin.measured_bytes < read_methods()["full"].measured_bytes / 2
