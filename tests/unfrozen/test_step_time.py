"""Step time: close to published speeds, and slower for what costs time."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.catalogue import CATALOGUE
from unfrozen.gpus import find
from unfrozen.job import Job
from unfrozen.step_time import (
    card_of,
    replicas,
    step_time,
    step_tokens,
    utilisation,
)


def job(
    recipe: dict[str, Any] | None = None,
    cluster: dict[str, Any] | None = None,
    name: str = "meta-llama/Llama-3.1-8B",
    gpu: str | None = "H100",
) -> Job:
    config = CATALOGUE[name].config
    return Job.read({"model": config, "recipe": recipe or {}, "cluster": cluster or {}, "gpu": gpu})


def pace(found: Job) -> float:
    return step_time(found).seconds / step_tokens(found)


def test_an_8b_model_on_eight_h100_runs_about_as_fast_as_published() -> None:
    recipe = {
        "attention": "flash",
        "kernels": "fused",
        "micro_batch": 2,
        "seq_len": 8192,
        "checkpointing": "full",
    }
    each = 1 / pace(job(recipe, {"gpus": 8, "sharding": "zero3"})) / 8
    assert each == pytest.approx(5900, rel=0.15), "torchtitan, arXiv 2410.06511: 5,645 to 6,258"


def test_the_assumed_share_of_the_peak_lies_where_published_runs_lie() -> None:
    assert utilisation(find("H100"), "fused") == pytest.approx(0.40, abs=0.005)
    assert utilisation(find("A100-80GB"), "fused") == pytest.approx(0.435, abs=0.005)
    assert utilisation(find("RTX 4090"), "fused") == 0.4
    assert utilisation(find("H100"), "eager") == 0.75 * utilisation(find("H100"), "fused")


@pytest.mark.parametrize(
    ("slower", "faster"),
    [
        ({"checkpointing": "full"}, {}),
        ({"attention": "eager"}, {"attention": "flash"}),
        ({}, {"kernels": "fused"}),
        ({"micro_batch": 1, "grad_accum": 8}, {"micro_batch": 8}),
        ({"params": "fp32", "compute": "fp32"}, {"params": "fp32"}),
        ({"paged": True}, {}),
        ({"activation_offload": True}, {}),
        ({"method": "qlora"}, {"method": "lora"}),
        ({}, {"method": "lora"}),
        ({"checkpointing": "selective"}, {}),
        ({}, {"compute": "fp8"}),
    ],
)
def test_what_costs_time_costs_time(slower: dict[str, Any], faster: dict[str, Any]) -> None:
    assert pace(job(slower)) > 1.001 * pace(job(faster))


def test_checkpointing_costs_between_a_quarter_and_a_third() -> None:
    ratio = pace(job({"checkpointing": "full", "seq_len": 4096})) / pace(job({"seq_len": 4096}))
    assert 1.2 < ratio < 1.35


def test_communication_shows_where_the_network_is_slower_than_the_products() -> None:
    near = step_time(job(cluster={"gpus": 8, "sharding": "zero3"}))
    far = step_time(job(cluster={"gpus": 64, "sharding": "zero3"}))
    assert near.communication == 0
    assert far.communication > 0
    assert far.compute == near.compute


@pytest.mark.parametrize(
    ("slower", "faster"),
    [
        (
            {"gpus": 8, "sharding": "zero3", "offload": "optimizer"},
            {"gpus": 8, "sharding": "zero3"},
        ),
        (
            {"gpus": 8, "sharding": "zero3", "offload": "params"},
            {"gpus": 8, "sharding": "zero3", "offload": "optimizer"},
        ),
        ({"gpus": 8, "tensor_parallel": 8}, {"gpus": 8, "sharding": "zero3"}),
    ],
)
def test_sharing_and_the_host_cost_time(slower: dict[str, Any], faster: dict[str, Any]) -> None:
    assert pace(job({"micro_batch": 4}, slower)) > pace(job({"micro_batch": 4}, faster))


@pytest.mark.parametrize("sharding", ["none", "zero1", "zero2", "zero3"])
def test_cards_add_speed_and_never_more_than_their_number(sharding: str) -> None:
    one, eight = job(), job(cluster={"gpus": 8, "sharding": sharding})
    assert replicas(eight) == 8
    assert step_tokens(eight) == 8 * step_tokens(one)
    assert 1 < pace(one) / pace(eight) < 10


def test_without_a_card_the_usual_one_is_assumed() -> None:
    assert card_of(job(gpu=None)).name == "A100 80GB SXM"
