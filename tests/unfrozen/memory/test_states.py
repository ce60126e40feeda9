"""Bytes per parameter of each recipe, and ZeRO by the formulas of its paper."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.classic import states_bytes
from unfrozen.memory.instants import Step
from unfrozen.memory.states import STATE_TABLE, moment_bytes, per_gpu_bytes, state_bytes
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE

PSI = 7.5e9  # the example of the paper: 120 GB unsharded, on 64 gpus 31.4, 16.6 and 1.9 GB
MODEL = CATALOGUE["meta-llama/Llama-2-7b-hf"].model
MATRIX: dict[str, Any] = {
    "model_type": "gpt2",
    "n_embd": 64,
    "n_layer": 1,
    "n_head": 4,
    "n_positions": 32,
    "vocab_size": 100,
}


@pytest.mark.parametrize(
    ("given", "each"),
    [
        ({}, 16),
        ({"params": "fp32"}, 16),
        ({"grads": "fp32"}, 18),
        ({"master": None}, 8),
        ({"master": None, "moments": "int8"}, 6.03),
        ({"optimizer": "sgd_momentum"}, 12),
        ({"optimizer": "sgd"}, 8),
        ({"optimizer": "lion"}, 12),
        ({"optimizer": "adafactor"}, 8),
        ({"ema": True}, 20),
        ({"ema": True, "optimizer": "sgd"}, 12),
    ],
)
def test_states_take_so_many_bytes_a_parameter(given: dict[str, Any], each: float) -> None:
    total = sum(state_bytes(MODEL, Recipe.read(given)).values())
    assert total / MODEL.num_parameters == pytest.approx(each, abs=0.01)


def test_adafactor_keeps_a_number_for_each_row_and_each_column() -> None:
    model = ModelConfig.from_hf(MATRIX)
    matrices = [t.shape for t in model.tensors if len(t.shape) == 2]
    vectors = [t.size for t in model.tensors if len(t.shape) == 1]
    expected = 4 * (sum(map(sum, matrices)) + sum(vectors) + len(model.tensors))  # step counts
    assert moment_bytes(model, Recipe.read({"optimizer": "adafactor"})) == expected


def test_adafactor_treats_stacked_experts_as_matrices() -> None:
    model = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].model
    share = moment_bytes(model, Recipe.read({"optimizer": "adafactor"})) / model.num_parameters
    assert share < 0.01


def test_small_tensors_keep_full_precision_moments_in_8_bit_optimizers() -> None:
    model = ModelConfig.from_hf(MATRIX)
    small = sum(4 * t.size for t in model.tensors if t.size < 4096)
    large = sum(t.size + 4 * -(-t.size // 256) for t in model.tensors if t.size >= 4096)
    counters = 4 * len(model.tensors)
    assert moment_bytes(model, Recipe.read({"moments": "int8"})) == 2 * (small + large) + counters


def test_adamw_counts_the_steps_of_every_tensor() -> None:
    for hub_id in ("Qwen/Qwen3-30B-A3B", "openai-community/gpt2"):
        model = CATALOGUE[hub_id].model
        counters = 4 * len(model.tensors)
        assert moment_bytes(model, Recipe()) == 8 * model.num_parameters + counters


def test_the_optimizer_table_holds_the_common_recipes() -> None:
    totals = {row.recipe: row.total for row in STATE_TABLE}
    assert totals["AdamW, mixed precision"] == 16
    assert totals["AdamW, fp32 and autocast"] == 16
    assert totals["AdamW, fp32 main gradients"] == 18
    assert totals["AdamW, pure bf16"] == 8
    assert totals["AdamW, pure bf16, 8-bit moments"] == pytest.approx(6.03, abs=0.01)
    assert totals["LOMO"] == 2
    llama = CATALOGUE["meta-llama/Llama-2-7b-hf"].model
    held = state_bytes(llama, Recipe.read({"optimizer": "muon"}))
    assert totals["Muon"] == pytest.approx(sum(held.values()) / llama.num_parameters)
    assert len(totals) == len(STATE_TABLE)


def test_the_papers_example_on_sixty_four_gpus() -> None:
    def held(name: str, gpus: int) -> float:
        return sum(per_gpu_bytes(states_bytes(PSI), Cluster(gpus=gpus, sharding=name)).values())

    assert {name: round(held(name, 64) / 1e9, 1) for name in SHARDINGS} == {
        "none": 120.0,
        "zero1": 31.4,
        "zero2": 16.6,
        "zero3": 1.9,
    }
    assert all(held(name, 1) == 16 * PSI for name in SHARDINGS)


def test_what_stays_whole_does_not_shrink_with_the_number_of_gpus() -> None:
    for gpus, expected in ((1, 4001), (8, 2001 + 250), (1000, 2001 + 2)):
        assert per_gpu_bytes({"moments": 4001}, Cluster(gpus, "zero3"), 2001)["moments"] == expected
    assert per_gpu_bytes({"moments": 4000}, Cluster(8, "zero2"), 2001)["moments"] == 500


def test_adafactors_sums_of_rows_and_columns_are_whole_on_every_gpu() -> None:
    model = CATALOGUE["meta-llama/Llama-2-7b-hf"].model
    recipe = Recipe.read({"optimizer": "adafactor"})
    one, many = (Step(model, recipe, Cluster.of_runner(n)).states["moments"] for n in (1, 512))
    assert 0.85 * one < many < one  # only the moments of norms are sharded
    adam = [Step(model, Recipe(), Cluster.of_runner(n)).states["moments"] for n in (1, 512)]
    assert adam[1] == pytest.approx(adam[0] / 512, rel=1e-4)


@given(st.integers(1, 2000), st.sampled_from(SHARDINGS))
def test_more_gpus_never_need_more_memory_each(gpus: int, sharding: str) -> None:
    states = {"params": 1001, "grads": 1003, "master": 2001, "moments": 4001}
    one, more = (per_gpu_bytes(states, Cluster(n, sharding)) for n in (gpus, gpus + 1))
    assert all(more[name] <= one[name] for name in states)
