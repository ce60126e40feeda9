"""Watched loops that run out of memory for real: the kernel refuses a block."""

from __future__ import annotations

import re
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from transformers import Trainer, TrainingArguments

import unfrozen
from starved import MIB, at_most_more
from unfrozen.schema import read_event
from watched_loops import alerts, batches, events, forget_accelerator, model_of, series, train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cached", "patience")]

ROOM = 230 * MIB  # logits of 64 rows take 128 MiB, and a loss needs four times that
ROWS, LENGTH = 64, 128


def model_and_optimizer() -> tuple[Any, torch.optim.Optimizer]:
    """Return a tiny model with a large vocabulary: small weights, large logits."""
    model = model_of(vocab_size=4096, num_hidden_layers=0)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3)


def end_of(run: Any) -> dict[str, Any]:
    """Return the last event, which the page accepts."""
    end = events(run)[-1]
    verdict = read_event(end)
    assert (verdict.problem, verdict.unknown) == ("", 0)
    assert (end["kind"], end["status"]) == ("run.end", "oom")
    return end


@pytest.fixture(scope="module")
def starved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run with less memory than it needs, and the error that ended it."""
    model, optimizer = model_and_optimizer()
    with (
        at_most_more(ROOM),
        pytest.raises(RuntimeError, match="can't allocate memory") as caught,
        unfrozen.watch(model, optimizer, runs=tmp_path_factory.mktemp("starved")) as run,
    ):
        train(model, optimizer, 1, rows=ROWS, length=LENGTH)
    return run, caught.value


def test_the_place_is_reported_and_the_error_goes_on_unchanged(starved: Any) -> None:
    run, error = starved
    assert error.__cause__ is None
    assert "forward" in {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    end = end_of(run)
    assert end["reason"].startswith("step 1, in the forward pass: 64 × 128 tokens")
    found = end["post_mortem"]
    assert (found["step"], found["micro_batch"], found["doing"]) == (1, 1, "forward")
    assert found["batch"] == {"rows": ROWS, "length": LENGTH, "loss_tokens": 96 * ROWS}
    assert found["instant"] == "end_of_forward"
    assert found["asked_bytes"] == 128 * MIB
    assert "ulimit -d" in found["held"]["name"]
    assert found["measured"]["params"] == found["predicted"]["params"]
    assert sum(found["predicted"].values()) > found["budget_bytes"]
    assert "Out of memory: step 1, in the forward pass" in alerts(run)
    assert torch.utils._python_dispatch._len_torch_dispatch_stack() == 0


def test_suggested_settings_fit_for_real(starved: Any) -> None:
    settings = end_of(starved[0])["post_mortem"]["settings"]
    assert len(settings) == 3
    assert not [one for one in settings if not one["fits"]]
    assert len({one["options"] for one in settings}) == 3
    for one in settings:
        sizes = re.search(r"(\d+) sequences per micro-batch, (\d+) micro-batches", one["options"])
        cut = re.search(r"cut to (\d+) tokens", one["options"])
        count, parts = (int(sizes[1]), int(sizes[2])) if sizes else (ROWS, 1)
        assert count * parts == ROWS
        model, optimizer = model_and_optimizer()
        if "activation_checkpointing_enable" in one["options"]:
            model.activation_checkpointing_enable()
        with at_most_more(ROOM):
            train(model, optimizer, 2, parts, rows=count, length=int(cut[1]) if cut else LENGTH)


def test_a_component_larger_than_predicted_is_named(tmp_path: Path) -> None:
    class Hoards(torch.nn.Module):
        """Needs more memory in its second step than predicted."""

        def __init__(self) -> None:
            super().__init__()
            self.model, self.calls = model_of(vocab_size=4096, num_hidden_layers=0), 0
            self.config = self.model.config

        def get_output_embeddings(self) -> Any:
            return self.model.get_output_embeddings()

        def forward(self, **inputs: Any) -> Any:
            output = self.model(**inputs)
            if inputs["input_ids"].device.type == "cpu" and type(output.loss) is torch.Tensor:
                self.calls += 1
                self.hoard = [torch.zeros(64 * MIB, dtype=torch.uint8) for _ in range(self.calls)]
                self.most = self.calls > 1 and torch.zeros(900 * MIB, dtype=torch.uint8)
            return output

    model = Hoards()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with (
        at_most_more(ROOM),
        pytest.raises(RuntimeError, match="can't allocate memory"),
        unfrozen.watch(model, optimizer, runs=tmp_path) as run,
    ):
        train(model, optimizer, 3, rows=8, length=64)
    found = end_of(run)["post_mortem"]
    assert found["step"] == 2
    assert found["beyond"]["component"] == "logits_loss"
    assert found["beyond"]["measured_bytes"] > found["beyond"]["predicted_bytes"] + 900 * MIB


def test_a_loop_that_catches_the_error_goes_on_and_it_was_reported(tmp_path: Path) -> None:
    model, optimizer = model_and_optimizer()
    with at_most_more(ROOM), unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        with suppress(RuntimeError):
            train(model, optimizer, 1, rows=ROWS, length=LENGTH)
        optimizer.zero_grad()
        losses = train(model, optimizer, 2, rows=4, length=16)
    assert series(run, "train/loss") == pytest.approx(losses)
    assert "Out of memory: step 1" in alerts(run)
    assert events(run)[-1]["status"] == "finished"


def test_a_tracker_that_is_finished_after_the_error_reports_it(tmp_path: Path) -> None:
    forget_accelerator()
    model, optimizer = model_and_optimizer()
    tracker = unfrozen.Tracker(model, optimizer, runs=tmp_path)
    accelerator = Accelerator(log_with=tracker, cpu=True)
    model, optimizer = accelerator.prepare(model, optimizer)
    accelerator.init_trackers("a run")
    (batch,) = batches(1, rows=ROWS, length=LENGTH)

    def loop() -> None:
        try:
            accelerator.backward(model(**batch).loss)
        finally:
            accelerator.end_training()

    with at_most_more(ROOM), pytest.raises(RuntimeError, match="can't allocate memory"):
        loop()
    assert len(end_of(tracker.run)["post_mortem"]["settings"]) == 3


class Rows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Examples for a Trainer."""

    def __init__(self) -> None:
        (found,) = batches(1, rows=ROWS, length=LENGTH)
        self.rows = [{k: v[i] for k, v in found.items()} for i in range(ROWS)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.rows[index]


def trainer_of(place: Path, callback: Any, **more: Any) -> Trainer:
    """Return a Trainer of one step with all examples in one batch."""
    usual: dict[str, Any] = {"max_steps": 1, "per_device_train_batch_size": ROWS}
    quiet: dict[str, Any] = {"report_to": [], "disable_tqdm": True, "save_strategy": "no"}
    arguments = TrainingArguments(str(place / "out"), use_cpu=True, **{**usual, **quiet, **more})
    model = model_of(vocab_size=4096, num_hidden_layers=0)
    return Trainer(model, arguments, train_dataset=Rows(), callbacks=[callback])


def test_a_trainer_that_finds_its_batch_size_reports_why_the_first_failed(tmp_path: Path) -> None:
    callback = unfrozen.Callback(runs=tmp_path / "runs")
    trainer = trainer_of(tmp_path, callback, auto_find_batch_size=True)
    with at_most_more(340 * MIB):  # nine tenths of the rows fit
        trainer.train()
    first, *_, last = sorted((tmp_path / "runs").iterdir(), key=lambda run: events(run)[0]["t"])
    settings = end_of(first)["post_mortem"]["settings"]
    assert settings[0]["options"].startswith("per_device_train_batch_size=")
    assert events(last)[-1]["status"] == "finished"


def test_a_trainer_with_an_uncaught_error_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback = unfrozen.Callback(runs=tmp_path / "runs")
    trainer = trainer_of(tmp_path, callback)
    with at_most_more(ROOM), pytest.raises(RuntimeError, match="enforce fail") as caught:
        trainer.train()
    monkeypatch.setattr(sys, "last_value", caught.value, raising=False)
    callback.run._at_exit()  # as the interpreter ends
    found = end_of(callback.run)["post_mortem"]
    assert found["doing"] == "forward"
    assert len(found["settings"]) == 3
