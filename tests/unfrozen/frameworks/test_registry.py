"""Every command of a framework, read back by its own rules, is the job that was planned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from conftest import matrix
from frameworks_read import read
from unfrozen.errors import PlanError
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan_job
from unfrozen.plan.layouts import clusters, layouts
from unfrozen.plan.step_time import step_time


def job(name: str = "meta-llama/Llama-3.1-8B", gpu: str = "H100", **recipe: Any) -> Job:
    usual = {"attention": "flash", "kernels": "fused", "seq_len": 4096}
    return Job.read({"model": CATALOGUE[name].config, "gpu": gpu, "recipe": usual | recipe})


def base(asked: Job) -> Job:
    """The same job on one GPU: nothing of a layout is left."""
    loss = "logits_fp32" if "parallel" in asked.recipe.loss else asked.recipe.loss
    size = {"micro_batch": 1, "grad_accum": 1, "checkpointing": "none", "loss": loss}
    recipe = replace(asked.recipe, **size)
    return replace(asked, cluster=Cluster(), recipe=recipe)


def taken(name: str, asked: Job, gpus: int) -> Iterator[Job]:
    """Jobs of every cluster that a framework takes, fitting or not."""
    for cluster in clusters(asked, gpus):
        for micro, accum, again in ((1, 1, "none"), (2, 8, "full"), (1, 16, "selective")):
            size = {"micro_batch": micro, "grad_accum": accum, "checkpointing": again}
            loss = "vocab_parallel" if cluster.tensor_parallel > 1 else asked.recipe.loss
            recipe = replace(asked.recipe, loss=loss, **size)
            try:
                yield FRAMEWORKS[name].adapt(replace(asked, cluster=cluster, recipe=recipe))
            except PlanError:
                continue


@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("gpus", matrix([1, 4, 16], 4))
@pytest.mark.parametrize("kernels", matrix(["fused", "eager"], "fused"))
def test_a_command_read_back_is_the_job_that_was_planned(
    name: str, gpus: int, kernels: str
) -> None:
    asked = job(kernels=kernels)
    count = 0
    for one in taken(name, asked, gpus):
        assert FRAMEWORKS[name].adapt(one) == one
        again = read(name, FRAMEWORKS[name].command(one), base(one))
        assert again == one
        count += 1
    assert count >= 2 or (name == "unsloth" and gpus > 1)


ADAPTERS: tuple[dict[str, Any], ...] = (
    {"method": "lora", "lora": {"rank": 8, "targets": ["q_proj", "v_proj"], "dropout": 0.1}},
    {"method": "lora", "lora": {"targets": ["all-linear", "embed_tokens", "lm_head"]}},
    {"method": "qlora", "lora": {"targets": ["q_proj", "lm_head"]}},
    {"method": "qlora", "base": "nf4-dq"},
    {"method": "qlora", "base": "int8"},
)


@pytest.mark.parametrize("name", ["accelerate", "deepspeed", "axolotl", "llama-factory", "unsloth"])
@pytest.mark.parametrize("gpus", [1, 4])
def test_adapters_are_read_back_as_planned(name: str, gpus: int) -> None:
    methods = set()
    for recipe in ADAPTERS:
        for one in taken(name, job(**recipe), gpus):
            assert FRAMEWORKS[name].adapt(one) == one
            assert read(name, FRAMEWORKS[name].command(one), base(one)) == one
            methods.add(one.recipe.method)
    none = name == ("deepspeed" if gpus == 1 else "unsloth")  # nothing to shard, or one GPU alone
    assert methods == (set() if none else {"lora", "qlora"})


@pytest.mark.parametrize("name", ["accelerate", "axolotl", "llama-factory", "unsloth"])
def test_a_quantized_base_is_typed_where_its_experts_are_planned_whole(name: str) -> None:
    whole = job("Qwen/Qwen1.5-MoE-A2.7B", method="qlora", whole_experts=True)
    found = list(taken(name, whole, 1))
    assert bool(found) == (name != "unsloth")
    for one in found:
        assert read(name, FRAMEWORKS[name].command(one), base(one)) == one
    assert not list(taken(name, job("Qwen/Qwen1.5-MoE-A2.7B", method="qlora"), 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchtitan", "megatron"])
def test_experts_are_shared_out_as_told(name: str) -> None:
    asked = job("Qwen/Qwen1.5-MoE-A2.7B")
    shared = [one for one in taken(name, asked, 4) if one.cluster.expert_parallel > 1]
    assert shared
    for one in shared:
        assert read(name, FRAMEWORKS[name].command(one), base(one)) == one


def unchanged(asked: Job) -> set[str]:
    """The frameworks that run exactly this job."""
    found = set()
    for name, framework in FRAMEWORKS.items():
        with suppress(PlanError):
            found |= {name} if framework.adapt(asked) == asked else set()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_layouts_of_a_framework_fit_and_keep_their_plan(name: str) -> None:
    gpus, gpu = (1, "H200") if name == "unsloth" else (8, "H100")
    found = layouts(job(gpu=gpu, seq_len=2048), gpus, 4 * gpus, FRAMEWORKS[name].adapt)
    assert found
    for one in found:
        again = read(name, FRAMEWORKS[name].command(one.job), base(one.job))
        assert plan_job(again).device_bytes == one.device_bytes
        assert plan_job(again).fits
        assert step_time(again) == one.time
        assert name in unchanged(one.job)


def test_a_framework_is_not_named_for_a_job_that_it_would_change() -> None:
    states = {"grads": "bf16", "grad_buckets": False}
    for loss, name in (("fused_linear", "deepspeed"), ("logits_fp32", "llama-factory")):
        one = replace(job(loss=loss, **states), cluster=Cluster(8, "zero2"))
        assert unchanged(one) == {name}
    assert not unchanged(replace(job(method="lora"), cluster=Cluster(8, "zero2")))
    assert not unchanged(replace(job(optimizer="lion"), cluster=Cluster(8, "zero2")))


@pytest.mark.parametrize(
    ("name", "cluster", "key"),
    [
        ("torchtitan", Cluster(8, "zero1"), "cluster.sharding"),
        ("torchtitan", Cluster(8, context_parallel=2), "cluster.context_parallel"),
        ("megatron", Cluster(8, "zero1", shard_size=4), "cluster.shard_size"),
        ("megatron", Cluster(6, pipeline_parallel=6), "cluster.pipeline_parallel"),
        ("accelerate", Cluster(8, "zero3", tensor_parallel=2), "cluster.tensor_parallel"),
        ("accelerate", Cluster(8, "zero1", context_parallel=2), "cluster.sharding"),
        ("deepspeed", Cluster(8), "cluster.sharding"),
        ("deepspeed", Cluster(8, "zero3", pipeline_parallel=2), "cluster.pipeline_parallel"),
        ("unfrozen", Cluster(8, "zero2"), "cluster.sharding"),
        ("unfrozen", Cluster(8, "zero3", context_parallel=2), "cluster.context_parallel"),
    ],
)
def test_what_a_framework_has_no_option_for_is_refused(
    name: str, cluster: Cluster, key: str
) -> None:
    with pytest.raises(PlanError) as refused:
        FRAMEWORKS[name].adapt(replace(job(), cluster=cluster))
    assert refused.value.key == key
    assert refused.value.remedy


def test_two_machines_are_started_from_each_and_one_alone() -> None:
    for name in ("torchtitan", "megatron", "unfrozen"):
        one, two = (
            FRAMEWORKS[name].command(FRAMEWORKS[name].adapt(replace(job(), cluster=cluster)))
            for cluster in (Cluster(8, "zero3"), Cluster(16, "zero3"))
        )
        assert "--standalone --nproc-per-node 8" in one
        assert "--nnodes 2 --nproc-per-node 8" in two
        assert "FIRST_HOST" in two
    for name in ("accelerate", "deepspeed"):
        asked = FRAMEWORKS[name].adapt(replace(job(), cluster=Cluster(16, "zero3")))
        assert "--num_machines 2 --num_processes 16" in FRAMEWORKS[name].command(asked)
