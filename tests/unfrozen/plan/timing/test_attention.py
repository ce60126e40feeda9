"""Attention: at the rates that were published, by hand, and by the kernel that a job runs."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.step_time import job_gpu
from unfrozen.plan.timing.attention import Attention, attention, kernel

LLAMA = CATALOGUE["meta-llama/Llama-3.1-8B"].config
FLASH = {"attention": "flash", "seq_len": 4096}
MEGATRON = {"params": "bf16", "grads": "fp32"}
MPT = {
    "model_type": "gpt",
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "vocab_size": 50368,
    "add_bias_linear": False,
    "max_position_embeddings": 65536,
}


def job(recipe: dict[str, Any], gpu: str = "H100", **cluster: Any) -> Job:
    config = MPT if recipe.pop("mpt", False) else LLAMA
    return Job.read({"model": config, "recipe": recipe, "cluster": cluster, "gpu": gpu})


def seconds(recipe: dict[str, Any], gpu: str = "H100", **cluster: Any) -> Attention:
    found = job(dict(recipe), gpu, **cluster)
    local = found.model.architecture.split(found.cluster.tensor_parallel)
    return attention(found, local, job_gpu(found), 7e14, 2.5e12)


def test_flash_attention_runs_at_the_rate_that_its_authors_published() -> None:
    found = seconds(FLASH)
    half = 2 * 4096 * 4096 * 4096  # half of 4 · T · s · q, under a causal mask
    assert found.forward == pytest.approx(half / 319e12)
    assert found.backward == pytest.approx(2.5 * half / 269e12)


@pytest.mark.parametrize(("length", "rate"), [(512, 191), (1024, 260), (8192, 333), (65536, 335)])
def test_short_sequences_run_slower_as_in_the_figures(length: int, rate: int) -> None:
    found = seconds({"attention": "flash", "seq_len": length})
    assert found.forward == pytest.approx(2 * length * length * 4096 / (rate * 1e12))


def test_each_job_runs_the_kernel_of_its_kind() -> None:
    assert kernel(job({"attention": "sdpa"})) == "flash-2"
    assert kernel(job(FLASH | MEGATRON)) == "newest"
    assert kernel(job({"attention": "flash", "params": "fp32", "mpt": True})) == "flash-1"
    assert kernel(job({"attention": "eager"})) == "eager"
    assert kernel(job({"attention": "sdpa_masked"})) == "masked"


def test_newer_kernels_are_faster_and_masks_and_scores_slower() -> None:
    flash = seconds(FLASH).forward
    assert seconds(FLASH | MEGATRON).forward < flash
    for slower in ("sdpa_masked", "eager"):
        assert seconds({"attention": slower, "seq_len": 4096}).forward > 2 * flash


def test_context_parallel_ranks_share_the_scores() -> None:
    alone, shared = seconds(FLASH), seconds(FLASH, gpus=4, context_parallel=4)
    assert shared.forward == pytest.approx(alone.forward / 4)


def test_a_measured_4090_is_met_at_two_thousand_positions() -> None:
    found = seconds({"attention": "flash", "seq_len": 2048}, "RTX 4090")
    half = 2 * 2048 * 2048 * 4096
    assert found.forward == pytest.approx(half / 151e12, rel=0.08)  # apache/tvm flash_perf.md
