"""A watched loop with Accelerate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

import unfrozen
from conftest import matrix
from watched_loops import SIX, batches, events, forget_accelerator, model_of, series


@pytest.mark.slow
@pytest.mark.parametrize("family", matrix(SIX, "gpt2"))
def test_a_loop_with_accelerate_is_watched(tmp_path: Path, family: str) -> None:
    forget_accelerator()
    precision = "bf16" if SIX.index(family) % 2 else "no"
    model = model_of(family)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tracker = unfrozen.Tracker(model, optimizer, runs=tmp_path)
    accelerator = Accelerator(
        log_with=tracker, cpu=True, mixed_precision=precision, gradient_accumulation_steps=2
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    accelerator.init_trackers("a run", config={"lr": 1e-3})
    losses = []
    for number, batch in enumerate(batches(8, rows=8, length=64)):
        with accelerator.accumulate(model):
            loss = model(**batch).loss
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        accelerator.log({"loss": losses[-1]}, step=number)
    run = accelerator.get_tracker("unfrozen", unwrap=True)
    accelerator.end_training()
    means = [(one + other) / 2 for one, other in zip(losses[::2], losses[1::2], strict=True)]
    assert series(run, "train/loss") == pytest.approx(means)
    assert series(run, "other/loss")[-1] == pytest.approx(losses[-1])
    start = events(run, "run.start")[0]
    assert start["trainer"].startswith("a loop with Accelerate")
    assert start["config"]["lr"] == 1e-3
    assert events(run, "run.end")[0]["summary"]["memory_ratio"] == pytest.approx(1, abs=0.03)
