"""The methods chart: stacks from formulas beside the quoted totals."""

from __future__ import annotations

import json

import pytest

from unfrozen.catalogue import CATALOGUE
from unfrozen.methods import (
    NF4_BYTES,
    SEVEN_B,
    chart,
    lora_parameters,
    methods,
    nf4_weight_bytes,
)
from unfrozen.publish import parse_plots, plots_as_json
from unfrozen.units import gb


def test_the_four_bars_keep_the_quoted_totals_and_explain_every_difference() -> None:
    bars = methods()
    assert [bar.label for bar in bars] == ["Full 7B", "LoRA 7B", "QLoRA 7B", "QLoRA 70B"]
    assert [bar.quoted_gb for bar in bars] == [112.0, 28.0, 10.0, 46.0]
    assert [round(gb(bar.total), 1) for bar in bars] == [111.0, 17.3, 7.7, 55.8]
    assert len({bar.reason for bar in bars}) == 4
    for bar in bars:
        assert "GB" in bar.reason


def test_full_fine_tuning_is_sixteen_bytes_a_parameter_and_activations() -> None:
    bar = methods()[0]
    states = bar.weights + bar.gradients + bar.optimizer
    assert states == 16 * 6_738_415_616
    assert gb(bar.activations) == pytest.approx(3.2, abs=0.05)


def test_rank_16_adapters_on_every_linear_layer_of_7b_have_forty_million_parameters() -> None:
    model = CATALOGUE[SEVEN_B].model
    per_layer = 16 * (4 * (4096 + 4096) + 3 * (4096 + 11008))
    assert lora_parameters(model) == 32 * per_layer == 39_976_960


def test_a_4_bit_weight_with_its_scales_takes_a_little_over_half_a_byte() -> None:
    assert pytest.approx(0.5159, abs=1e-4) == NF4_BYTES
    assert gb(nf4_weight_bytes(CATALOGUE[SEVEN_B].model)) == pytest.approx(3.87, abs=0.01)


def test_the_chart_can_be_published() -> None:
    text = plots_as_json([chart()])
    (plot,) = parse_plots(text)
    assert plot == chart()
    assert [threshold["value"] for threshold in json.loads(text)[0]["thresholds"]] == [24, 48, 80]
