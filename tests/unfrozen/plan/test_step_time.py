"""Step time: close to published speeds, and slower for what costs time."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.hardware import find, peak_tflops
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.flops import flops
from unfrozen.plan.step_time import CAUSES, job_gpu, replicas, step_time, step_tokens


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


LLAMA = "meta-llama/Llama-3.1-8B"
TITAN = {"attention": "flash", "micro_batch": 2, "seq_len": 8192, "checkpointing": "selective"}
TUNE = {"params": "bf16", "master": None, "attention": "flash", "micro_batch": 2}
SPEEDS: dict[str, tuple[str, str, int, dict[str, Any], int]] = {
    # pytorch/torchtitan benchmarks/llama3_h100_202412_torchtitan.md @31a17bf, GPUs held to 500 W
    "titan-8": (LLAMA, "H100", 8, TITAN, 5762),
    "titan-8-compiled": (LLAMA, "H100", 8, TITAN | {"kernels": "fused"}, 6667),
    "titan-8-float8": (LLAMA, "H100", 8, TITAN | {"kernels": "fused", "compute": "fp8"}, 8532),
    "titan-128": (LLAMA, "H100", 128, TITAN, 5605),
    "titan-128-compiled": (LLAMA, "H100", 128, TITAN | {"kernels": "fused"}, 6514),
    # pytorch/torchtitan docs/performance.md @0413364, which does not say what was compiled
    "titan-a100": (LLAMA, "A100-80GB", 64, TITAN | {"micro_batch": 1, "kernels": "fused"}, 2973),
    "titan-70b-a100": (
        *("meta-llama/Llama-3.1-70B", "A100-80GB", 64),
        *(TITAN | {"micro_batch": 1, "kernels": "fused", "checkpointing": "full"}, 331),
    ),
    # pytorch/torchtune README.md @7d470bf
    "tune": ("meta-llama/Llama-3.2-3B", "A100-80GB", 1, TUNE | {"seq_len": 4096}, 7075),
    "tune-compiled": (
        *("meta-llama/Llama-3.2-3B", "A100-80GB", 1),
        *(TUNE | {"seq_len": 4096, "kernels": "fused"}, 8998),
    ),
    "tune-checkpointed": (
        *("meta-llama/Llama-3.2-3B", "A100-80GB", 1),
        *(TUNE | {"seq_len": 4096, "kernels": "fused", "checkpointing": "full"}, 7210),
    ),
    "tune-4090": (
        *(LLAMA, "RTX 4090", 1),
        *(TUNE | {"kernels": "fused", "checkpointing": "full"}, 1650),
    ),
}
"""Published tokens a second and GPU: model, GPU, number of GPUs, recipe, speed."""


UNEXPLAINED: dict[str, tuple[str, dict[str, Any], int]] = {
    # pytorch/torchtune README.md @0031bfb: Llama-3.1-8B, two packed rows of 2048 tokens, compiled
    "tune-4090-lora": ("RTX 4090", {"method": "lora", "checkpointing": "full"}, 3083),
    "tune-a6000": ("RTX A6000", {"checkpointing": "full", "master": None}, 2579),
    "tune-a6000-lora": ("RTX A6000", {"method": "lora", "checkpointing": "full"}, 4699),
}
"""Published speeds left out of `SPEEDS`: GPU, recipe, speed."""


@pytest.mark.parametrize("name", UNEXPLAINED)
def test_speeds_are_left_out_that_would_need_nearly_the_whole_peak(name: str) -> None:
    gpu, recipe, published = UNEXPLAINED[name]
    recipe = {"attention": "flash", "micro_batch": 2, "kernels": "fused"} | recipe
    found = job(recipe, gpu=gpu)
    needed = published * flops(found).total / 1e12
    assert needed > 0.85 * peak_tflops(find(gpu), "bf16")
    assert 1 / pace(found) < published


@pytest.mark.parametrize("name", SPEEDS)
def test_published_speeds_differ_from_the_estimate_by_a_third_at_most(name: str) -> None:
    model, gpu, gpus, recipe, published = SPEEDS[name]
    cluster = {"gpus": gpus, "sharding": "zero3"} if gpus > 1 else {}
    each = 1 / pace(job(recipe, cluster, model, gpu)) / gpus
    assert 0.67 * published < each < 1.34 * published


def test_the_parts_of_a_step_add_up_and_are_told_the_longest_first() -> None:
    found = step_time(job(cluster={"gpus": 16, "sharding": "zero3"}))
    parts = found.parts()
    assert sum(parts.values()) == pytest.approx(found.seconds)
    assert list(parts.values()) == sorted(parts.values(), reverse=True)
    assert set(parts) <= set(CAUSES)


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


def test_checkpointing_costs_a_forward_pass_without_its_last_products() -> None:
    ratio = pace(job({"checkpointing": "full", "seq_len": 4096})) / pace(job({"seq_len": 4096}))
    assert 1.15 < ratio < 1.3


def test_communication_shows_where_the_network_is_slower_than_the_products() -> None:
    near = step_time(job(cluster={"gpus": 8, "sharding": "zero3"}))
    far = step_time(job(cluster={"gpus": 64, "sharding": "zero3"}))
    assert near.between == 0 < near.inside
    assert far.between > near.inside
    assert far.attention == pytest.approx(near.attention, rel=0.01)


GPT3 = {"model_type": "gpt", "vocab_size": 51_200, "max_position_embeddings": 2048}
LLAMA3 = {
    "model_type": "llama",
    "hidden_size": 16_384,
    "num_hidden_layers": 126,
    "num_attention_heads": 128,
    "num_key_value_heads": 8,
    "intermediate_size": 53_248,
    "vocab_size": 128_256,
    "hidden_act": "silu",
}
MEGATRON = {"params": "fp16", "compute": "fp16", "grads": "fp32", "moments": "fp32"}
OLD = MEGATRON | {"attention": "eager", "kernels": "fused", "loss": "vocab_parallel"}


@pytest.mark.parametrize(
    ("width", "layers", "heads", "stages", "gpus", "batch", "told"),
    [
        # Narayanan et al., arXiv 2104.04473, table 1: A100, 8 tensor-parallel GPUs, 2,048 tokens
        (8192, 48, 64, 2, 512, 1536, 138),
        (10_240, 60, 80, 4, 1024, 1792, 140),
        (12_288, 80, 96, 8, 1536, 2304, 148),
        (20_480, 105, 128, 35, 2520, 2520, 163),
    ],
)
def test_megatron_s_pipelines_reach_what_their_paper_says(
    width: int, layers: int, heads: int, stages: int, gpus: int, batch: int, told: int
) -> None:
    """The paper's TFLOP/s count what is computed again: 4 passes, of which 3 are the model's."""
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    recipe = OLD | {"checkpointing": "full", "grad_accum": batch * 8 * stages // gpus}
    cluster = {"gpus": gpus, "tensor_parallel": 8, "pipeline_parallel": stages}
    given = {"model": GPT3 | sizes, "recipe": recipe, "cluster": cluster, "gpu": "A100-80GB"}
    assert reached_tflops(Job.read(given)) == pytest.approx(0.75 * told, rel=0.1)


@pytest.mark.parametrize(("gpus", "micro_batches", "told"), [(8192, 32, 430), (16_384, 16, 400)])
def test_llama_3_405b_reaches_what_its_paper_says(gpus: int, micro_batches: int, told: int) -> None:
    """Llama 3, arXiv 2407.21783, table 4; its interleaved schedule, a layer or so a stage."""
    recipe = {"params": "bf16", "grads": "fp32", "attention": "flash", "kernels": "fused"}
    recipe |= {"loss": "vocab_parallel", "seq_len": 8192}
    cluster = {"gpus": gpus, "sharding": "zero1", "tensor_parallel": 8, "sequence_parallel": True}
    pipeline = {"pipeline_parallel": 16, "pipeline_schedule": "interleaved", "pipeline_chunks": 7}
    given = {
        "model": LLAMA3,
        "recipe": recipe | {"grad_accum": micro_batches},
        "cluster": cluster | pipeline,
        "gpu": "H100",
    }
    assert reached_tflops(Job.read(given)) == pytest.approx(told, rel=0.08)


def reached_tflops(found: Job) -> float:
    """TFLOP/s of a GPU by the model's own operations."""
    return flops(found).model / pace(found) / found.cluster.gpus / 1e12


