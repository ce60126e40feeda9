"""Estimates: time, energy and cost follow from speed, and say what they assume."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.compute import estimate

CONFIG = CATALOGUE["meta-llama/Llama-3.1-8B"].config
JOB = Job.read({"model": CONFIG, "cluster": {"gpus": 8, "sharding": "zero3"}, "gpu": "H100"})


def test_time_energy_and_cost_follow_from_the_speed() -> None:
    found = estimate(JOB, 1e9, price=2.5)
    assert found.seconds == pytest.approx(1e9 / found.tokens_per_second)
    assert found.gpu_hours == pytest.approx(8 * found.seconds / 3600)
    assert found.energy_kwh == pytest.approx(0.7 * found.gpu_hours)
    assert found.cost == pytest.approx(2.5 * found.gpu_hours)
    assert found.total_flops == 1e9 * found.flops_per_token


def test_a_measured_utilisation_takes_the_place_of_the_estimate() -> None:
    found = estimate(JOB, 1e9, mfu=0.4)
    assert found.mfu == pytest.approx(0.4)
    assert found.tokens_per_second == pytest.approx(8 * 0.4 * 989e12 / found.flops_per_token)
    assert not [text for text in found.assumptions if "Assumed" in text]


def test_an_estimate_says_what_binds_it_and_how_sure_it_is() -> None:
    found = estimate(JOB, 1e9)
    assert found.bound.startswith("Bound by ")
    assert sum(found.parts.values()) == pytest.approx(found.step_seconds)
    assert found.step_band is not None
    assert found.step_band[0] < found.step_seconds < found.step_band[1]
    given = estimate(JOB, 1e9, mfu=0.4)
    assert not given.parts
    assert not given.bound
    assert given.step_band is None


def test_no_price_no_cost() -> None:
    assert estimate(JOB, 1e9).cost is None


def test_what_is_assumed_is_reported() -> None:
    told = " ".join(estimate(Job.read({"model": CONFIG}), 1e6).assumptions)
    assert "No GPU is named" in told
    assert "published runs on one machine, of" in told
    assert "nine in ten" in told
    assert "limit of 400 W" in told
    assert "communication" in " ".join(estimate(JOB, 1e6).assumptions)


def test_what_is_assumed_of_links_is_reported_where_they_are_used() -> None:
    def told(recipe: dict[str, Any], cluster: dict[str, Any], gpu: str = "H100") -> str:
        given = {"model": CONFIG, "recipe": recipe, "cluster": cluster, "gpu": gpu}
        return " ".join(estimate(Job.read(given), 1e6).assumptions)

    shared = {"gpus": 16, "sharding": "zero3"}
    assert "8 GPUs per machine, 50 GB/s per GPU" in told({}, shared)
    assert "per machine" not in told({}, shared, "GB200")
    assert "per machine" not in told({}, {"gpus": 8, "sharding": "zero3"})
    assert "links to the host (63 GB/s) reach 80%" in told({"activation_offload": True}, {})
    assert "41 GB/s per GPU" in told({}, shared | {"offload": "optimizer"})
    assert "CPU updates" not in told({"paged": True}, {})


def test_what_nobody_measured_is_reported() -> None:
    def told(recipe: dict[str, Any], gpu: str = "H100") -> str:
        given = {"model": CONFIG, "recipe": recipe, "gpu": gpu}
        return " ".join(estimate(Job.read(given), 1e6).assumptions)

    assert "nobody measured" in told({}, "RTX 4090")
    assert "SemiAnalysis" in told({})
    assert "nobody measured" not in told({})
    assert "fused blocks" in told({"kernels": "fused_block"})
    assert "published runs with adapters, of" in told({"method": "lora"})


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"tokens": 0}, "tokens"),
        ({"tokens": -5}, "tokens"),
        ({"tokens": 1e30}, "tokens"),
        ({"tokens": float("nan")}, "tokens"),
        ({"tokens": True}, "tokens"),
        ({"tokens": 1, "mfu": 0}, "mfu"),
        ({"tokens": 1, "mfu": 1.5}, "mfu"),
        ({"tokens": 1, "price": -1}, "price"),
        ({"tokens": 1, "price": float("inf")}, "price"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_by_name(given: dict[str, Any], key: str) -> None:
    with pytest.raises(PlanError) as caught:
        estimate(JOB, **given)
    assert caught.value.key == key


def test_a_gpu_without_bf16_trains_in_fp16() -> None:
    job = Job.read({"model": CONFIG, "recipe": {"params": "fp16"}, "gpu": "T4"})
    assert 10 < estimate(job, 1e6).tokens_per_second < 1000
