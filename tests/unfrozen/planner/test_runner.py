"""What the planner takes for granted of the runner, compared with the runner itself."""

from typing import Any

import pytest

from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan_job
from unfrozen.planner import glance, view
from unfrozen.planner.keys import FLAGS
from unfrozen.planner.knobs import GROUPS
from unfrozen.planner.launch import launch
from unfrozen.planner.runner import left_alone, run_of
from unfrozen.planner.state import State, job_json, read_state

EXACT: State = {"params": "fp32"}
NARROW: State = {"params": "bf16", "master": "null"}
STARTS: dict[str, State] = {
    "exact": EXACT,
    "narrow": NARROW,
    "classic": {},
    "shared out": EXACT | {"gpus": "8", "sharding": "zero3"},
    "capped": EXACT | {"model": "google/gemma-2-2b"},
    "experts": EXACT | {"model": "Qwen/Qwen3-30B-A3B"},
    "learned positions": EXACT | {"model": "openai-community/gpt2"},
}
TYPED = {"dropout": ("0", "0.1"), "grad_accum": ("4",), "tensor_parallel": ("2",)}
CHANGES = [
    (knob.key, value)
    for _, knobs in GROUPS
    for knob in knobs
    for value in (*knob.choices, *TYPED.get(knob.key, ()), *(["true"] * (knob.key in FLAGS)))
]


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(("key", "value"), CHANGES)
def test_where_the_command_takes_other_memory_than_the_plan_the_page_says_why(
    key: str, value: str, start: str
) -> None:
    state = read_state(STARTS[start] | {key: value})
    found: Any = glance(state)
    if found["problem"] is not None:
        return
    job = Job.read(job_json(state))
    run = run_of(job, launch(job))
    if not found["commands"]["differs"]:
        assert plan_job(run).device_bytes == plan_job(job).device_bytes


def test_the_update_left_alone_is_the_one_that_the_optimizer_has() -> None:
    llama = CATALOGUE["meta-llama/Llama-3.1-8B"].model.architecture
    for given, step in (
        ({}, "fused"),
        ({"optimizer": "adafactor"}, "rows"),
        ({"params": "bf16", "master": None, "rounding": "kahan"}, "rows"),
        ({"params": "bf16", "master": None, "rounding": "kahan", "optimizer": "sgd"}, "fused"),
        ({"params": "fp32", "rounding": "kahan"}, "fused"),
    ):
        assert left_alone(llama, given)["step"] == step


@pytest.mark.parametrize("model_type", ["bert", "gpt"])
def test_of_what_it_cannot_train_it_takes_nothing_for_granted(model_type: str) -> None:
    config = {"model_type": model_type, "hidden_size": 128, "num_hidden_layers": 2}
    config |= {"num_attention_heads": 2, "vocab_size": 1000, "intermediate_size": 512}
    job = Job.read({"model": config | {"max_position_embeddings": 512}})
    assert left_alone(job.model.architecture, {}) == {}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (EXACT | {"grads": "bf16"}, "its gradients are as wide as its weights"),
        (NARROW | {"moments": "fp32"}, "its moments are as wide as its weights"),
        ({"moments": "bf16"}, "its moments are as wide as its weights"),
        (EXACT | {"zero_in_place": "true"}, "its gradients are freed after a step"),
        (EXACT | {"step": "foreach"}, "its update is fused"),
        (NARROW | {"optimizer": "adafactor", "step": "fused"}, "some rows at a time"),
        (EXACT | {"dropout": "0.1"}, "its dropout is the model's own"),
        (EXACT | {"loss": "fused_linear"}, "its loss takes 256 positions at a time"),
        (EXACT | {"sharding": "zero2"}, "one card has nothing to share out"),
    ],
)
def test_what_the_runner_does_otherwise_is_said(state: State, words: str) -> None:
    assert words in "; ".join(glance(state)["commands"]["differs"])  # type: ignore[index]


def test_the_first_advice_of_an_untouched_page_is_rounded_by_the_runner_as_it_says() -> None:
    advised = view({})["cheapest"]["state"]
    assert advised["rounding"] == "stochastic"
    assert "rounded" not in "; ".join(glance(advised)["commands"]["differs"])  # type: ignore[index]
    assert "--set rounding=stochastic" in glance(advised)["commands"]["run"]  # type: ignore[index]


def test_experts_that_would_compute_in_fp32_are_said_to_be_cast() -> None:
    experts = {"model": "Qwen/Qwen3-30B-A3B", "params": "fp32"}
    asked, fused = experts | {"experts_cast": "true"}, experts | {"kernels": "fused"}
    assert "its experts compute in 16 bits" in _told(experts | {"experts_cast": "false"})
    assert "its compiled experts" in _told(asked | fused)
    assert not any("experts" in _told(one) for one in (asked, fused, {"experts_cast": "true"}))


def _told(state: dict[str, str]) -> str:
    """What the page says the command does otherwise."""
    return "; ".join(glance(state)["commands"]["differs"])  # type: ignore[index]
