"""Plans side by side: each beside the first, with what differs."""

from typing import Any

from unfrozen.planner import compare_plans, glance
from unfrozen.planner.side_by_side import MOST_KEPT


def rows(plans: list[object], now: str = "") -> list[Any]:
    """The rows of these plans."""
    found: Any = compare_plans({"plans": plans, "now": now})["rows"]
    return list(found)


def test_each_plan_says_what_differs_from_the_first_and_what_that_changes() -> None:
    first, second = rows(["", "method=qlora&seq_len=4096"])
    assert first["name"] == "Llama-3.1-8B, 1 × A100 80GB SXM"
    assert second["name"] == "Method: QLoRA; Sequence length: 4096"
    plain, changed = glance(""), glance("method=qlora&seq_len=4096")
    texts: list[Any] = [plain["bar"], changed["bar"]]
    assert [first["memory"], second["memory"]] == [bar["total"]["text"] for bar in texts]
    assert (first["fits"], second["fits"]) == (False, True)
    assert second["saved"].startswith("−")
    assert "time" in second["ratio"]


def test_the_plan_that_is_shown_stands_among_them_once() -> None:
    assert [(row["now"], row["kept"]) for row in rows(["gpus=8"], "gpus=8")] == [(True, True)]
    shown = rows(["gpus=8"], "gpus=4")
    assert [(row["now"], row["kept"]) for row in shown] == [(False, True), (True, False)]


def test_a_price_adds_a_cost_and_a_default_is_said_by_what_it_comes_to() -> None:
    plans: list[object] = ["checkpointing=full", "checkpointing=full&price=2", ""]
    _, priced, back = rows(plans, "checkpointing=full")
    assert float(priced["cost"]) > 0
    assert back["name"] == "Activation checkpointing: none"


def test_what_cannot_be_planned_has_its_reason_and_spoils_no_other() -> None:
    wrong, right = rows(["seq_len=none", "gpus=2"], "gpus=2")
    assert "whole number" in wrong["problem"]
    assert right["memory"]
    assert right["saved"] == ""  # the first that can be planned


def test_no_text_is_no_plan_and_of_too_many_the_first_are_taken() -> None:
    assert len(rows([7, None, "gpus=2"], "gpus=2")) == 1
    many: list[object] = [f"gpus={n}" for n in range(1, 40)]
    assert len(rows(many, "gpus=1")) == MOST_KEPT
    assert compare_plans({})["rows"] == rows([])
