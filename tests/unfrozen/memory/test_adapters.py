"""Adapters and quantised weights: what they take."""

from __future__ import annotations

import pytest

from unfrozen.job.recipe import Lora, Recipe
from unfrozen.memory.adapters import adapter_parameters, frozen_bytes, linear_parameters
from unfrozen.model.catalogue import CATALOGUE

SEVEN_B = CATALOGUE["meta-llama/Llama-2-7b-hf"].model


def test_adapters_of_q_and_v_have_rank_times_both_widths() -> None:
    lora = Lora(rank=8, targets=("q_proj", "v_proj"))
    assert adapter_parameters(SEVEN_B, lora) == 32 * 2 * 8 * (4096 + 4096) == 4_194_304


@pytest.mark.parametrize(
    ("base", "weight_bits", "scale_bits"),
    [("nf4", 4, 0.5), ("nf4-dq", 4, 8 / 64 + 32 / (64 * 256)), ("int8", 8, 32 / 4096)],
)
def test_only_linear_layers_are_quantised(base: str, weight_bits: int, scale_bits: float) -> None:
    recipe = Recipe.read({"method": "qlora", "base": base})
    linear = linear_parameters(SEVEN_B)
    rest = SEVEN_B.num_parameters - linear
    assert rest == 2 * 32000 * 4096 + (2 * 32 + 1) * 4096  # embedding, head and norms
    weights, scales = frozen_bytes(SEVEN_B, recipe)
    assert weights == 2 * rest + weight_bits * linear // 8
    assert scales == pytest.approx(scale_bits * linear / 8, abs=1)


def test_without_quantisation_the_frozen_weights_stay_as_they_are() -> None:
    lora = Recipe.read({"method": "lora"})
    assert frozen_bytes(SEVEN_B, lora) == (2 * SEVEN_B.num_parameters, 0)
