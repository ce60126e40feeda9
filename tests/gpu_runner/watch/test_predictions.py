"""Predicted and measured memory of watched loops agree, for many loops and model families."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import unfrozen
from conftest import matrix
from gpu_runner.memory.loop import LoopStep, Optimizers, StepInputs, predict_loop_step
from watched_loops import FAMILIES, batches, events, model_of, train

pytestmark = pytest.mark.slow

CLOSE = 0.03


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def ratio(run: Any) -> float:
    found: float = events(run, "run.end")[0]["summary"]["memory_ratio"]
    return found


@pytest.mark.matrix
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_needs_what_was_predicted(family: str, tmp_path: Path) -> None:
    model = model_of(family)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        train(model, optimizer, 3, rows=8, length=64)
    assert ratio(run) == pytest.approx(1, abs=CLOSE)


FOREACH = ("foreach", "gpt_neox", {})
CHANGES = (
    ("bf16 weights", "llama", {}),
    ("autocast", "gpt2", {"autocast": partial(torch.autocast, "cpu", torch.bfloat16)}),
    ("three micro-batches", "llama", {"micro_batches": 3}),
    *(("checkpointing", "gemma2", {}), ("sgd", "mixtral", {}), ("padding", "gemma2", {})),
)


@pytest.mark.parametrize(("change", "family", "options"), matrix((*CHANGES, FOREACH), *CHANGES))
def test_a_loop_needs_what_was_predicted(
    change: str, family: str, options: dict[str, Any], tmp_path: Path
) -> None:
    model = model_of(family)
    if change == "bf16 weights":
        model.to(torch.bfloat16)
    if change == "checkpointing":
        model.activation_checkpointing_enable({"use_reentrant": False})
    kind: Any = torch.optim.SGD if change == "sgd" else torch.optim.AdamW
    more = {"foreach": True} if change == "foreach" else {}
    optimizer = kind(model.parameters(), lr=1e-3, **more)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        if change == "padding":
            for batch in batches(3, rows=8, length=64):
                batch["attention_mask"][::2, 40:] = 0
                model(**batch).loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        else:
            train(model, optimizer, 3, rows=8, length=64, **options)
    assert ratio(run) == pytest.approx(1, abs=CLOSE)


def test_the_prediction_comes_before_the_first_step_and_from_the_cache_the_second_time(
    tmp_path: Path, cache: Path
) -> None:
    for _ in range(2):
        model = model_of()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
            train(model, optimizer, 1)
        kinds = [event["kind"] for event in events(run)]
        assert kinds.index("predicted") < kinds.index("mem")
    assert len(list(cache.rglob("*.json"))) == 1


def test_a_heavier_batch_is_predicted_anew(tmp_path: Path) -> None:
    model = model_of()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        for length in (16, 16, 64, 16):
            train(model, optimizer, 1, length=length)
    peaks = [event["predicted"]["peak_bytes"] for event in events(run, "predicted")]
    assert len(peaks) == 2
    assert peaks[1] > peaks[0]
    assert ratio(run) == pytest.approx(1, abs=CLOSE)


def run_backward(model: Any, batch: dict[str, torch.Tensor]) -> Any:
    """Return the output of the model after the backward pass."""
    output = model(**batch)
    output.loss.backward()
    return output


@pytest.mark.parametrize("alive", [True, False], ids=["alive", "deleted"])
def test_the_output_counts_for_as_long_as_it_is_alive(alive: bool, tmp_path: Path) -> None:
    model = model_of()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        for batch in batches(2, rows=8, length=64):
            output = run_backward(model, batch)
            if not alive:
                del output
            optimizer.step()
            optimizer.zero_grad()
    predicted = events(run, "predicted")[-1]["predicted"]["instants"]["optimizer_step"]
    found = [one["components"] for one in events(run, "mem") if one["instant"] == "optimizer_step"]
    assert sum(found[-1].values()) == pytest.approx(sum(predicted.values()), rel=CLOSE)


def test_predictions_with_and_without_autocast_are_cached_apart(cache: Path) -> None:
    model = model_of()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    (batch,) = batches(1)
    step = LoopStep(model, Optimizers(optimizer), StepInputs.of(batch))
    fp32, bf16 = (
        predict_loop_step(
            replace(step, autocast=partial(torch.autocast, "cpu", torch.bfloat16, enabled=on))
        )
        for on in (False, True)
    )
    assert fp32.peak_bytes != bf16.peak_bytes
    assert len(list(cache.rglob("*.json"))) == 2


def test_a_prediction_changes_neither_model_nor_optimizer() -> None:
    model = model_of()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (batch,) = batches(1)
    model(**batch).loss.backward()
    gradients = [p.grad for p in model.parameters()]
    predict_loop_step(LoopStep(model, Optimizers(optimizer), StepInputs.of(batch)))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
    assert not optimizer.state


def test_positions_that_restart_need_a_mask() -> None:
    ids = torch.zeros(1, 6, dtype=torch.long)
    assert StepInputs.of(
        {"input_ids": ids, "position_ids": torch.tensor([[0, 1, 2, 0, 1, 2]])}
    ).packed
    assert not StepInputs.of({"input_ids": ids, "position_ids": torch.arange(6)[None]}).packed


def test_a_heaviest_batch_that_comes_before_gradients_and_moments_is_compared_with_its_like(
    tmp_path: Path,
) -> None:
    model = model_of()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        for step in range(3):
            for length in (64 if step == 0 else 16, 16):
                (batch,) = batches(1, length=length)
                model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert ratio(run) == pytest.approx(1, abs=CLOSE)
