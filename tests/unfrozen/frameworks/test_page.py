"""What the page is told of layouts: in turns, with a state for each that plans the same job."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import matrix
from unfrozen.frameworks.page import SHOWN, layouts
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.plan import plan_job
from unfrozen.plan.layouts import layouts as ranked
from unfrozen.planner.state import read_job

SIXTEEN = {"gpu": "H100 SXM", "gpus": "16", "sharding": "zero3", "grad_accum": "4"}


def asked(state: dict[str, str], framework: str = "") -> tuple[dict[str, Any], int]:
    """The answer of the last turn, and how many it took."""
    for turn in range(1, 10_000):
        found = layouts({"state": state, "framework": framework})
        if found["done"]:
            return found, turn
        assert found["rows"] == []
    raise AssertionError("it never ends")


@pytest.mark.parametrize("framework", matrix(["", *FRAMEWORKS], "", "accelerate"))
def test_the_page_ranks_what_the_command_line_ranks(framework: str) -> None:
    found, turns = asked(SIXTEEN, framework)
    takes = FRAMEWORKS[framework].adapt if framework else None
    job = read_job(SIXTEEN)
    best = ranked(job, 16, None, takes, SHOWN)
    assert [row["speed"] for row in found["rows"]] == [f"{o.tokens_per_second:,.0f}" for o in best]
    assert turns > 1
    for row, one in zip(found["rows"], best, strict=True):
        assert read_job(row["state"]) == one.job
        assert bool(row["command"]) == bool(framework)


@pytest.mark.slow
def test_a_chosen_layout_is_planned_as_it_was_reported() -> None:
    state = {"gpu": "H100 SXM", "gpus": "8", "model": "Qwen/Qwen3-30B-A3B", "params": "bf16"}
    found, _ = asked(state | {"checkpointing": "full", "micro_batch": "2"})
    assert found["rows"]
    for row in found["rows"]:
        plan = plan_job(read_job(row["state"]))
        assert plan.fits
        assert f"{plan.device_bytes / 2**30:.3g}"[:3] in row["memory"]


def test_another_question_begins_anew_and_the_same_one_goes_on() -> None:
    first = layouts({"state": SIXTEEN})
    layouts({"state": SIXTEEN | {"gpus": "8"}})
    again = layouts({"state": SIXTEEN})
    assert again["text"] == first["text"]
    assert layouts({"state": SIXTEEN})["text"] != again["text"]


def test_where_nothing_fits_and_where_nothing_can_be_read_it_says_so() -> None:
    nothing, _ = asked({"gpu": "L4", "gpus": "2"})
    assert nothing["rows"] == []
    assert "Nothing that fits" in nothing["none"]
    wrong = layouts({"state": {"gpus": "5000"}})
    assert wrong["done"]
    assert "4,096" in wrong["problem"]["text"]
    assert wrong["problem"]["control"] == "gpus"


@pytest.mark.slow
def test_a_price_turns_hours_into_cost() -> None:
    hours, _ = asked(SIXTEEN)
    cost, _ = asked(SIXTEEN | {"price": "2"})
    assert (hours["unit"], cost["unit"]) == ("GPU-hours", "cost")
    assert float(cost["rows"][0]["cost"]) == pytest.approx(
        2 * float(hours["rows"][0]["cost"]), rel=0.02
    )
