"""The decision as the page gets it: finished words and numbers, for every state."""

import json
from typing import Any

import pytest

from conftest import matrix
from unfrozen.decision import decide, reversals, view
from unfrozen.decision.options import KEYS as METHODS
from unfrozen.decision.task import KEYS, read_task
from unfrozen.planner import glance

STATES: dict[str, dict[str, str]] = {
    "default": {},
    "many tasks": {"tasks": "50", "price": "2.5"},
    "one GPU, 70B": {"model": "meta-llama/Llama-3.1-70B", "gpu": "H100 SXM"},
    "nothing fits": {"model": "meta-llama/Llama-3.1-70B", "gpu": "RTX 4090", "learn": "knowledge"},
    "eight GPUs": {"model": "meta-llama/Llama-3.1-8B", "gpu": "RTX 4090", "gpus": "8"},
    "too much data": {"tokens": "10000000000", "learn": "knowledge", "want": "most"},
    "tiny": {"model": "HuggingFaceTB/SmolLM2-135M", "tokens": "10000000000"},
}


@pytest.mark.parametrize("state", matrix(STATES.values(), *list(STATES.values())[::3]), ids=STATES)
def test_a_view_is_plain_json_with_every_method_once(state: dict[str, str]) -> None:
    found: Any = view(state)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert sorted(method["key"] for method in found["methods"]) == sorted(METHODS)
    assert found["problem"] is None
    assert found["state"] == {key: text for key, text in state.items() if key in found["state"]}
    for method in found["methods"]:
        labels = [number["label"] for number in method["numbers"]]
        assert ("Cost" in labels) == ("price" in state)
        assert len(method["checks"]) == 3
        assert not [check for check in method["checks"] if not check["text"].endswith(".")]
        assert method["recipe"].endswith(".")


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_the_planner_shows_the_memory_that_the_decision_says(state: dict[str, str]) -> None:
    found: Any = decide(state)
    for method in found["methods"]:
        if method["planner"] is None:
            assert method["key"] == "prompt"
            continue
        shown: Any = glance(method["planner"])
        assert shown["problem"] is None
        assert method["numbers"][0]["text"] == shown["bar"]["total"]["text"].replace("\xa0", " ")


def test_the_planner_shows_the_time_of_one_task() -> None:
    found: Any = decide({"tokens": "50000000"})
    for method in found["methods"]:
        if method["planner"]:
            shown: Any = glance(method["planner"])
            times = [number["text"] for number in shown["run"] if number["key"] == "time"]
            assert times == [method["numbers"][1]["text"]]


def test_full_fine_tuning_comes_with_the_command_of_the_runner() -> None:
    found: Any = decide({"gpus": "8", "model": "meta-llama/Llama-3.1-8B", "gpu": "H100 SXM"})
    commands = {method["key"]: method["command"] for method in found["methods"]}
    assert "gpu_runner train" in commands["full"]["text"]
    assert "--nproc-per-node 8" in commands["full"]["text"]
    assert "8 processes" in commands["full"]["note"]
    assert commands["prompt"] is None
    assert "r=16" in commands["lora"]["text"]
    assert "nf4" in commands["qlora"]["text"]
    assert "nf4" not in commands["lora"]["text"]


def test_the_command_of_exact_full_fine_tuning_does_as_planned() -> None:
    found: Any = decide({"model": "meta-llama/Llama-3.2-3B", "gpus": "1"})
    [full] = [method for method in found["methods"] if method["key"] == "full"]
    assert full["command"]["note"] == ""


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_each_flip_button_leads_to_a_decision_for_its_method(state: dict[str, str]) -> None:
    for key, found in reversals(state)["flips"].items():  # type: ignore[attr-defined]
        for flip in found:
            after: Any = decide(flip["state"])
            assert after["methods"][0]["key"] == key, flip
            assert after["methods"][0]["does_it"]


def test_what_cannot_be_read_names_its_control_and_moves_the_others() -> None:
    found: Any = decide({"gpus": "none", "tasks": "7"})
    assert found["problem"]["key"] == "gpus"
    assert "1 … 64" in found["problem"]["text"]
    assert "methods" not in found
    assert [count["value"] for count in found["counts"]][:2] == ["none", "7"]
    assert decide("gpus=none&x=1")["problem"]
    assert reversals({"gpus": "none"}) == {}
    assert "flips" not in view({"gpus": "none"})


def test_controls_offer_what_can_be_read() -> None:
    found: Any = decide({"gpu": "RTX 4090"})
    for control in (*found["selects"], *found["radios"]):
        for option in control["options"]:
            read_task({control["key"]: option["value"]})
    for count in found["counts"]:
        assert len(count["steps"]) == len(count["texts"])
        for step in count["steps"]:
            read_task({count["key"]: step})
    keys = [each["key"] for each in (*found["selects"], *found["counts"], *found["radios"])]
    assert sorted([*keys, "price"]) == sorted(KEYS)
    assert found["price"]["placeholder"] == "in your currency"
    assert "2026" in decide({"gpu": "H200"})["price"]["placeholder"]  # type: ignore[index]
