"""The commonest plans are those of Python, under the keys that the page makes."""

from site_builder.common_plans import common_plans
from unfrozen.planner import glance


def test_the_default_is_what_the_planner_plans_for_an_empty_state() -> None:
    found = common_plans()
    shown = glance({})
    assert found["default"] == {"model": shown["model"], "gpu": shown["gpu"]}
    assert found["plans"]["[]"]["verdict"] == shown["verdict"]


def test_every_plan_is_that_of_its_state_and_only_a_card_without_bf16_has_none() -> None:
    plans = common_plans()["plans"]
    key = '[["gpu","RTX 4090"],["method","qlora"],["model","Qwen/Qwen3-32B"]]'
    shown = glance({"gpu": "RTX 4090", "method": "qlora", "model": "Qwen/Qwen3-32B"})
    assert plans[key]["verdict"] == shown["verdict"]
    assert plans[key]["facts"] == shown["facts"]
    assert '[["compute","bf16"],["gpu","T4"],["params","fp32"]]' not in plans
    assert '[["gpu","T4"],["method","lora"]]' in plans