def test_a_pipeline_is_as_fast_as_its_slowest_rank() -> None:
    """Of 32 layers the last rank has the head beside its own; fewer there are faster, until another
    rank is the slowest.
    """
    recipe = {"attention": "flash", "grad_accum": 64}

    def seconds(*layers: int) -> float:
        cluster = {"gpus": 4, "pipeline_parallel": 4, "pipeline_layers": list(layers)}
        return step_time(job(recipe, cluster)).seconds

    assert seconds(8, 8, 8, 8) > seconds(9, 8, 8, 7)
    assert seconds(17, 5, 5, 5) > 1.6 * seconds(8, 8, 8, 8)
    assert seconds(9, 9, 9, 5) == pytest.approx(seconds(9, 9, 10, 4) * 9 / 10, rel=0.02)


def test_a_pipeline_waits_less_the_more_micro_batches_pass_through() -> None:
    def waits(micro_batches: int) -> float:
        cluster = {"gpus": 8, "pipeline_parallel": 4}
        found = step_time(job({"grad_accum": micro_batches}, cluster))
        return found.bubbles / found.seconds

    assert waits(4) > waits(8) > waits(32) > 0
    assert step_time(job({"grad_accum": 8})).bubbles == 0


def test_experts_that_are_shared_out_send_tokens_and_compute_no_less() -> None:
    name = "Qwen/Qwen3-30B-A3B"
    cluster = {"gpus": 8, "sharding": "zero3"}
    alone = step_time(job({"micro_batch": 4}, cluster, name))
    shared = step_time(job({"micro_batch": 4}, cluster | {"expert_parallel": 8}, name))
    assert shared.attention == alone.attention
    assert shared.products < alone.products, "fewer experts, more tokens each, less to gather"
    assert shared.seconds > 0


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
def test_gpus_add_speed_and_never_more_than_their_number(sharding: str) -> None:
    one, eight = job(), job(cluster={"gpus": 8, "sharding": sharding})
    assert replicas(eight) == 8
    assert step_tokens(eight) == 8 * step_tokens(one)
    assert 1 < pace(one) / pace(eight) < 10


def test_a_small_gpu_reads_its_own_memory_and_not_the_hosts() -> None:
    small = job({"params": "fp16"}, name="HuggingFaceTB/SmolLM2-360M", gpu="T4")
    assert 4_000 < 1 / pace(small) < 6_000


def test_without_a_gpu_the_usual_one_is_assumed() -> None:
    assert job_gpu(job(gpu=None)).name == "A100 80GB SXM"
