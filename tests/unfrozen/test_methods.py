"""The methods chart: stacks from formulas beside the quoted totals."""

from __future__ import annotations

import json

import pytest

from unfrozen.memory.adapters import adapter_parameters, frozen_bytes
from unfrozen.methods import SEVEN_B, SEVENTY_B, chart, methods, planned
from unfrozen.publish import parse_plots, plots_as_json
from unfrozen.units import gb


def test_the_four_bars_come_near_the_quoted_totals_and_explain_every_difference() -> None:
    bars = methods()
    assert [bar.label for bar in bars] == ["Full 7B", "LoRA 7B", "QLoRA 7B", "QLoRA 70B"]
    assert [bar.quoted_gb for bar in bars] == [112.0, 28.0, 10.0, 46.0]
    assert [round(gb(bar.total), 1) for bar in bars] == [112.5, 27.8, 7.0, 44.4]
    assert len({bar.reason for bar in bars}) == 4
    for bar in bars:
        assert bar.reason.endswith(".")


def test_a_bar_is_what_the_plan_says_the_card_has_to_hold() -> None:
    found = planned(SEVENTY_B, {"method": "lora", "checkpointing": "full"})
    assert methods()[0].total == planned(SEVEN_B, {}).device_bytes
    assert found.device_bytes > found.allocated_bytes


def test_full_fine_tuning_is_sixteen_bytes_a_parameter_before_anything_else() -> None:
    bar = methods()[0]
    states = bar.weights + bar.gradients + bar.optimizer
    assert states == pytest.approx(16 * 6_738_415_616, rel=1e-6)


def test_rank_16_adapters_on_every_linear_layer_of_7b_have_forty_million_parameters() -> None:
    job = planned(SEVEN_B, {"method": "lora"}).job
    per_layer = 16 * (4 * (4096 + 4096) + 3 * (4096 + 11008))
    assert job.recipe.lora is not None
    assert adapter_parameters(job.model, job.recipe.lora) == 32 * per_layer == 39_976_960


def test_a_4_bit_weight_with_its_scales_takes_a_little_over_half_a_byte() -> None:
    job = planned(SEVEN_B, {"method": "qlora", "base": "nf4-dq"}).job
    weights, scales = frozen_bytes(job.model, job.recipe)
    assert gb(weights + scales) == pytest.approx(3.87, abs=0.01)
    linear = 32 * job.model.layer_matrices
    assert (linear / 2 + scales) / linear == pytest.approx(0.5159, abs=1e-4)


def test_the_chart_can_be_published() -> None:
    text = plots_as_json([chart()])
    (plot,) = parse_plots(text)
    assert plot == chart()
    assert [threshold["value"] for threshold in json.loads(text)[0]["thresholds"]] == [24, 48, 80]
