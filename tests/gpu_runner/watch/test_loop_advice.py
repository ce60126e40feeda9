"""Suggested settings of a loop are traced with its own step, and come cheapest first."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gpu_runner.memory.loop import LoopStep, Optimizers, StepInputs, predict_loop_step
from gpu_runner.memory.loop_advice import CHECKPOINTING_RATIO, LoopOptions, suggest_for_loop
from gpu_runner.memory.prediction import Prediction
from watched_loops import batches, model_of

pytestmark = pytest.mark.usefixtures("cached", "patience")
BRIEF = LoopOptions("sequences {sequences} parts {parts}", "checkpoint", "length {length}")


@pytest.fixture(scope="module")
def loop() -> Any:
    """A step of 16 sequences, the optimizer that it needs, and its prediction."""
    model = model_of()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    (batch,) = batches(1, rows=16, length=32)
    step = LoopStep(model, Optimizers(optimizer), StepInputs.of(batch))
    return step, optimizer, predict_loop_step(step)


def test_a_prediction_scales_with_tokens_except_for_states() -> None:
    now = Prediction({"end_of_forward": {"params": 10, "activations": 8, "logits_loss": 5}}, 16)
    assert now.scaled(0.5).instants == {
        "end_of_forward": {"params": 10, "activations": 4, "logits_loss": 2}
    }


@pytest.mark.slow
def test_what_costs_nothing_comes_first_and_each_suggestion_fits(loop: Any) -> None:
    step, _, now = loop
    found = suggest_for_loop(step, now, now.peak_bytes // 2, BRIEF)
    assert len(found) == 3
    assert not [one for one in found if not (one.fits and one.peak_bytes <= now.peak_bytes // 2)]
    assert found[0].options.startswith("sequences ")
    assert found[0].time_ratio == 1.0
    assert all(
        one.time_ratio == CHECKPOINTING_RATIO for one in found if "checkpoint" in one.options
    )
    assert len({one.options for one in found}) == 3


@pytest.mark.slow
def test_with_checkpointing_more_sequences_fit(loop: Any) -> None:
    step, _, now = loop
    found = suggest_for_loop(step, now, now.peak_bytes // 2, BRIEF)
    sequences = {"checkpoint" in one.options: _sequences(one.options) for one in reversed(found)}
    assert sequences[True] > sequences[False]


def _sequences(options: str) -> int:
    return int(options.split()[1]) if options.startswith("sequences") else 16


@pytest.mark.slow
def test_where_nothing_fits_the_suggestions_need_least(loop: Any) -> None:
    step, _, now = loop
    found = suggest_for_loop(step, now, 1000, BRIEF)
    assert found
    assert not [one for one in found if one.fits]
    assert [one.peak_bytes for one in found] == sorted(one.peak_bytes for one in found)


def test_a_resized_batch_changes_what_has_its_sequences_and_tokens() -> None:
    ids = torch.zeros(4, 8, dtype=torch.long)
    positions = torch.arange(8)[None]
    inputs = StepInputs.of({"input_ids": ids, "position_ids": positions, "scale": torch.ones(3)})
    shapes = {name: shape for name, shape, _ in inputs.resized(2, 6).tensors}
    assert shapes == {"input_ids": (2, 6), "position_ids": (1, 6), "scale": (3,)}
