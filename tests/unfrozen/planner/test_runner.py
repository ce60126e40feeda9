"""What the planner takes for granted of the runner, compared with the runner itself."""

from collections import Counter
from typing import Any

import pytest

from unfrozen.hardware import find
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan_job
from unfrozen.planner import glance
from unfrozen.planner.runner import launch, run_of, runner_defaults
from unfrozen.planner.state import SETTINGS, State, read_job, read_state
from unfrozen.units import format_size

EXACT: State = {"params": "fp32"}
RECOMPUTED: State = {"checkpointing": "full"}
NARROW: State = {"params": "bf16", "master": "null"}
STARTS: dict[str, State] = {
    "exact": EXACT,
    "narrow": NARROW,
    "classic": {},
    "sharded": EXACT | {"gpus": "8", "sharding": "zero3"},
    "capped": EXACT | {"model": "google/gemma-2-2b"},
    "experts": EXACT | {"model": "Qwen/Qwen3-30B-A3B"},
    "learned positions": EXACT | {"model": "openai-community/gpt2"},
}
TYPED = {"dropout": ("0", "0.1"), "grad_accum": ("4",), "tensor_parallel": ("2",)}
CHANGES = [
    (key, value)
    for key, setting in SETTINGS.items()
    for value in (
        *setting.choices,
        *TYPED.get(key, ()),
        *(["true"] if setting.kind == "flag" else []),
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_the_command_takes_the_memory_of_the_plan_or_the_page_says_how_much(start: str) -> None:
    outcomes = Counter(_outcome(STARTS[start] | {key: value}) for key, value in CHANGES)
    assert outcomes.total() == len(CHANGES)
    assert outcomes["differs"] >= 20
    assert outcomes["refused"] >= 5
    assert outcomes["same"] >= (20 if STARTS[start] else 0)


def _outcome(given: State) -> str:
    """What became of a state, each of the three asserted: "refused", "differs" or "same"."""
    state = read_state(given)
    found: Any = glance(state)
    if found["problem"] is not None:
        assert found["problem"]["text"].endswith("."), given
        assert "bar" not in found, given
        return "refused"
    job = read_job(state)
    run = plan_job(run_of(job, launch(job)))
    if found["commands"]["differs"]:
        assert format_size(run.device_bytes, "GiB") in found["commands"]["needs"]["text"], given
        return "differs"
    assert run.device_bytes == plan_job(job).device_bytes, given
    return "same"


def test_the_default_update_is_the_one_that_the_optimizer_has() -> None:
    llama = CATALOGUE["meta-llama/Llama-3.1-8B"].model.architecture
    for given, step in (
        ({}, "fused"),
        ({"optimizer": "adafactor"}, "rows"),
        ({"params": "bf16", "master": None, "rounding": "kahan"}, "rows"),
        ({"params": "bf16", "master": None, "rounding": "kahan", "optimizer": "sgd"}, "fused"),
        ({"params": "fp32", "rounding": "kahan"}, "fused"),
    ):
        assert runner_defaults(llama, given)["step"] == step


def test_the_default_attention_is_the_kernel_that_the_gpu_has() -> None:
    architectures = {
        name: CATALOGUE[name].model.architecture
        for name in ("meta-llama/Llama-3.1-8B", "google/gemma-2-9b", "openai/gpt-oss-20b")
    }
    for compute, gpu, kernel in (
        ("bf16", "H100 SXM", "flash"),
        ("fp32", "H100 SXM", "efficient"),
        ("fp16", "T4", "efficient"),
        ("fp32", None, "efficient"),
    ):
        found = [
            runner_defaults(a, {"compute": compute}, find(gpu) if gpu else None)["attention"]
            for a in architectures.values()
        ]
        own = "flash"  # for caps and sinks the runner's operator, which saves as much
        assert found == [kernel, own, own]


@pytest.mark.parametrize("model_type", ["bert", "gpt"])
def test_of_what_it_cannot_train_it_takes_nothing_for_granted(model_type: str) -> None:
    config = {"model_type": model_type, "hidden_size": 128, "num_hidden_layers": 2}
    config |= {"num_attention_heads": 2, "vocab_size": 1000, "intermediate_size": 512}
    job = Job.read({"model": config | {"max_position_embeddings": 512}})
    assert runner_defaults(job.model.architecture, {}) == {}


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (EXACT | {"grads": "bf16"}, "Gradient dtype: fp32, not bf16"),
        (NARROW | {"moments": "fp32"}, "Optimizer state dtype: bf16, not fp32"),
        (RECOMPUTED | EXACT | {"reentrant": "true"}, "Reentrant checkpoints: off, not on"),
        (EXACT | {"dropout": "0.1"}, "Dropout: none, not 0.1"),
        (EXACT | {"loss": "fused_linear"}, "Cross-entropy: "),
        (EXACT | {"sharding": "zero2"}, "Sharding: none, not ZeRO-2"),
    ],
)
def test_what_the_runner_does_otherwise_is_reported(state: State, text: str) -> None:
    assert text in "; ".join(glance(state)["commands"]["differs"])  # type: ignore[index]


def test_experts_that_would_compute_in_fp32_are_said_to_be_cast() -> None:
    experts = {"model": "Qwen/Qwen3-30B-A3B", "params": "fp32"}
    assert "Autocast experts: on, not off" in _differences(experts | {"experts_cast": "false"})
    fused = {"experts_cast": "true", "kernels": "fused"}
    assert "Autocast experts: off, not on" in _differences(experts | fused)
    assert "Autocast" not in _differences(experts | {"experts_cast": "true"})


def _differences(state: dict[str, str]) -> str:
    """What the page says the command does otherwise."""
    return "; ".join(glance(state)["commands"]["differs"])  # type: ignore[index]
