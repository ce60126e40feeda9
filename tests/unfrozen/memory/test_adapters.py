"""Adapters and quantised weights: where they sit, what they take."""

from __future__ import annotations

import pytest

from unfrozen.catalogue import CATALOGUE
from unfrozen.errors import PlanError
from unfrozen.memory.adapters import (
    adapter_parameters,
    frozen_bytes,
    linear_parameters,
    targets,
)
from unfrozen.recipe import Lora, Recipe

SEVEN_B = CATALOGUE["meta-llama/Llama-2-7b-hf"].model


def test_adapters_of_q_and_v_have_rank_times_both_widths() -> None:
    lora = Lora(rank=8, targets=("q_proj", "v_proj"))
    assert adapter_parameters(SEVEN_B, lora) == 32 * 2 * 8 * (4096 + 4096) == 4_194_304


def test_every_linear_layer_reads_what_its_place_says() -> None:
    reads = {t.name: t.reads for t in targets(SEVEN_B, Lora())}
    assert reads == {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj"), "qkv"),
        "o_proj": "out",
        **dict.fromkeys(("gate_proj", "up_proj"), "up"),
        "down_proj": "down",
    }
    gpt2 = CATALOGUE["openai-community/gpt2"].model
    assert [t.reads for t in targets(gpt2, Lora())] == ["qkv", "out", "up", "down"]


def test_a_name_that_two_layers_share_means_both() -> None:
    gpt2 = CATALOGUE["openai-community/gpt2"].model
    assert len(targets(gpt2, Lora(targets=("c_proj",)))) == 2


def test_stacked_experts_and_their_router_get_no_adapter() -> None:
    names = [t.name for t in targets(CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].model, Lora())]
    assert names == ["q_proj", "k_proj", "v_proj", "o_proj"]


def test_a_target_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(PlanError, match="q_proj, k_proj, v_proj, o_proj") as caught:
        targets(SEVEN_B, Lora(targets=("query",)))
    assert caught.value.key == "recipe.lora.targets"


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
