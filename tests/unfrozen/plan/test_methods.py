"""The methods chart: stacks from formulas beside the quoted totals."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from unfrozen.memory.adapters import adapter_parameters, frozen_bytes
from unfrozen.plan.methods import (
    SEVEN_B,
    SEVENTY_B,
    THRESHOLDS,
    chart,
    methods,
    planned,
)
from unfrozen.publish import parse_plots, plots_as_json
from unfrozen.units import GB, gb


def test_the_four_bars_with_activations_kept_and_with_layers_recomputed() -> None:
    kept, again = methods(), methods(recomputed=True)
    assert [bar.label for bar in kept] == ["Full 7B", "LoRA 7B", "QLoRA 7B", "QLoRA 70B"]
    assert [bar.quoted_gb for bar in kept] == [112.0, 28.0, 10.0, 46.0]
    assert [round(gb(bar.total), 1) for bar in kept] == [108.3, 26.3, 16.7, 100.4]
    assert [round(gb(bar.total), 1) for bar in again] == [110.2, 16.1, 6.5, 43.1]


def test_all_bars_of_a_chart_recompute_or_none() -> None:
    kept, again = methods(), methods(recomputed=True)
    assert replace(kept[0], other=0) == replace(again[0], other=0), "its peak is that of gradients"
    for before, after in zip(kept[1:], again[1:], strict=True):
        assert after.activations < before.activations / 5
        assert (after.weights, after.optimizer) == (before.weights, before.optimizer)
    assert kept[1].activations == kept[2].activations, "freezing in 4 bits saves no activation"
    assert again[1].activations == again[2].activations


def test_the_quoted_figures_keep_activations_for_lora_and_recompute_for_qlora() -> None:
    kept, again = methods(), methods(recomputed=True)
    quoted = [kept[0], kept[1], again[3]]
    assert not [bar for bar in quoted if not abs(gb(bar.total) / bar.quoted_gb - 1) < 0.07]
    small, middle, large = (gpu.value * GB for gpu in THRESHOLDS)
    assert again[1].total < small < kept[1].total < middle
    assert again[3].total < middle < large < kept[3].total


def test_a_bar_is_what_the_plan_says_the_gpu_has_to_hold() -> None:
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
    assert list(parse_plots(text)) == [chart()]
    assert [threshold["value"] for threshold in json.loads(text)[0]["thresholds"]] == [24, 48, 80]


def test_a_bar_says_what_its_row_of_the_table_says() -> None:
    bars = [f"{sum(bar):.1f}" for bar in zip(*(line.data for line in chart().lines), strict=True)]
    assert bars == [f"{m.total / 1e9:.1f}" for m in methods()]
