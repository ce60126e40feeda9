"""Whatever a job holds: finite numbers that add up and grow where they must, or one refusal."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from unfrozen.answer import answer
from unfrozen.errors import PlanError
from unfrozen.job import read_model
from unfrozen.job.framework_defaults import FRAMEWORKS
from unfrozen.job.optimizers import OPTIMIZERS
from unfrozen.memory.explain import explain
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import Plan, plan
from unfrozen.units import GIB

odd = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats()
    | st.sampled_from(["fp32", "bf16", "int8", "nf4", "zero3", "full", "lora", "eager", "T4", ""])
    | st.text(max_size=3)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(
        st.sampled_from(["rank", "dtype", "dropout", "autocast", "x"]), st.integers(), max_size=2
    )
)
KEYS = {
    "model": [*CATALOGUE["Qwen/Qwen3-30B-A3B"].config, "attention_bias", "architectures"],
    "recipe": [
        *("method", "params", "compute", "master", "grads", "optimizer", "moments", "paged"),
        *("optimizer_in_backward", "step", "micro_batch", "seq_len", "grad_accum", "attention"),
        *("kernels", "checkpointing", "activation_offload", "dropout", "loss", "lora", "base"),
        *("no_sync", "reduce", "grad_buckets", "keeps_outputs", "compiled_loss", "whole_compile"),
        *("checkpoint_every", "expert_padding", "router_held", "projection_rank"),
        *("experts_cast", "torch_delta", "frozen_tower"),
    ],
    "cluster": [
        *("gpus", "sharding", "tensor_parallel", "sequence_parallel", "context_parallel"),
        "offload",
    ],
}
RECIPES: dict[str, st.SearchStrategy[Any]] = {
    "method": st.sampled_from(["full", "lora", "qlora"]),
    "params": st.sampled_from(["fp32", "bf16", "fp16"]),
    "optimizer": st.sampled_from([*OPTIMIZERS]),
    "moments": st.sampled_from(["fp32", "bf16", "int8", None]),
    "master": st.sampled_from([None, "fp32"]),
    "attention": st.sampled_from(["flash", "sdpa", "sdpa_masked", "eager"]),
    "kernels": st.sampled_from(["eager", "fused", "fused_block"]),
    "checkpointing": st.sampled_from(["none", "selective", "full"]),
    "loss": st.sampled_from(
        ["logits_fp32", "logits_bf16", "chunked", "fused_linear", "fused_vocab", "vocab_parallel"]
    ),
    "no_sync": st.booleans(),
    "reduce": st.sampled_from(["fp32", "bf16", None]),
    "grad_buckets": st.sampled_from([None, True, False]),
    "keeps_outputs": st.booleans(),
    "compiled_loss": st.sampled_from([None, True, False]),
    "expert_padding": st.sampled_from([None, 1, 1.25, 4, "fullest"]),
    "router_held": st.booleans(),
    "experts_cast": st.booleans(),
    "torch_delta": st.booleans(),
    "frozen_tower": st.booleans(),
    "optimizer_in_backward": st.booleans(),
    "dropout": st.sampled_from([0, 0.1]),
    "compute": st.sampled_from(["bf16", "fp32", "fp8", "mxfp8", "nvfp4", "int8"]),
    "micro_batch": st.integers(1, 64),
    "seq_len": st.integers(2, 40_000),
    "grad_accum": st.integers(1, 8),
    "paged": st.booleans(),
    "activation_offload": st.booleans(),
    "step": st.sampled_from(["fused", "foreach", "for_loop", "sub_groups"]),
}
legal_values = st.fixed_dictionaries({}, optional=RECIPES)
models = st.sampled_from(sorted(CATALOGUE))
ways_to_share = st.fixed_dictionaries(
    {},
    optional={
        "tensor_parallel": st.sampled_from([1, 2, 4]),
        "sequence_parallel": st.booleans(),
        "context_parallel": st.sampled_from([1, 2]),
        "offload": st.sampled_from(["none", "optimizer", "params"]),
    },
)


def planned(job: dict[str, Any]) -> Plan | None:
    """The plan of a job, checked for what every plan must be, or None where it is refused."""
    try:
        found = plan(job)
    except PlanError as error:
        return _one_line(error)
    for parts in found.instants.values():
        assert not [size for size in parts.values() if not (type(size) is int and size > 0)]
    assert found.allocated_bytes == max(sum(parts.values()) for parts in found.instants.values())
    assert found.allocated_bytes <= found.reserved_bytes < found.device_bytes
    return found


def _one_line(error: PlanError) -> None:
    assert "\n" not in str(error)


@given(models, st.data())
def test_any_job_is_planned_in_finite_numbers_or_refused(hub_id: str, data: st.DataObject) -> None:
    job: dict[str, Any] = {
        "model": dict(CATALOGUE[hub_id].config),
        "recipe": {"params": "bf16", "micro_batch": 2, "seq_len": 128},
        "cluster": {"gpus": 2, "sharding": "zero2"},
        "gpu": "H100",
    }
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(["model", "recipe", "cluster", "job"]))
        part = job.get(name, job)
        if isinstance(part, dict):
            key = data.draw(st.sampled_from([*KEYS.get(name, job), "unknown"]))
            part[key] = data.draw(odd)
    found = planned(job)
    if found is not None:
        values: dict[str, Any] = answer(found)
        json.dumps(values, allow_nan=False)
        total = sum(values["instants"][values["peak_instant"]].values())
        assert math.isclose(total / GIB, values["allocated_gib"])
        assert values["min_gpus"] >= 0
        terms = explain(found)
        assert sum(term.bytes for term in terms) == found.allocated_bytes
        assert not [term for term in terms if not term.bytes > 0]


@given(
    models,
    legal_values,
    ways_to_share,
    st.sampled_from(["none", "zero2", "zero3"]),
    st.sampled_from(["micro_batch", "seq_len"]),
    st.integers(1, 5000),
)
@example(  # a layer of experts freed more than it kept, where GPUs share the sequence
    "Qwen/Qwen3-30B-A3B",
    {"grad_accum": 1, "seq_len": 2},
    {"tensor_parallel": 4, "sequence_parallel": True},
    "zero2",
    "micro_batch",
    1,
)
@example("openai-community/gpt2", {}, {}, "none", "seq_len", 1023)  # one token too many
def test_more_tokens_never_take_less_memory(
    hub_id: str,
    recipe: dict[str, Any],
    shared: dict[str, Any],
    sharding: str,
    key: str,
    more: int,
) -> None:
    fewer = {
        "model": CATALOGUE[hub_id].config,
        "recipe": {key: 2} | recipe,
        "cluster": {"gpus": 8, "sharding": sharding} | shared,
    }
    changed = {key: fewer["recipe"][key] + more}
    first, second = planned(fewer), planned(fewer | {"recipe": fewer["recipe"] | changed})
    most = read_model(CATALOGUE[hub_id].config).architecture.positions or math.inf
    too_long = key == "seq_len" and changed[key] > most >= fewer["recipe"][key]
    assert second is None if too_long else (first is None) == (second is None)
    if first and second:
        assert second.device_bytes >= first.device_bytes
        for name, parts in first.instants.items():
            assert sum(second.instants[name].values()) >= sum(parts.values())


@given(
    models,
    legal_values,
    ways_to_share,
    st.sampled_from(["zero1", "zero2", "zero3"]),
    st.lists(st.integers(2, 5000), min_size=2, max_size=4),
)
def test_more_gpus_under_zero_never_take_more_on_each(
    hub_id: str,
    recipe: dict[str, Any],
    shared: dict[str, Any],
    sharding: str,
    replicas: list[int],
) -> None:
    unit = shared.get("tensor_parallel", 1) * shared.get("context_parallel", 1)
    job = {"model": CATALOGUE[hub_id].config, "recipe": recipe}
    plans = [
        planned(job | {"cluster": shared | {"gpus": unit * count, "sharding": sharding}})
        for count in sorted(replicas)
    ]
    for fewer, more in pairwise(found for found in plans if found):
        assert more.device_bytes <= fewer.device_bytes


@given(models, legal_values)
def test_a_higher_stage_of_zero_never_holds_more_states(
    hub_id: str, recipe: dict[str, Any]
) -> None:
    job = {"model": CATALOGUE[hub_id].config, "recipe": recipe}
    stages = [
        planned(job | {"cluster": {"gpus": 8, "sharding": name}})
        for name in ("none", "zero1", "zero2", "zero3")
    ]
    states = ("params", "master", "grads", "moments")
    for lower, higher in pairwise(found for found in stages if found):
        last = [p.instants["optimizer_step"] for p in (lower, higher)]
        held = [sum(parts.get(name, 0) for name in states) for parts in last]
        assert held[1] <= held[0]


GROWING: dict[str, list[Any]] = {
    "no_sync": [False, True],
    "keeps_outputs": [False, True],
    "router_held": [False, True],
    "grad_buckets": [False, True],
    "compiled_loss": [True, False],
    "checkpoint_every": [1, 2, 3, 7, 100],
    "expert_padding": [1, 1.25, 2, 8],
    "projection_rank": [1, 8, 128, 4096],
    "reduce": ["bf16", "fp32"],
}
"""Words of a recipe with values of which each needs as much as the one before, or more."""
NEEDED: dict[str, dict[str, Any]] = {
    "checkpoint_every": {"checkpointing": "full"},
    "projection_rank": {"optimizer": "galore", "method": "full"},
}


@given(
    models,
    legal_values,
    ways_to_share,
    st.sampled_from(["none", "zero1", "zero2", "zero3"]),
    st.sampled_from(sorted(GROWING)),
)
def test_a_word_that_holds_more_never_takes_less(
    hub_id: str, recipe: dict[str, Any], shared: dict[str, Any], sharding: str, key: str
) -> None:
    asked = {name: value for name, value in recipe.items() if name not in ("lora", key)}
    if key == "checkpoint_every":  # a layer that is made again leaves its router's graph, and is
        asked.pop("router_held", None)  # made beside what the layers before it bring back
        asked.pop("activation_offload", None)
    job = {"model": CATALOGUE[hub_id].config, "cluster": {"gpus": 8, "sharding": sharding} | shared}
    plans = [
        planned(job | {"recipe": asked | NEEDED.get(key, {}) | {key: value}})
        for value in GROWING[key]
    ]
    for less, more in pairwise(found for found in plans if found):
        assert more.allocated_bytes + _input_bytes(less, key) >= less.allocated_bytes


def _input_bytes(less: Plan, key: str) -> int:
    """A layer that is made again keeps its input beside the wider copy that its norm reads."""
    hidden = less.job.model.architecture.hidden
    return 4 * hidden * less.job.recipe.tokens if key == "checkpoint_every" else 0


@given(
    models,
    legal_values,
    ways_to_share,
    st.sampled_from(["none", "zero2", "zero3"]),
    st.sampled_from(sorted(FRAMEWORKS)) | st.text(max_size=3),
)
def test_any_framework_is_planned_or_refused(
    hub_id: str, recipe: dict[str, Any], shared: dict[str, Any], sharding: str, name: str
) -> None:
    job = {"model": CATALOGUE[hub_id].config, "recipe": recipe, "framework": name}
    found = planned(job | {"cluster": {"gpus": 8, "sharding": sharding} | shared})
    if found is not None:
        assert sum(term.bytes for term in explain(found)) == found.allocated_bytes
