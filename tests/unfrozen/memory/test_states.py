"""Bytes a parameter for each recipe."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.job.recipe import Recipe
from unfrozen.memory.states import STATE_TABLE, moment_bytes, state_bytes
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE

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
