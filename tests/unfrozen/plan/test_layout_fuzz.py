"""Layouts drawn at random: finite numbers that add up and fall where they must, or one refusal."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from unfrozen.answer import answer
from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.job.cluster import SCHEDULES, SHARDINGS
from unfrozen.job.optimizers import OPTIMIZERS
from unfrozen.memory.explain import explain
from unfrozen.memory.instants import Step
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import Plan, plan

DENSE, SPARSE = "meta-llama/Llama-3.2-1B", "Qwen/Qwen3-30B-A3B"
ranks = st.sampled_from([1, 2, 3, 4, 8])
layouts = st.fixed_dictionaries(
    {"gpus": st.sampled_from([1, 2, 4, 8, 16, 48, 64])},
    optional={
        "sharding": st.sampled_from(SHARDINGS),
        "shard_size": ranks,
        "tensor_parallel": st.sampled_from([1, 2, 4]),
        "sequence_parallel": st.booleans(),
        "context_parallel": st.sampled_from([1, 2]),
        "pipeline_parallel": ranks,
        "pipeline_schedule": st.sampled_from(SCHEDULES),
        "pipeline_chunks": st.sampled_from([None, 1, 2, 3]),
        "expert_parallel": ranks,
        "expert_tensor_parallel": st.sampled_from([None, 1, 2]),
    },
)
recipes = st.fixed_dictionaries(
    {"grad_accum": st.sampled_from([1, 2, 4, 8, 16, 17])},
    optional={
        "checkpointing": st.sampled_from(["none", "selective", "full"]),
        "kernels": st.sampled_from(["eager", "fused"]),
        "attention": st.sampled_from(["flash", "eager"]),
        "params": st.sampled_from(["fp32", "bf16"]),
        "seq_len": st.sampled_from([16, 1024]),
        "method": st.sampled_from(["full", "lora"]),
        "optimizer": st.sampled_from([*OPTIMIZERS]),
        "activation_offload": st.booleans(),
    },
)


def planned(hub_id: str, recipe: dict[str, Any], cluster: dict[str, Any]) -> Plan | None:
    """The plan, or None where it is refused in one line."""
    try:
        return plan({"model": dict(CATALOGUE[hub_id].config), "recipe": recipe, "cluster": cluster})
    except PlanError as error:
        return _one_line(error)


def _one_line(error: PlanError) -> None:
    assert "\n" not in str(error)


@given(st.sampled_from([DENSE, SPARSE, "openai-community/gpt2"]), recipes, layouts)
@example(
    "Qwen/Qwen3-30B-A3B",
    {"checkpointing": "selective", "attention": "eager", "seq_len": 16, "grad_accum": 2},
    {"gpus": 1},
)
def test_any_layout_is_planned_in_numbers_that_add_up_or_refused(
    hub_id: str, recipe: dict[str, Any], cluster: dict[str, Any]
) -> None:
    found = planned(hub_id, recipe, cluster)
    if found is None:
        return
    for parts in found.instants.values():
        assert not [size for size in parts.values() if not (type(size) is int and size > 0)]
    terms = explain(found)
    assert sum(term.bytes for term in terms) == found.allocated_bytes
    assert not [term for term in terms if not term.bytes > 0]
    json.dumps(answer(found, with_advice=False), allow_nan=False)


@given(recipes, st.sampled_from(SCHEDULES), st.sampled_from(["none", "zero1"]))
def test_more_stages_never_take_more_weights_on_a_gpu(
    recipe: dict[str, Any], schedule: str, sharding: str
) -> None:
    weights = []
    for count in (2, 4, 8):
        layout = {"gpus": 8, "sharding": sharding, "pipeline_parallel": count}
        layout["pipeline_schedule"] = schedule
        given = {**recipe, "grad_accum": 16}
        found = planned(DENSE, given, layout)
        if found is not None:
            job = found.job
            steps = (
                Step(job.model, job.recipe, job.cluster, rank=rank).states["params"]
                for rank in range(count)
            )
            weights.append(max(steps))
    assert not [(fewer, more) for fewer, more in pairwise(weights) if not fewer >= more]


@given(recipes, st.sampled_from(["none", "zero1", "zero2"]))
def test_more_gpus_that_share_experts_out_never_hold_more_of_them(
    recipe: dict[str, Any], sharding: str
) -> None:
    layout = {"gpus": 8, "sharding": sharding}
    found = [planned(SPARSE, recipe, {**layout, "expert_parallel": n}) for n in (1, 2, 4, 8)]
    weights = [one.instants["load"]["params"] for one in found if one is not None]
    assert not [(fewer, more) for fewer, more in pairwise(weights) if not fewer > more]


@given(recipes, st.sampled_from(["zero1", "zero2", "zero3"]))
def test_states_shared_among_fewer_gpus_are_never_less(
    recipe: dict[str, Any], sharding: str
) -> None:
    layout = {"gpus": 64, "sharding": sharding}
    found = [planned(DENSE, recipe, {**layout, "shard_size": n}) for n in (8, 16, 64)]
    sizes = [one.allocated_bytes for one in found if one is not None]
    assert not [(fewer, more) for fewer, more in pairwise(sizes) if not fewer >= more]
    whole = planned(DENSE, recipe, layout)
    assert whole is None or sizes[-1] == whole.allocated_bytes


def test_groups_of_eight_hold_what_eight_gpus_hold() -> None:
    groups = Job.read(
        {
            "model": dict(CATALOGUE[DENSE].config),
            "cluster": {"gpus": 64, "sharding": "zero3", "shard_size": 8},
        }
    )
    eight = Job.read(
        {"model": dict(CATALOGUE[DENSE].config), "cluster": {"gpus": 8, "sharding": "zero3"}}
    )
    held = [Step(job.model, job.recipe, job.cluster).instants() for job in (groups, eight)]
    assert held[0] == held[1]
    assert (groups.cluster.replicas, eight.cluster.replicas) == (64, 8)
