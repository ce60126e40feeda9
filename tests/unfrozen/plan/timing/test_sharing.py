"""Sharing: what waits for other GPUs, by hand, and never more with a faster network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.step_time import step_time
from unfrozen.plan.timing.communication import CROWD, Sharing, Waits
from unfrozen.plan.timing.passes import BatchTime, Machine, Seconds

CONFIG = CATALOGUE["meta-llama/Llama-3.1-8B"].config


def job(recipe: dict[str, Any] | None = None, **cluster: Any) -> Job:
    given = {"attention": "flash", "micro_batch": 2} | (recipe or {})
    return Job.read({"model": CONFIG, "recipe": given, "cluster": cluster, "gpu": "H100"})


def sharing(found: Job) -> Sharing:
    assert found.gpu is not None
    return Sharing(found, BatchTime(found, Machine.of(found.gpu, "bf16")))


def test_what_products_hide_slows_them_and_the_rest_is_waited_for() -> None:
    found = sharing(job(gpus=8, sharding="zero3"))
    assert found._beside(2.0, Seconds(5.0)) == Waits(0.0, 0.0, CROWD * 2.0)
    assert found._beside(5.0, Seconds(2.0)) == Waits(3.0, 0.0, CROWD * 2.0)


def test_tensor_parallel_sums_by_hand() -> None:
    """Two a layer and direction, each twice (n − 1) / n of T · D numbers, over NVLink."""
    found = sharing(job(gpus=4, tensor_parallel=4))
    size = 2 * 2048 * 4096 * 2
    each = 2 * (8.4e-6 + 3 * 3.4e-6 + size * 3 / 4 / (0.8 * 450e9))
    assert found._tensor().inside == pytest.approx(4 * each)


def test_context_parallel_exchange_hides_behind_long_attention() -> None:
    short = sharing(job({"seq_len": 2048}, gpus=8, context_parallel=8))
    long = sharing(job({"seq_len": 131_072, "micro_batch": 1}, gpus=8, context_parallel=8))
    assert short._context(short.part.local).inside > 0
    assert long._context(long.part.local) == Waits()


def experts(framework: str, **cluster: Any) -> Sharing:
    model = CATALOGUE["Qwen/Qwen3-30B-A3B"].config
    recipe = {"attention": "flash", "micro_batch": 2, "seq_len": 2048}
    given = {"model": model, "recipe": recipe, "gpu": "H100", "framework": framework}
    return sharing(Job.read(given | {"cluster": cluster}))


def test_megatron_sends_a_token_once_to_each_gpu_and_others_a_copy_to_each_expert() -> None:
    """Eight of 128 experts, over eight GPUs: 8 · (1 − (7/8)⁸) of them, in the mean."""
    each = 4096 * 2048 * 2 * 7 / 8 / (0.8 * 450e9)
    latency = 8.4e-6 + 3.4e-6
    copies = experts("torchtitan", gpus=8, expert_parallel=8)._dispatch().inside
    assert copies == pytest.approx(4 * (latency + 8 * each))
    once = experts("megatron", gpus=8, expert_parallel=8)._dispatch().inside
    assert once == pytest.approx(4 * (latency + 8 * (1 - (7 / 8) ** 8) * each))


def test_between_machines_each_gpu_sends_through_its_own_adapter() -> None:
    found = experts("torchtitan", gpus=16, expert_parallel=16)
    half = 4096 * 8 * 2048 * 2 / 2 / (0.8 * 50e9)  # the other machine has half of the experts
    assert found._dispatch().between == pytest.approx(4 * half, rel=0.02)  # and its latency


def test_gradients_of_experts_are_summed_among_those_that_hold_them() -> None:
    """Sixteen GPUs, eight shares of the experts: two GPUs hold the same, of an eighth of them."""
    found = experts("megatron", gpus=16, expert_parallel=8, sharding="zero1")
    own, held = found._weights()
    whole = 48 * 128 * 3 * 2048 * 768
    assert held == pytest.approx(whole / 8)
    assert own == pytest.approx(found.job.model.num_parameters - whole)
    assert found.expert_data.gpus == 2


def test_a_gpu_alone_waits_for_nobody() -> None:
    assert step_time(job()).communication == 0


@pytest.mark.parametrize("sharding", ["none", "zero1", "zero2", "zero3"])
def test_a_faster_network_is_never_slower(sharding: str) -> None:
    slow = job({"micro_batch": 1}, gpus=64, sharding=sharding)
    assert slow.gpu is not None
    faster = replace(slow.gpu, network_gb_s=100.0, link_gb_s=900.0)
    assert step_time(replace(slow, gpu=faster)).seconds < step_time(slow).seconds


def test_copies_of_a_sharded_group_sum_their_gradients() -> None:
    one = step_time(job(gpus=64, sharding="zero3", shard_size=8))
    assert one.seconds > 0
    assert sharing(job(gpus=64, sharding="zero3", shard_size=8)).copies.gpus == 8
