"""Adapters and quantised weights: what they take."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.job.recipe import Lora, Recipe
from unfrozen.memory.activations import layer_saved_tensors
from unfrozen.memory.adapters import (
    adapter_inputs,
    adapter_parameters,
    frozen_bytes,
    linear_parameters,
)
from unfrozen.memory.instants import Step
from unfrozen.memory.layer_setup import LayerSetup
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan

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


def kept(**recipe: Any) -> dict[str, int]:
    """Bytes a token that a layer keeps for what adapters read, by where they sit."""
    given = {"method": "lora", "params": "bf16", "grads": "fp32", "moments": "fp32"} | recipe
    setup = LayerSetup.of(SEVEN_B, Recipe.read(given))
    found = adapter_inputs(SEVEN_B.architecture, setup)
    return {item.label.rpartition(": ")[2]: item.size for item in found if ":" in item.label}


H, F = 4096, 11008
PLACES = {"attention": 3 * H, "attention output": H, "feed-forward": 2 * H, "inner product": F}


def peft(dtype: str, **more: Any) -> dict[str, Any]:
    return {"library": "peft", "dtype": dtype, **more}


def test_adapters_as_wide_as_the_model_share_what_they_read() -> None:
    assert kept(lora=peft("bf16"), grads="bf16", moments="bf16") == {
        "attention": 2 * H,
        "attention output": 0,  # the attention keeps it
        "feed-forward": 2 * H,
        "inner product": 0,  # its layer keeps it
    }


@pytest.mark.parametrize(("autocast", "width"), [(False, 4), (True, 2)])
@pytest.mark.parametrize(("dropout", "mask"), [(0, 0), (0.1, 1)])
def test_wider_adapters_keep_each_a_copy_and_a_mask_where_they_drop(
    autocast: bool, width: int, dropout: float, mask: int
) -> None:
    found = kept(lora=peft("fp32", autocast=autocast, dropout=dropout))
    assert found == {place: (width + mask) * size for place, size in PLACES.items()}


def test_fp32_weights_under_autocast_cast_for_every_adapter() -> None:
    found = kept(params="fp32", compute="bf16", lora=peft("fp32"))
    assert found == {place: 2 * size for place, size in PLACES.items()}
    assert kept(params="fp32", compute="bf16", lora=peft("fp32", autocast=True)) == found


def test_litgpts_adapters_of_q_k_and_v_share_a_dropped_copy() -> None:
    found = kept(lora={"library": "litgpt", "dtype": "bf16"}, grads="bf16", moments="bf16")
    assert found["attention"] == 3 * H
    assert found["feed-forward"] == 2 * 3 * H


FUSED = {"kernels": "fused", "params": "bf16", "attention": "flash"}


def peak(**recipe: Any) -> int:
    given = {"method": "qlora", "base": "nf4", "seq_len": 1024, **recipe}
    return plan(
        {"model": CATALOGUE["meta-llama/Llama-2-7b-hf"].config, "recipe": given}
    ).allocated_bytes


@pytest.mark.parametrize(("library", "kept_inputs"), [("peft", False), ("litgpt", True)])
def test_only_old_4_bit_matmuls_keep_the_inputs_of_frozen_layers(
    library: str, *, kept_inputs: bool
) -> None:
    recipe = Recipe.read({"method": "qlora", "params": "bf16", "lora": {"library": library}})
    assert LayerSetup.of(SEVEN_B, recipe).keeps_inputs == kept_inputs


def test_fused_kernels_leave_pefts_dropout_as_it_is() -> None:
    def layer(dropout: float) -> dict[str, int]:
        lora = peft("bf16", dropout=dropout, targets=("q_proj", "v_proj"))
        setup = LayerSetup.of(SEVEN_B, Recipe.read({"method": "lora", "lora": lora} | FUSED))
        items = layer_saved_tensors(SEVEN_B.architecture, setup)
        return {item.label: item.size for item in items}

    assert layer(0.0)["inputs of the linear layers"] == 2 * H
    assert layer(0.1)["inputs of adapters: attention"] == 2 * (2 + 1) * H


def test_experts_are_dequantised_one_at_a_time() -> None:
    mixtral = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].model
    step = Step(mixtral, Recipe.read({"method": "qlora", "params": "bf16"}))
    assert step.micro_batch.parallel_buffers(layer=True)["dequantised"] == 2 * 4096 * 2 * 14336


def test_autocast_makes_no_copy_of_quantised_weights() -> None:
    lora = peft("fp32")
    exact = peak(params="fp32", compute="fp32", lora=lora)
    assert peak(params="fp32", compute="bf16", lora=lora) < exact


def test_fp32_adapters_beside_16_bit_weights_hold_no_gradients_through_the_forward_pass() -> None:
    recipe = Recipe.read({"method": "lora", "lora": peft("fp32")})
    assert not recipe.resident_grads()
    assert Recipe.read({"params": "bf16", "grads": "fp32"}).resident_grads()


@pytest.mark.parametrize(("targets", "widths"), [("q", 4096), ("qv", 4096 + 1024), ("qkv", 0)])
def test_litgpt_scatters_the_outputs_of_some_of_q_k_and_v(targets: str, widths: int) -> None:
    lora = {"library": "litgpt", "targets": [f"{name}_proj" for name in targets]}
    model = CATALOGUE["meta-llama/Llama-3.1-8B"].model
    setup = LayerSetup.of(model, Recipe.read({"method": "lora", "lora": lora}))
    found = {item.label: item.size for item in adapter_inputs(model.architecture, setup)}
    assert found.get("outputs of adapters, scattered", 0) == 2 * widths
