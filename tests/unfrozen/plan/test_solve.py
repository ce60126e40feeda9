"""Inverse questions: the answer fits, the next one does not, and few plans are made for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import unfrozen.plan.solve
from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import Plan, plan, plan_job
from unfrozen.plan.solve import MOST, MOST_GPUS, largest, min_gpus

LLAMA_7B = CATALOGUE["meta-llama/Llama-2-7b-hf"].config
LLAMA_1B = CATALOGUE["meta-llama/Llama-3.2-1B"].config
DENSE = [n for n, found in CATALOGUE.items() if found.model.architecture.experts is None]


def fits(planned: Plan, gpus: int, sharding: str) -> bool:
    cluster = Cluster(gpus=gpus, sharding=sharding if gpus > 1 else "none")
    return bool(plan_job(replace(planned.job, cluster=cluster)).fits)


def test_seven_billion_parameters_need_two_80_gb_gpus() -> None:
    assert min_gpus(plan({"model": LLAMA_7B, "gpu": "A100-80GB", "recipe": {"seq_len": 512}})) == 2


def test_a_small_model_needs_one_consumer_gpu() -> None:
    config = CATALOGUE["HuggingFaceTB/SmolLM2-360M"].config
    assert min_gpus(plan({"model": config, "gpu": "RTX 4090", "recipe": {"seq_len": 512}})) == 1


def test_a_sequence_too_long_for_any_gpu_is_reported_as_zero_gpus() -> None:
    planned = plan({"model": LLAMA_7B, "recipe": {"seq_len": 4_000_000}})
    assert min_gpus(planned) == 0


@given(
    st.sampled_from(DENSE),
    st.sampled_from(["A100-80GB", "H200", "RTX 4090", "L40S"]),
    st.sampled_from(["zero1", "zero2", "zero3"]),
    st.integers(1, 12),
    st.integers(1, 64),
    st.sampled_from(
        [
            {},
            {"method": "lora"},
            {"method": "qlora", "lora": {"rank": 64}},
            {"attention": "eager", "grad_accum": 2},
            {"params": "fp32", "checkpointing": "full"},
            {"optimizer_in_backward": True, "kernels": "fused", "loss": "fused_linear"},
        ]
    ),
)
def test_the_fewest_gpus_hold_the_job_and_one_less_does_not(
    name: str, gpu: str, sharding: str, batch: int, gpus: int, recipe: dict[str, Any]
) -> None:
    planned = plan(
        {
            "model": CATALOGUE[name].config,
            "recipe": {"micro_batch": batch} | recipe,
            "cluster": {"gpus": gpus, "sharding": sharding},
            "gpu": gpu,
        }
    )
    if found := min_gpus(planned):
        assert fits(planned, found, "zero3")
        assert found == 1 or not fits(planned, found - 1, "zero3")
    else:
        assert not fits(planned, MOST_GPUS, "zero3")


def test_ranks_that_share_a_layer_or_a_sequence_stay_as_they_are() -> None:
    job: dict[str, Any] = {
        "model": LLAMA_7B,
        "recipe": {"seq_len": 16_384, "attention": "flash", "loss": "fused_linear"},
        "cluster": {"gpus": 8, "tensor_parallel": 4, "context_parallel": 2},
        "gpu": "H100",
    }
    found = min_gpus(plan(job))
    assert found
    assert found % 8 == 0
    clusters = [job["cluster"] | {"gpus": n, "sharding": "zero3"} for n in (found, found - 8)]
    fit = [n["gpus"] > 0 and plan(job | {"cluster": n}).fits for n in clusters]
    assert fit == [True, False]


@pytest.mark.parametrize("key", ["micro_batch", "seq_len"])
@pytest.mark.parametrize("attention", ["flash", "sdpa", "eager"])
@pytest.mark.parametrize("start", [1, 700])
def test_the_largest_value_fits_and_the_next_does_not(key: str, attention: str, start: int) -> None:
    recipe = {"attention": attention, key: start}
    planned = plan({"model": LLAMA_1B, "recipe": recipe, "gpu": "A100-80GB"})
    found = largest(planned, key)
    for value, expected in ((found, True), (found + 1, False)):
        changed = {"model": LLAMA_1B, "recipe": recipe | {key: value}, "gpu": "A100-80GB"}
        assert plan(changed).fits is expected


def test_what_never_fits_is_reported_as_zero() -> None:
    assert largest(plan({"model": LLAMA_7B, "gpu": "L4"}), "micro_batch") == 0


def test_a_gpu_that_holds_everything_gives_the_bound_of_the_recipe() -> None:
    tiny = {
        "model_type": "llama",
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": 8,
    }
    recipe = {"attention": "flash", "seq_len": 1}
    assert largest(plan({"model": tiny, "recipe": recipe, "gpu": "B300"}), "micro_batch") == 65_536


def test_a_sequence_is_no_longer_than_the_learned_positions() -> None:
    config = CATALOGUE["openai-community/gpt2"].config
    assert largest(plan({"model": config, "gpu": "H200"}), "seq_len") == 1024


def test_the_bounds_are_those_of_a_recipe() -> None:
    for key, most in MOST.items():
        Recipe.read({key: most})
        with pytest.raises(PlanError):
            Recipe.read({key: most + 1})


def test_only_a_gpu_sets_a_limit_and_only_some_keys_can_be_solved() -> None:
    planned = plan({"model": LLAMA_1B})
    with pytest.raises(PlanError, match="name one: --gpu"):
        largest(planned, "seq_len")
    with pytest.raises(PlanError, match="micro_batch, seq_len"):
        largest(planned, "grad_accum")


@pytest.mark.slow
def test_the_number_of_gpus_takes_two_plans_on_average(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Job] = []

    def counted(job: Job) -> Plan:
        made.append(job)
        return plan_job(job)

    monkeypatch.setattr(unfrozen.plan.solve, "plan_job", counted)
    jobs: list[dict[str, Any]] = [
        {"model": CATALOGUE[name].config, "recipe": {"micro_batch": batch}, "gpu": gpu}
        for name in DENSE
        for batch in (1, 4)
        for gpu in ("A100-80GB", "RTX 4090")
    ]
    counts = []
    for job in jobs:
        made.clear()
        min_gpus(plan(job))
        counts.append(len(made))
    assert sum(counts) / len(counts) < 2
    assert max(counts) <= 12
