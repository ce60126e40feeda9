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
from unfrozen.memory.states import (
    STATE_TABLE,
    ExpertShare,
    moment_bytes,
    per_gpu_bytes,
    state_bytes,
    unsharded_moment_bytes,
    update_bytes,
)
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


def test_what_a_recipe_does_without_takes_no_byte() -> None:
    pure, count = {"optimizer": "sgd", "master": None}, MODEL.num_parameters
    held = state_bytes(MODEL, Recipe.read(pure))
    assert {name: size for name, size in held.items() if size} == {
        "params": 2 * count,
        "grads": 2 * count,
    }
    for moments in ({"paged": True}, {"optimizer": "sgd"}, {"optimizer": "sgd", "method": "lora"}):
        recipe = Recipe.read(moments)
        assert moment_bytes(MODEL, recipe) == unsharded_moment_bytes(MODEL, recipe) == 0


def test_moments_of_adapters_in_8_bits_have_a_scale_in_fp32_for_256_of_them() -> None:
    adapters = 32 * 16 * (4096 + 4096)  # of one matrix of each of 32 layers, of rank 16
    recipe = Recipe.read({"method": "lora", "moments": "int8", "lora": {"targets": ["q_proj"]}})
    assert moment_bytes(MODEL, recipe) == 2 * (adapters + 4 * adapters // 256)


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


def test_the_papers_example_on_sixty_four_gpus() -> None:
    def held(name: str, gpus: int) -> float:
        return sum(per_gpu_bytes(states_bytes(PSI), Cluster(gpus=gpus, sharding=name)).values())

    assert {name: round(held(name, 64) / 1e9, 1) for name in SHARDINGS} == {
        "none": 120.0,
        "zero1": 31.4,
        "zero2": 16.6,
        "zero3": 1.9,
    }
    assert not [name for name in SHARDINGS if held(name, 1) != 16 * PSI]


def test_what_stays_whole_does_not_shrink_with_the_number_of_gpus() -> None:
    for gpus, expected in ((1, 4001), (8, 2001 + 250), (1000, 2001 + 2)):
        assert per_gpu_bytes({"moments": 4001}, Cluster(gpus, "zero3"), 2001)["moments"] == expected
    assert per_gpu_bytes({"moments": 4000}, Cluster(8, "zero2"), 2001)["moments"] == 500
    assert per_gpu_bytes({"moments": 4000}, Cluster(8, "zero3"))["moments"] == 500


@pytest.mark.parametrize(
    ("sharding", "offload", "left"),
    [
        ("zero1", "optimizer", ("params", "grads")),
        ("zero2", "optimizer", ("params",)),
        ("zero3", "params", ()),
    ],
)
def test_what_is_offloaded_takes_no_byte_of_the_gpu_from_zero_2_on_gradients_too(
    sharding: str, offload: str, left: tuple[str, ...]
) -> None:
    held = per_gpu_bytes(states_bytes(PSI), Cluster(8, sharding, offload=offload))
    assert tuple(name for name, size in held.items() if size) == left


def test_experts_are_spread_over_the_gpus_alone_that_hold_the_same_ones() -> None:
    cluster, share = Cluster(8, "zero3", expert_parallel=4), ExpertShare(600, 1000)
    held = per_gpu_bytes({"params": 1000, "moments": 2000, "adapters": 80}, cluster, 0, share)
    assert held == {
        "params": 400 // 8 + 600 // 2,
        "moments": 800 // 8 + 1200 // 2,
        "adapters": 80 // 8,  # none of them is an expert's
    }


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
    assert not [name for name in states if not more[name] <= one[name]]


TABLE: dict[str, dict[str, Any]] = {
    "AdamW, mixed precision": {},
    "AdamW, fp32 and autocast": {"params": "fp32"},
    "AdamW, fp32 main gradients": {"grads": "fp32"},
    "AdamW, 8-bit moments": {"moments": "int8"},
    "AdamW, paged moments": {"paged": True},
    "AdamW, pure bf16": {"master": None},
    "AdamW, pure bf16, 8-bit moments": {"master": None, "moments": "int8"},
    "SGD with momentum": {"optimizer": "sgd_momentum"},
    "SGD": {"optimizer": "sgd"},
    "Muon": {"optimizer": "muon"},
    "Adafactor": {"optimizer": "adafactor"},
}


@pytest.mark.parametrize("name", TABLE)
def test_each_row_of_the_table_is_what_its_recipe_takes(name: str) -> None:
    (row,) = [row for row in STATE_TABLE if row.recipe == name]
    held = state_bytes(MODEL, Recipe.read(TABLE[row.recipe]))
    each = {name: held[name] / MODEL.num_parameters for name in held}
    if row.recipe == "AdamW, paged moments":
        each["moments"] = 0
    parts = ("params", "grads", "master", "moments")
    found = [getattr(row, part) for part in parts]
    assert found == pytest.approx([each[part] for part in parts], abs=3e-3)


def test_lomo_keeps_the_weights_alone() -> None:
    lomo = STATE_TABLE[-1]
    assert [row.recipe for row in STATE_TABLE[:-1]] == list(TABLE)
    assert (lomo.recipe, lomo.params, lomo.total) == ("LOMO", 2, 2)


N, LARGEST, MEBI = MODEL.num_parameters, 32000 * 4096, 2**20
SMALL = ModelConfig.from_hf(MATRIX)  # the largest matrix of a layer has 64 · 256 weights
LLAMA_1K: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 1536,
    "num_hidden_layers": 1,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "vocab_size": 64,
}
ROWS = {"optimizer": "adafactor", "step": "rows"}
NARROW = {"master": None, **ROWS}


