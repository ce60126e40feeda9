"""The log of a watched run, and the thread beside it."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import unfrozen
from watched_loops import events, model_of, series, train

pytestmark = pytest.mark.slow


def adamw(model: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-3)


def test_the_machine_is_sampled_no_longer_than_the_run(tmp_path: Path) -> None:
    model = model_of()
    optimizer = adamw(model)
    with unfrozen.watch(model, optimizer, runs=tmp_path, price=3600.0, steps=3) as run:
        train(model, optimizer, 3)
        deadline = time.monotonic() + 60
        while len(events(run, "sys")) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not [one for one in threading.enumerate() if one.name == "unfrozen-sampler"]
    samples = events(run, "sys")
    assert not [event for event in samples if not event["m"]["sys/rss_bytes"] > 2**20]
    assert "sys/process_cpu" in samples[1]["m"]
    assert samples[0]["m"]["cost/spent"] < samples[1]["m"]["cost/spent"]
    assert events(run, "run.start")[0]["price"]["hourly"] == 3600.0
    assert series(run, "cost/total")[-1] > 0
    assert events(run, "run.end")[0]["summary"]["cost"] >= samples[1]["m"]["cost/spent"]


def test_a_run_without_references_ends_with_its_model_and_its_thread(tmp_path: Path) -> None:
    model = model_of()
    optimizer = adamw(model)
    unfrozen.watch(model, optimizer, runs=tmp_path, name="mine")
    train(model, optimizer, 2)
    del model, optimizer
    gc.collect()
    assert events(tmp_path / "mine")[-1]["reason"] == "the model was deleted"
    assert not [one for one in threading.enumerate() if one.name == "unfrozen-sampler"]
