"""Instants against traced steps of real models, and what must hold for every step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import build
from unfrozen.errors import PlanError
from unfrozen.events import COMPONENTS, INSTANTS
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.optimizers import OPTIMIZERS
from unfrozen.job.recipe import Recipe
from unfrozen.memory.instants import Instants, Step, instants, peak
from unfrozen.model.catalogue import CATALOGUE

TRACED = json.loads((Path(build.ROOT) / "web" / "measurements" / "traced.json").read_text())
LLAMA_1B = CATALOGUE["meta-llama/Llama-3.2-1B"].model
LLAMA_7B = CATALOGUE["meta-llama/Llama-2-7b-hf"].model


def totals(found: Instants) -> dict[str, int]:
    return {name: sum(components.values()) for name, components in found.items()}


@pytest.mark.parametrize("row", TRACED, ids=[row["id"] for row in TRACED])
def test_the_peak_of_a_traced_step_is_met_to_a_tenth_of_a_percent(row: dict[str, Any]) -> None:
    job = Job.read(row["job"])
    found = instants(job.model, job.recipe)
    assert job.model.num_parameters == row["params"]
    assert peak(found)[1] == pytest.approx(row["peak_bytes"], rel=1e-3)
    assert totals(found)["end_of_backward"] == pytest.approx(
        row["end_of_backward"]["Total"], rel=1e-6
    )


@pytest.mark.parametrize("row", TRACED, ids=[row["id"] for row in TRACED])
def test_activations_and_casts_are_what_a_traced_forward_leaves(row: dict[str, Any]) -> None:
    job = Job.read(row["job"])
    components = instants(job.model, job.recipe)["end_of_forward"]
    gradient_of_the_loss = 2 * components["logits_loss"] // 3
    total = sum(components.values()) - gradient_of_the_loss
    assert total == pytest.approx(row["end_of_forward"]["Total"], rel=1e-4)


def test_names_are_those_of_the_event_log() -> None:
    found = instants(LLAMA_1B, Recipe.read({"params": "fp32", "step": "for_loop"}))
    assert list(found) == list(INSTANTS)
    assert {key for components in found.values() for key in components} <= set(COMPONENTS)


def test_without_accumulation_the_gradients_do_not_exist_at_the_end_of_forward() -> None:
    one, two = (instants(LLAMA_1B, Recipe.read({"grad_accum": n})) for n in (1, 2))
    assert "grads" not in one["end_of_forward"]
    assert two["end_of_forward"]["grads"] == 2 * LLAMA_1B.num_parameters


def test_gradients_that_are_used_up_in_backward_do_not_exist_after_it() -> None:
    used_up = Recipe.read({"optimizer_in_backward": True, "master": None})
    found = instants(LLAMA_1B, used_up)
    assert not [name for name in ("end_of_backward", "optimizer_step") if "grads" in found[name]]


def test_a_long_vocabulary_makes_the_loss_the_peak_and_checkpointing_the_backward() -> None:
    small = Recipe.read({"micro_batch": 8, "seq_len": 1024})
    assert peak(instants(LLAMA_1B, small))[0] == "end_of_forward"
    recomputed = Recipe.read({"checkpointing": "full", "grads": "bf16", "master": None})
    assert peak(instants(LLAMA_7B, recomputed))[0] == "backward"


def test_logits_are_counted_only_where_the_loss_looks() -> None:
    recipe = Recipe.read({"seq_len": 1024})
    some = instants(LLAMA_1B, recipe, loss_tokens=128)["end_of_forward"]["logits_loss"]
    everything = instants(LLAMA_1B, recipe)["end_of_forward"]["logits_loss"]
    assert everything == 12 * 1024 * 128256
    # with few positions, the head's weight gradient is a higher point than the loss itself
    assert some == 2 * 128 * (128256 + 2048)


@pytest.mark.parametrize("count", [0, -1, 2049])
def test_more_loss_tokens_than_tokens_are_refused(count: int) -> None:
    with pytest.raises(PlanError, match="loss_tokens"):
        instants(LLAMA_1B, Recipe(), loss_tokens=count)


@pytest.mark.parametrize(
    ("step", "extra"),
    [("fused", 0), ("foreach", 4 * LLAMA_7B.num_parameters), ("for_loop", 2 * 4 * 32000 * 4096)],
)
def test_the_update_needs_room_for_its_temporaries(step: str, extra: int) -> None:
    components = instants(LLAMA_7B, Recipe.read({"step": step}))["optimizer_step"]
    assert components.get("workspace", 0) == pytest.approx(extra, abs=2)


def test_bf16_logits_are_never_upcast_when_the_loss_says_so() -> None:
    fp32, bf16 = (
        instants(LLAMA_1B, Recipe.read({"loss": loss}))["end_of_forward"]["logits_loss"]
        for loss in ("logits_fp32", "logits_bf16")
    )
    assert fp32 == 2 * bf16


def test_sharding_the_weights_leaves_a_share_and_what_is_gathered() -> None:
    one = instants(LLAMA_7B, Recipe())
    eight = instants(LLAMA_7B, Recipe(), Cluster(8, "zero3"))
    assert eight["load"]["params"] == one["load"]["params"] // 8
    assert eight["end_of_forward"]["gathered"] > 0
    assert "gathered" not in eight["optimizer_step"]
    assert totals(eight)["end_of_forward"] < totals(one)["end_of_forward"]


def test_sharded_fp32_weights_are_gathered_in_16_bits_and_need_no_casts() -> None:
    recipe = Recipe.read({"params": "fp32"})
    one, eight = (instants(LLAMA_7B, recipe, cluster) for cluster in (None, Cluster(8, "zero3")))
    assert one["end_of_forward"]["workspace"] > 0
    assert "workspace" not in eight["end_of_forward"]
    assert eight["end_of_forward"]["activations"] < one["end_of_forward"]["activations"]


DENSE = [name for name, p in CATALOGUE.items() if p.model.architecture.experts is None]
recipes = st.fixed_dictionaries(
    {
        "params": st.sampled_from(["fp32", "bf16"]),
        "grads": st.sampled_from(["fp32", "bf16"]),
        "optimizer": st.sampled_from([*OPTIMIZERS]),
        "step": st.sampled_from(["fused", "foreach", "for_loop"]),
        "micro_batch": st.integers(1, 64),
        "seq_len": st.integers(1, 100_000),
        "grad_accum": st.integers(1, 4),
        "attention": st.sampled_from(["flash", "sdpa", "sdpa_masked", "eager"]),
        "checkpointing": st.sampled_from(["none", "full"]),
        "loss": st.sampled_from(["logits_fp32", "logits_bf16"]),
    }
)


@given(st.sampled_from(DENSE), recipes)
def test_more_tokens_never_need_less_memory(hub_id: str, given_recipe: dict[str, Any]) -> None:
    model = CATALOGUE[hub_id].model
    now = totals(instants(model, Recipe.read(given_recipe)))
    for key in ("seq_len", "micro_batch"):
        longer = given_recipe | {key: given_recipe[key] + 1}
        more = totals(instants(model, Recipe.read(longer)))
        assert not [name for name in now if not more[name] >= now[name]]


@given(st.sampled_from(DENSE), recipes, st.integers(1, 500), st.sampled_from(["zero1", "zero3"]))
def test_more_gpus_never_need_more_memory_each(
    hub_id: str, given_recipe: dict[str, Any], gpus: int, sharding: str
) -> None:
    model, recipe = CATALOGUE[hub_id].model, Recipe.read(given_recipe)
    few, many = (
        totals(instants(model, recipe, Cluster(n, sharding))) for n in (gpus + 1, gpus + 2)
    )
    assert not [name for name in few if not many[name] <= few[name]]


def test_one_loss_token_is_enough_and_its_logits_are_one_row() -> None:
    found = instants(LLAMA_1B, Recipe(), loss_tokens=1)
    assert found["end_of_forward"]["logits_loss"] > 0


def test_gradients_that_wait_for_all_micro_batches_are_whole_on_every_gpu() -> None:
    waits = Recipe.read({"no_sync": True, "grad_accum": 4})
    whole = 2 * LLAMA_1B.num_parameters
    for sharding, size in (("zero1", whole), ("zero2", whole)):
        step = Step(LLAMA_1B, waits, Cluster(8, sharding))
        assert step.micro_batch.grads_bytes == size
    assert Step(LLAMA_1B, Recipe(), Cluster(8, "zero2")).micro_batch.grads_bytes < whole


def test_of_a_rank_with_two_stages_the_one_that_needs_most_is_looked_at() -> None:
    interleaved = Cluster(4, pipeline_parallel=4, pipeline_schedule="interleaved")
    step = Step(LLAMA_7B, Recipe.read({"grad_accum": 8}), interleaved, rank=3)
    assert step.micro_batch.model.architecture.has_head
    alone = Step(LLAMA_7B, Recipe())
    assert (alone.rank, alone.in_flight) == (0, 0)


def test_two_gpus_with_whole_gradients_sum_them_in_buckets() -> None:
    assert Step(LLAMA_1B, Recipe(), Cluster(2)).buckets == 2 * LLAMA_1B.num_parameters
    assert Step(LLAMA_1B, Recipe()).buckets == 0
    assert Step(LLAMA_1B, Recipe(), Cluster(2, "zero1")).buckets == 0
