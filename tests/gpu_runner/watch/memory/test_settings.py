"""What would fit is weighed by the loop's own step, and the cheapest is told first."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch

from gpu_runner.watch.memory.foretelling import Given, Habits, foretell
from gpu_runner.watch.memory.metering import States
from gpu_runner.watch.memory.settings import AGAIN, LoopStep, Words, scaled, settings_for
from watched_loops import batches, model_of

pytestmark = pytest.mark.usefixtures("kept", "patience")
BRIEF = Words("rows {rows} parts {parts}", "again", "length {length}")


@pytest.fixture(scope="module")
def loop() -> Any:
    """A step of 16 rows, what keeps it alive, and what it holds."""
    model = model_of(num_hidden_layers=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    (batch,) = batches(1, rows=16, length=64)
    step = LoopStep(model, States(optimizer), Given.of(batch), Habits(), nullcontext)
    return step, optimizer, foretell(model, step.states, step.given, step.habits)


def test_a_prediction_is_scaled_where_it_hangs_on_tokens() -> None:
    found = scaled({"end_of_forward": {"params": 10, "activations": 8, "logits_loss": 5}}, 0.5)
    assert found == {"end_of_forward": {"params": 10, "activations": 4, "logits_loss": 2}}


@pytest.mark.slow
def test_what_costs_nothing_comes_first_and_each_fits(loop: Any) -> None:
    step, _, now = loop
    found = settings_for(step, now.instants, now.peak_bytes // 2, BRIEF)
    assert len(found) == 3
    assert all(one.fits and one.peak_bytes <= now.peak_bytes // 2 for one in found)
    assert found[0].options.startswith("rows ")
    assert found[0].time_ratio == 1.0
    assert all(one.time_ratio == AGAIN for one in found if "again" in one.options)
    assert len({one.options for one in found}) == 3


@pytest.mark.slow
def test_with_layers_computed_twice_more_rows_fit(loop: Any) -> None:
    step, _, now = loop
    found = settings_for(step, now.instants, now.peak_bytes // 2, BRIEF)
    rows = {"again" in one.options: _rows(one.options) for one in reversed(found)}
    assert rows[True] > rows[False]


def _rows(options: str) -> int:
    return int(options.split()[1]) if options.startswith("rows") else 16


@pytest.mark.slow
def test_where_nothing_fits_those_that_need_least_are_told(loop: Any) -> None:
    step, _, now = loop
    found = settings_for(step, now.instants, 1000, BRIEF)
    assert found
    assert not any(one.fits for one in found)
    assert [one.peak_bytes for one in found] == sorted(one.peak_bytes for one in found)


def test_another_size_of_batch_changes_what_has_its_rows_and_tokens() -> None:
    ids = torch.zeros(4, 8, dtype=torch.long)
    positions = torch.arange(8)[None]
    given = Given.of({"input_ids": ids, "position_ids": positions, "scale": torch.ones(3)})
    shapes = {name: shape for name, shape, _ in given.cut(2, 6).tensors}
    assert shapes == {"input_ids": (2, 6), "position_ids": (1, 6), "scale": (3,)}
