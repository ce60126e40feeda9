"""No setting is ignored: each value of each changes memory or time, or is refused, in every family.

A value is tried in each of `PLANS` where its setting applies; one of them has to show it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from conftest import matrix
from unfrozen.errors import PlanError
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.job import Job
from unfrozen.job.cluster import CLUSTER_SETTINGS
from unfrozen.job.lora import LORA_SETTINGS
from unfrozen.job.recipe import RECIPE_SETTINGS
from unfrozen.job.settings import Setting
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan_job
from unfrozen.plan.step_time import step_time

FAMILIES = {published.config["model_type"]: name for name, published in CATALOGUE.items()}
PEFT = {"library": "peft", "dtype": "fp32"}
ACCUMULATED = {"grad_accum": 8}
FUSED = {"kernels": "fused", "attention": "flash"}
PLANS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    *(({}, {}), ({"attention": "flash"}, {}), ({"attention": "efficient"}, {})),
    ({"attention": "eager", "checkpointing": "selective", "micro_batch": 2}, {}),
    ({**ACCUMULATED, **FUSED, "params": "fp32"}, {}),
    *(({"loss": "classification"}, {}), ({"master": None}, {}), ({"optimizer": "galore"}, {})),
    ({"master": None, "optimizer": "adafactor"}, {}),
    *(({"method": method}, {}) for method in ("lora", "qlora")),
    *(({"method": "lora", "lora": PEFT | more}, {}) for more in ({}, {"autocast": True})),
    ({"method": "lora", "lora": PEFT | {"targets": ["all-linear", "lm_head"]}}, {}),
    ({"method": "lora", "lora": PEFT | {"dropout": 0.1}}, {"gpus": 8, "sharding": "zero3"}),
    *((ACCUMULATED, {"gpus": 8, "sharding": name}) for name in ("none", "zero1", "zero2")),
    *(
        ({**ACCUMULATED, **FUSED, "params": dtype, "checkpointing": "full"}, where)
        for dtype in ("bf16", "fp32")
        for where in ({"gpus": 8, "sharding": "zero3"}, {"gpus": 8, "sharding": "zero2"})
    ),
    *(
        (ACCUMULATED | {"loss": loss}, {"gpus": 8, "tensor_parallel": 2, "sharding": "zero1"})
        for loss in ("logits_fp32", "vocab_parallel", "classification")
    ),
    *(
        (ACCUMULATED, {"gpus": 8, "pipeline_parallel": 2, "pipeline_schedule": schedule})
        for schedule in ("1f1b", "interleaved")
    ),
    *(({}, {"gpus": 8, "expert_parallel": 2, "tensor_parallel": ranks}) for ranks in (1, 2)),
)
SAME = {
    ("recipe.compute", "fp16"): "as wide as bf16",
    ("recipe.grad_buckets", "True"): "the default wherever it applies",
    (
        "recipe.dropout",
        "0.1",
    ): "some models drop by default, and a mask is as large whatever it drops",
    ("cluster.pipeline_chunks", "2"): "that is what the interleaved schedule has by default",
    ("recipe.rounding", "stochastic"): "it rounds within the update; the runner's command has it",
}
"""Values that change nothing, and why."""


def values(setting: Setting) -> tuple[Any, ...]:
    return {
        "choice": setting.values,
        "flag": (True, False),
        "whole": (2, 4, 64),
        "real": (0.1,),
        "names": (["q_proj"], ["in_proj"], ["dense_h_to_4h"]),
        "counts": ([1, 1],),
        "capacity": (1.25, "fullest"),
    }[setting.kind]


def changes(recipe: dict[str, Any], cluster: dict[str, Any]) -> Iterator[tuple[Setting, Any, Any]]:
    """Each value of each setting, with the recipe and the cluster that have it."""
    for setting in (*RECIPE_SETTINGS.values(), *CLUSTER_SETTINGS.values(), *LORA_SETTINGS.values()):
        for value in values(setting):
            own = {setting.name: value}
            if setting.part == "cluster":
                yield setting, value, (recipe, cluster | own)
            elif setting.part == "recipe":
                yield setting, value, (recipe | own, cluster)
            elif recipe.get("method") in ("lora", "qlora"):
                lora = recipe.get("lora", {}) | own
                yield setting, value, (recipe | {"lora": lora}, cluster)


def planned(config: Any, recipe: Any, cluster: Any) -> tuple[Job, object] | None:
    """The job, and all that its plan holds and takes; None where it is refused."""
    given = {"model": config, "gpu": "H100", "recipe": {"seq_len": 512} | recipe}
    try:
        job = Job.read({**given, "cluster": cluster})
        found = plan_job(job)
    except PlanError:
        return None
    return job, (found.device_bytes, found.instants, step_time(job))


def has(setting: Setting, job: Job) -> Any:
    part = job.cluster if setting.part == "cluster" else job.recipe
    value = getattr(job.recipe.lora if setting.part == "recipe.lora" else part, setting.name)
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("family", matrix(FAMILIES, "llama", "qwen3_moe", "qwen2_5_vl", "mamba"))
def test_every_value_of_every_setting_changes_the_plan_or_is_refused(family: str) -> None:
    config = CATALOGUE[FAMILIES[family]].config
    seen: dict[tuple[str, str], set[bool]] = defaultdict(set)
    for recipe, cluster in PLANS:
        base = planned(config, recipe, cluster)
        if base is None:
            continue
        for setting, value, job in changes(recipe, cluster):
            found = None if has(setting, base[0]) == value else planned(config, *job)
            if found and (setting.applies(base[0]) or setting.applies(found[0])):
                seen[setting.path, str(value)].add(found[1] != base[1])
    ignored = {key for key, shown in seen.items() if shown == {False}}
    assert ignored <= SAME.keys()
    assert len(seen) > 80


def test_every_setting_is_tried() -> None:
    tried = {setting.path for plan in PLANS for setting, _, _ in changes(*plan)}
    declared = (*RECIPE_SETTINGS.values(), *CLUSTER_SETTINGS.values(), *LORA_SETTINGS.values())
    assert tried == {setting.path for setting in declared}


SAME_TIME = {
    "recipe.lora.saved_fp32": "of embedding and head alone, once a step",
    "recipe.grad_buckets": "a copy of the gradients, once a step",
    "recipe.keeps_outputs": "tensors that live longer",
    "recipe.optimizer_in_backward": "the same update, earlier",
    "recipe.packed": "how long its documents are is not said",
    "recipe.projection_rank": "products of a few columns, once a step",
    "recipe.reentrant": "where all layers have experts, both kinds repeat all of a layer",
    "recipe.router_held": "tensors that live longer",
    "recipe.whole_compile": "the kernels are those of `kernels`",
    "recipe.zero_in_place": "tensors that live longer",
    "cluster.whole_embedding": "what is looked up is as wide",
}
"""Settings of memory alone, and why."""


@pytest.mark.parametrize("family", matrix(FAMILIES, "llama", "qwen3_moe", "qwen2_5_vl"))
def test_every_setting_but_those_of_memory_alone_changes_the_time(family: str) -> None:
    config = CATALOGUE[FAMILIES[family]].config
    seen: dict[str, set[bool]] = defaultdict(set)
    for recipe, cluster in PLANS:
        base = planned(config, recipe, cluster)
        for setting, value, job in changes(recipe, cluster) if base else ():
            found = None if has(setting, base[0]) == value else planned(config, *job)
            if found and (setting.applies(base[0]) or setting.applies(found[0])):
                seen[setting.path].add(found[1][2] != base[1][2])
    assert {path for path, shown in seen.items() if shown == {False}} <= SAME_TIME.keys()
    assert len(seen) > 30


def told(job: Job) -> object:
    """What a plan of a job says."""
    found = plan_job(job)
    return found.device_bytes, found.instants, step_time(job)


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("family", matrix(["llama", "qwen3_moe", "qwen2_5_vl"], "qwen3_moe"))
def test_no_command_of_a_framework_stands_for_two_plans(name: str, family: str) -> None:
    config, count = CATALOGUE[FAMILIES[family]].config, 0
    written: dict[str, Job] = {}
    for plan in PLANS:
        for recipe, cluster in (plan, *(job for _, _, job in changes(*plan))):
            given = {"model": config, "gpu": "H100", "recipe": {"seq_len": 512} | recipe}
            try:
                job = FRAMEWORKS[name].adapt(Job.read({**given, "cluster": cluster}))
            except PlanError:
                continue
            if name == "torchtitan":  # CONFIG names the loss
                job = replace(job, recipe=replace(job.recipe, loss="chunked"))
            text, count = FRAMEWORKS[name].command(job), count + 1
            if written.setdefault(text, job) != job:
                assert told(written[text]) == told(job), text
    assert count >= 50
    assert len(written) >= 5
