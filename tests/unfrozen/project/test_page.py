"""What the page is told of the one plan: in turns, with states that plan the same jobs."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.plan import plan_job
from unfrozen.planner.state import read_job
from unfrozen.project.page import plan, read_file
from unfrozen.units import format_size

EIGHT = {"gpu": "H100 SXM", "gpus": "8", "tokens": "52000 x 3 x 300-900"}


def told(state: dict[str, str], framework: str = "") -> tuple[dict[str, Any], int]:
    """The answer of the last turn, and how many it took."""
    for turn in range(1, 10_000):
        found = plan({"state": state, "framework": framework})
        if found["done"]:
            return found, turn
        assert found["rows"] == []
    raise AssertionError("it never ends")


def test_each_choice_has_a_state_that_plans_it() -> None:
    found, turns = told(EIGHT)
    assert turns > 1
    assert "meta-llama/Llama-3.1-8B" in found["first"]["command"]
    assert len(found["rows"]) >= 3
    for row in found["rows"]:
        planned = plan_job(read_job(row["state"]))
        assert planned.fits
        assert format_size(planned.device_bytes, "GiB") == row["memory"]
        assert row["state"]["tokens"] == EIGHT["tokens"]
    assert read_job(found["first"]["state"]).cluster.gpus == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    "state",
    [
        EIGHT | {"model": "Qwen/Qwen3-30B-A3B", "micro_batch": "2"},
        {"gpu": "RTX 4090"},
        EIGHT | {"method": "qlora", "lora_rank": "64"},
        EIGHT | {"gpus": "1", "model": "meta-llama/Llama-3.1-70B"},
    ],
)
def test_states_of_any_kind_plan_what_was_found(state: dict[str, str]) -> None:
    found, _ = told(state)
    for row in found["rows"]:
        size = plan_job(read_job(row["state"])).device_bytes
        assert format_size(size, "GiB") == row["memory"]


def test_a_named_framework_runs_the_first() -> None:
    found, _ = told(EIGHT, "deepspeed")
    assert found["first"]["by"] == FRAMEWORKS["deepspeed"].label
    assert '"zero_optimization"' in found["first"]["command"]


def test_a_budget_says_which_gpus() -> None:
    found, _ = told(EIGHT | {"budget": "200"})
    assert "cost" in {one["label"] for one in found["first"]["facts"]}
    small, _ = told(EIGHT | {"budget": "1"})
    assert small["problem"]["control"] == "budget"
    assert "the cheapest" in small["problem"]["text"].lower()


def test_another_question_begins_anew_and_the_same_one_goes_on() -> None:
    assert plan({"state": EIGHT})["done"] is False
    assert plan({"state": EIGHT | {"gpus": "4"}})["done"] is False
    found, turns = told(EIGHT)
    assert found["first"]
    assert told(EIGHT)[1] == 1 < turns


def test_where_nothing_fits_and_where_nothing_can_be_read_it_says_so() -> None:
    nothing, _ = told({"gpu": "L4", "model": "meta-llama/Llama-3.1-70B"})
    assert nothing["first"] is None
    assert "No full fine-tuning fits" in nothing["none"]
    for state, control in (
        ({"tokens": "0 x 1 x 5"}, "tokens"),
        ({"gpus": "5000"}, "gpus"),
        ({"gpu": ""}, "gpu"),
    ):
        wrong = plan({"state": state})
        assert wrong["done"]
        assert wrong["problem"]["control"] == control


def test_a_file_becomes_three_numbers_or_its_first_bad_line() -> None:
    rows = '{"text": "four letters here"}\n' * 3
    assert read_file({"name": "a.jsonl", "text": rows}) == {"tokens": "3 x 1 x 4", "problem": ""}
    wrong = read_file({"name": "a.jsonl", "text": rows + "{"})
    assert wrong["tokens"] == ""
    assert wrong["problem"].startswith("a.jsonl:4: this is not JSON")
