"""Rollouts of GRPO: what vLLM holds and how long it writes, and what else a step computes then."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.hardware import memory_bytes_per_second
from unfrozen.job import Job
from unfrozen.job.rollouts import cache_bytes, engine
from unfrozen.plan import plan_job
from unfrozen.plan.step_time import job_gpu, step_time
from unfrozen.plan.timing.rollouts import rollout_seconds


def job(objective: str = "grpo", gpus: int = 8, **recipe: Any) -> Job:
    usual = {"objective": objective, "seq_len": 2048, "micro_batch": 4, "checkpointing": "full"}
    cluster = {"gpus": gpus, "sharding": "zero3" if gpus > 1 else "none"}
    given = {"model": "Qwen/Qwen3-8B", "gpu": "H100", "cluster": cluster}
    return Job.read({**given, "recipe": usual | recipe})


def seconds(one: Job) -> float:
    return rollout_seconds(one, job_gpu(one))


def test_a_token_of_qwen3_8b_has_keys_and_values_of_144_kib() -> None:
    assert cache_bytes(job().model) == 2 * 2 * 8 * 128 * 36  # 16 bits, K and V, heads, layers


def test_an_engine_takes_no_less_than_reading_the_weights_for_each_token() -> None:
    one = job(micro_batch=1)
    least = 2 * one.model.num_parameters / memory_bytes_per_second(job_gpu(one))
    assert 512 * least < seconds(one) < 1.3 * 512 * least


def test_sequences_in_flight_share_the_reading_of_the_weights() -> None:
    one, many = job(micro_batch=1), job(micro_batch=8)
    most = engine(many.model, many.recipe, job_gpu(many), gpus=8).sequences
    assert most >= 8
    assert seconds(many) < 1.3 * seconds(one)
    waits = job(micro_batch=1, grad_accum=most + 1)
    assert seconds(waits) > 1.9 * seconds(job(micro_batch=1, grad_accum=most)) - seconds(one)


def test_longer_completions_take_longer_and_another_machines_none() -> None:
    assert seconds(job(completion_len=1024)) == pytest.approx(2 * seconds(job()), rel=0.05)
    assert seconds(job(rollout_share=0)) == 0
    assert seconds(job("dpo")) == 0


def test_vllm_takes_its_share_of_the_gpu_beside_the_tensors() -> None:
    without, half = plan_job(job(rollout_share=0)), plan_job(job(rollout_share=0.5))
    taken = half.beside_bytes - without.beside_bytes
    assert taken == half.rollout_bytes == pytest.approx(0.5 * job_gpu(job()).capacity_bytes, abs=2)
    assert half.allocated_bytes == without.allocated_bytes


def test_a_share_that_holds_no_model_is_refused_with_the_least_that_does() -> None:
    with pytest.raises(PlanError, match=r"set it to 0\.22 or more") as refused:
        job(rollout_share=0.1, gpus=1)
    assert refused.value.key == "recipe.rollout_share"
    assert step_time(job(rollout_share=0.22, gpus=1)).rollouts > 0
    with pytest.raises(PlanError, match="split among 8 GPUs"):
        job(rollout_share=0.01)
    large = {"model": "Qwen/Qwen3-32B", "gpu": "RTX 4090", "recipe": {"objective": "grpo"}}
    with pytest.raises(PlanError, match="with vLLM elsewhere"):
        Job.read(large)


def test_a_model_too_large_for_the_share_of_one_gpu_is_split_among_several() -> None:
    """15.3 GiB of Qwen3-8B in 16 bits: 8 GiB of each H100 hold them in three, so in four."""
    found = job(rollout_share=0.1)
    whole, split = (engine(one.model, one.recipe, job_gpu(one), 8) for one in (job(), found))
    assert (whole.ranks, split.ranks) == (1, 4)
    assert "--vllm_tensor_parallel_size 4" in FRAMEWORKS["accelerate"].command(found)
    assert "tensor_parallel" not in FRAMEWORKS["accelerate"].command(job())
    assert plan_job(found).rollout_bytes < plan_job(job()).rollout_bytes
    one, four = (seconds(job(micro_batch=1, rollout_share=share)) for share in (0.3, 0.1))
    assert four == pytest.approx(one / 4, rel=0.1)  # each reads a quarter of the weights


@pytest.mark.parametrize(
    ("objective", "more", "passes"),
    [
        ("dpo", {"reference": False}, 0),
        ("dpo", {}, 1),
        ("grpo", {"rollout_share": 0}, 0),
        ("grpo", {}, 1),
        ("grpo", {"reference": True}, 2),
    ],
)
def test_log_probabilities_are_forward_passes_beside_the_one_that_trains(
    objective: str, more: dict[str, Any], passes: int
) -> None:
    pairs = 2 if objective == "dpo" else 1
    plain = step_time(job("sft", micro_batch=4 * pairs))
    found = step_time(job(objective, **more))
    # recomputed layers: forward, forward again and a backward of two
    assert found.products == pytest.approx(plain.products * (4 + passes) / 4, rel=0.05)
    assert found.update == plain.update