@pytest.mark.parametrize(
    ("recipe", "shards", "expected"),
    [
        ({"step": "fused"}, 1, 0),
        ({"step": "foreach"}, 1, 4 * N),  # one more copy, of the master weights
        ({"step": "foreach", "master": None}, 4, 2 * N // 4),
        ({"step": "for_loop"}, 1, 2 * 4 * LARGEST),
        ({"moments": "int8"}, 2, 3 * 4 * LARGEST // 2),  # weight and both moments, in fp32
        ({"step": "sub_groups"}, 1, (2 + 4) * 10**9),  # of 16-bit gradients, joined, and in fp32
        ({"step": "sub_groups"}, 64, (2 + 4) * (N // 64)),
        ({"step": "rows", "master": None}, 1, 40 * MEBI),
        (ROWS | {"params": "fp32"}, 1, 2 * 4 * 4 * MEBI),  # target and update of four MiB
        (NARROW, 1, 3 * 4 * 4 * MEBI),  # and the gradient of 16-bit weights
        (NARROW | {"rounding": "kahan"}, 1, 16 * 4 * MEBI),
        (NARROW | {"rounding": "kahan"}, 64, 14 * (LARGEST // 64)),
    ],
)
def test_an_update_takes_temporaries_by_how_it_goes_over_the_weights(
    recipe: dict[str, Any], shards: int, expected: int
) -> None:
    assert update_bytes(MODEL, Recipe.read(recipe), shards) == expected


def test_noise_takes_a_place_of_64_bits_and_32_random_ones_for_each_weight() -> None:
    recipe = Recipe.read(NARROW | {"rounding": "stochastic"})
    assert update_bytes(SMALL, recipe, tensor=1000) == (4 + 2 + 12) * 1000
    nearest = Recipe.read(NARROW)
    assert update_bytes(SMALL, nearest, tensor=1000) == 3 * 4 * 1000


def test_muon_makes_a_matrix_orthogonal_and_widens_its_direction() -> None:
    muon = Recipe.read({"optimizer": "muon"})
    gate = 11008 * 4096  # three copies in 16 bits, two squares of its shorter side
    assert update_bytes(MODEL, muon) == 3 * 2 * gate + 2 * 2 * 4096**2
    small = 64 * 256  # two copies, and what is widened of all of it
    assert update_bytes(SMALL, muon) == (2 * 2 + 10) * small
    middle = 1024 * 1536  # a MiB of it at a time, which is laid out again
    assert update_bytes(ModelConfig.from_hf(LLAMA_1K), muon) == 2 * 2 * middle + 14 * MEBI


def test_of_a_stack_of_experts_some_matrices_become_orthogonal_at_once() -> None:
    muon = Recipe.read({"optimizer": "muon"})
    mixtral = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].model
    gate_up = 2 * 14336 * 4096
    for shards, matrices in ((1, 8), (4, 2)):
        one = 2 * 2 * (gate_up + 4096**2)  # one is more than a MiB
        assert update_bytes(mixtral, muon, shards) == 2 * matrices * gate_up + one
    few = LLAMA_1K | {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}
    narrow = ModelConfig.from_hf(few | {"hidden_size": 64, "intermediate_size": 48})
    stack = 4 * 96 * 64
    assert update_bytes(narrow, muon) == 2 * stack + 12 * stack
    wide = ModelConfig.from_hf(few | {"hidden_size": 512, "intermediate_size": 512})
    stack = 4 * 1024 * 512  # two of its matrices are a MiB
    made = 2 * 2 * 2 * (1024 * 512 + 512**2)
    assert update_bytes(wide, muon) == 2 * stack + max(made, 14 * MEBI)


def test_a_projected_update_takes_a_matrix_apart_in_fp32() -> None:
    matrix = 11008 * 4096  # of the layers, which alone are projected
    galore, apollo = (
        update_bytes(MODEL, Recipe.read({"optimizer": name, "master": None}))
        for name in ("galore", "apollo")
    )
    assert galore == max(2 * 2 * LARGEST, 3 * 4 * matrix)
    assert apollo == max(2 * 2 * LARGEST, 2 * 2 * matrix)
    exact = Recipe.read({"optimizer": "apollo", "master": None, "grads": "fp32"})
    assert update_bytes(ModelConfig.from_hf(LLAMA_1K), exact) == 2 * 4 * 1024 * 1536


def test_stacked_experts_are_updated_one_matrix_after_another() -> None:
    mixtral = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].model
    few = LLAMA_1K | {"model_type": "mixtral", "num_local_experts": 64, "num_experts_per_tok": 2}
    narrow = ModelConfig.from_hf(few | {"hidden_size": 64, "intermediate_size": 48})
    assert update_bytes(narrow, Recipe.read(NARROW)) == 3 * 4 * 96 * 64  # of 64 such
    assert update_bytes(mixtral, Recipe.read(NARROW)) == 3 * 4 * 4 * MEBI


def test_a_reference_model_is_a_copy_of_the_weights_sharded_as_they_are() -> None:
    recipe = Recipe.read({"objective": "dpo"})
    for stage, shards in ((2, 1), (3, 8)):
        found = Step(MODEL, recipe, Cluster(8, f"zero{stage}")).states
        assert found["reference"] == found["params"]
        assert found["params"] * shards == pytest.approx(2 * MODEL.num_parameters, rel=1e-3)
    plain = Step(MODEL, Recipe.read({}), Cluster(8)).states
    assert {**Step(MODEL, recipe, Cluster(8)).states, "reference": 0} == plain


@pytest.mark.parametrize(
    "given",
    [
        {"objective": "dpo", "reference": False},
        {"objective": "dpo", "method": "lora"},
        {"objective": "grpo"},
    ],
)
def test_there_is_no_copy_beside_adapters_or_where_nothing_refers_to_it(
    given: dict[str, Any],
) -> None:
    assert not state_bytes(MODEL, Recipe.read(given))["reference"]
