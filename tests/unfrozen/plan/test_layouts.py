"""Layouts: what is listed fits, the first of them is what trying everything finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import pytest

from conftest import matrix
from unfrozen.errors import PlanError
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.job import Job
from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan_job
from unfrozen.plan.layouts import (
    LEAST_CHUNK,
    NEAR,
    clusters,
    job_on_fewest_gpus,
    layouts,
    linked_gpus,
    step_sequences,
)
from unfrozen.plan.solve import min_gpus
from unfrozen.plan.step_time import step_time

SEVERAL = (1, 2, 3, 4, 6, 8, 12, 16)


def job(name: str = "meta-llama/Llama-3.1-8B", gpu: str = "H100", **recipe: Any) -> Job:
    usual = {"params": "fp32", "attention": "flash", "kernels": "fused"}
    return Job.read({"model": CATALOGUE[name].config, "gpu": gpu, "recipe": usual | recipe})


def everything(asked: Job, gpus: int, sequences: int) -> Iterator[Job]:
    """Every job that trains the same sequences on these GPUs, legal or refused by its reader."""
    experts = asked.model.architecture.experts
    ranks = [count for count in SEVERAL if gpus % count == 0]
    others = [count for count in SEVERAL if experts and experts.count % count == 0] or [1]
    for tensor, context, pipeline, expert in product(ranks, ranks, ranks, others):
        alike = gpus // (tensor * context * pipeline)
        if alike * tensor * context * pipeline != gpus or sequences % alike:
            continue
        for sharding, schedule, near in product(SHARDINGS, ("1f1b", "interleaved"), (None, 2, 4)):
            for micro, again in product(
                range(1, sequences // alike + 1), ("none", "selective", "full")
            ):
                if sequences // alike % micro:
                    continue
                cluster = {
                    "gpus": gpus,
                    "sharding": sharding,
                    "tensor_parallel": tensor,
                    "sequence_parallel": tensor > 1,
                    "context_parallel": context,
                    "pipeline_parallel": pipeline,
                    "pipeline_schedule": schedule,
                    "expert_parallel": expert,
                    "expert_tensor_parallel": 1 if tensor > 1 and expert > 1 else None,
                    "shard_size": near,
                }
                recipe = {
                    "micro_batch": micro,
                    "grad_accum": sequences // alike // micro,
                    "checkpointing": again,
                }
                if tensor > 1 and asked.recipe.loss == "logits_fp32":
                    recipe["loss"] = "vocab_parallel"
                yield from legal(asked, cluster, recipe)


def legal(asked: Job, cluster: dict[str, Any], recipe: dict[str, Any]) -> Iterator[Job]:
    assert asked.gpu
    given = {
        "model": CATALOGUE_OF[asked.model.num_parameters],
        "gpu": asked.gpu.name,
        "recipe": asdict(asked.recipe) | recipe,
        "cluster": cluster,
    }
    try:
        found = Job.read(given)
    except PlanError:
        return
    rounds = found.cluster.pipeline_parallel if cluster["pipeline_schedule"] != "1f1b" else 1
    shared = found.cluster.context_parallel
    halves = 2 * shared if shared > 1 else 1
    odd = found.recipe.grad_accum % rounds or found.recipe.seq_len % halves
    odd = odd or (shared > 1 and found.recipe.seq_len < shared * LEAST_CHUNK)
    near = found.cluster.tensor_parallel <= linked_gpus(found)
    spread = found.cluster.shard_size in (None, linked_gpus(found) // found.cluster.tensor_parallel)
    alone = found.cluster.alike == 1 and found.cluster.stage  # has nothing to shard
    if near and not odd and spread and not alone:
        yield found


CATALOGUE_OF = {entry.num_parameters: entry.config for entry in CATALOGUE.values()}


@pytest.mark.parametrize(
    ("name", "gpu", "gpus", "sequences", "recipe"),
    matrix(
        [
            ("HuggingFaceTB/SmolLM2-360M", "RTX 4090", 4, 8, {"seq_len": 2048}),
            ("meta-llama/Llama-3.2-3B", "RTX 4090", 4, 4, {"seq_len": 4096}),
            ("meta-llama/Llama-3.1-8B", "H100", 4, 8, {"seq_len": 8192}),
            ("meta-llama/Llama-3.1-8B", "A100-80GB", 8, 8, {"params": "bf16", "seq_len": 8192}),
            ("meta-llama/Llama-3.1-8B", "H100", 6, 6, {"seq_len": 32_768}),
            ("Qwen/Qwen1.5-MoE-A2.7B", "H200", 4, 4, {"params": "bf16", "seq_len": 2048}),
        ],
        ("HuggingFaceTB/SmolLM2-360M", "RTX 4090", 4, 8, {"seq_len": 2048}),
        ("Qwen/Qwen1.5-MoE-A2.7B", "H200", 4, 4, {"params": "bf16", "seq_len": 2048}),
    ),
)
@pytest.mark.slow
def test_the_best_is_what_trying_everything_finds(
    name: str, gpu: str, gpus: int, sequences: int, recipe: dict[str, Any]
) -> None:
    asked = job(name, gpu, **recipe)
    tried = everything(asked, gpus, sequences)
    fitting = [one for one in tried if plan_job(one).fits]
    found = layouts(asked, gpus, sequences)
    assert bool(found) == bool(fitting)
    if fitting:
        fastest = min(step_time(one).seconds for one in fitting)
        assert min(one.seconds for one in found) == pytest.approx(fastest)
        assert found[0].seconds <= (1 + NEAR) * fastest
        assert {one.job for one in found} <= set(fitting)
        assert found[0].job in fitting


@pytest.mark.slow
def test_what_is_listed_fits_and_trains_the_same_sequences() -> None:
    asked = job(seq_len=8192)
    found = layouts(asked, 16, 64, most=40)
    assert len({one.job.cluster for one in found}) == len(found) == 40
    assert {one.job for one in layouts(asked, 16, 64, most=7)} <= {one.job for one in found[:8]}
    for one in found:
        again = plan_job(one.job)
        assert again.fits
        assert again.device_bytes == one.device_bytes
        assert one.sequences == 64
        assert one.tokens_per_second == 64 * 8192 / one.seconds
        assert one.seconds == step_time(one.job).seconds
        assert one.job.cluster.gpus == 16
    assert [one.seconds for one in found[1:]] == sorted(one.seconds for one in found[1:])


def test_a_step_keeps_its_sequences_and_grows_with_the_gpus() -> None:
    asked = job(micro_batch=2, grad_accum=4)
    assert step_sequences(asked, 1) == 8
    assert step_sequences(asked, 16) == 128
    eight = replace(asked, cluster=Cluster(8, "zero3"))
    assert step_sequences(eight, 8) == 64
    assert step_sequences(eight, 1) == 8


def test_a_framework_that_refuses_a_layout_is_not_offered_it() -> None:
    def only_data(asked: Job) -> Job:
        if asked.cluster.tensor_parallel > 1:
            raise PlanError("cluster.tensor_parallel", 2, "not here", "use data")
        return asked

    found = layouts(job(seq_len=4096), 8, 16, only_data)
    assert found
    assert {one.job.cluster.tensor_parallel for one in found} == {1}


def test_the_fewest_gpus_are_found_with_recomputation_and_one_less_holds_no_layout() -> None:
    asked = plan_job(job("Qwen/Qwen3-32B", seq_len=2048, params="bf16"))
    found = job_on_fewest_gpus(asked)
    assert found
    assert plan_job(found).fits
    assert found.recipe.checkpointing != "none"
    assert found.cluster.gpus < min_gpus(asked)
    assert not layouts(asked.job, found.cluster.gpus - 1)


def test_the_fewest_gpus_are_not_more_than_those_of_the_plan_under_zero3() -> None:
    for gpu in ("H100", "A100-40GB", "L4"):
        asked = plan_job(job("meta-llama/Llama-3.2-3B", gpu, params="bf16"))
        found = job_on_fewest_gpus(asked)
        assert found
        assert found.cluster.gpus <= min_gpus(asked)


def test_the_simplest_of_those_near_the_fastest_goes_first() -> None:
    takes = FRAMEWORKS["torchtitan"].adapt
    found = layouts(job(seq_len=4096, kernels="eager"), 8, 64, takes)
    fastest = min(found, key=lambda one: one.seconds)
    assert fastest.job.cluster.tensor_parallel == 2
    assert found[0].job.cluster.replicas == 8
    assert found[0].seconds <= (1 + NEAR) * fastest.seconds


def test_a_sequence_is_split_where_each_gpu_gets_enough_of_it() -> None:
    for length, most in ((4096, 1), (8192, 2), (16_384, 4)):
        found = {one.context_parallel for one in clusters(job(seq_len=length), 8)}
        assert max(found) == most


def test_one_gpu_offloads_by_the_stages_that_do() -> None:
    asked = replace(job(), cluster=Cluster(offload="params"))
    assert {one.sharding for one in clusters(asked, 1)} == {"zero3"}


@pytest.mark.slow
def test_the_fewest_gpus_of_a_long_sequence_share_it() -> None:
    asked = job(seq_len=1_048_576, loss="fused_linear", checkpointing="full")
    assert min_gpus(plan_job(asked)) == 0
    found = job_on_fewest_gpus(plan_job(asked))
    assert found
    assert plan_job(found).fits
    assert found.cluster.context_parallel > 1
    assert not layouts(asked, found.cluster.gpus // 2)


def test_what_no_number_of_gpus_holds_has_no_fewest() -> None:
    model = CATALOGUE["openai-community/gpt2"].config
    one = {"seq_len": 1024, "micro_batch": 4096, "loss": "logits_fp32"}
    asked = Job.read({"model": model, "gpu": "T4", "recipe": one | {"params": "fp16"}})
    assert job_on_fewest_gpus(plan_job(asked)) is not None  # a step of 4,096 sequences can be cut
    tiny = Job.read({"model": model, "gpu": "T4", "recipe": {"params": "fp16"}})
    assert job_on_fewest_gpus(plan_job(tiny)) == tiny


def test_a_job_that_no_layout_holds_has_none() -> None:
    assert layouts(job("meta-llama/Llama-3.1-70B", "L4"), 2) == []


@pytest.mark.parametrize(
    ("gpus", "sequences", "key"),
    [(0, 8, "gpus"), (5000, 8, "gpus"), (8, 0, "sequences"), (8, 10**7, "sequences")],
)
def test_a_number_that_cannot_be_searched_is_refused(gpus: int, sequences: int, key: str) -> None:
    with pytest.raises(PlanError) as refused:
        layouts(job(), gpus, sequences)
    assert refused.value.key == key
