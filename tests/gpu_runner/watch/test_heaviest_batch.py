"""A warning before the heaviest batch comes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments, default_data_collator

import unfrozen
from gpu_runner.memory.loop_advice import LoopOptions
from gpu_runner.watch.predictions import FitWarning, read_lengths
from starved import MIB, at_most_more
from watched_loops import alerts, events, model_of, train

pytestmark = pytest.mark.slow

ROOM, PER_BATCH = 250 * MIB, 64
ROWS = [{"input_ids": [1] * length} for length in (3, 40, 7)]


def fit_warning(lengths: list[int], per_batch: int = 0) -> FitWarning:
    """Return one for examples on a CPU; its warnings go nowhere."""
    return FitWarning(torch.device("cpu"), LoopOptions(), lengths, per_batch, lambda _: None)


def test_lengths_are_read_from_lists_and_tables() -> None:
    assert read_lengths(ROWS) == [3, 40, 7]
    assert read_lengths(Dataset.from_list(ROWS)) == [3, 40, 7]
    assert read_lengths(Dataset.from_list(ROWS).select([2, 0])) == [7, 3]
    assert read_lengths([{"text": "no ids"}, 3, None]) == []


def test_custom_code_is_not_called_for_lengths() -> None:
    class Draws(torch.utils.data.Dataset[Any]):
        def __getitem__(self, index: int) -> Any:
            raise AssertionError("asked")

        def __len__(self) -> int:
            return 3

    assert read_lengths(Draws()) == []
    drawn = Dataset.from_list(ROWS).with_transform(lambda _: Draws()[0])
    assert read_lengths(drawn) == []
    assert read_lengths(None) == []


def test_a_collator_pads_and_cuts_lengths() -> None:
    collator = SimpleNamespace(pad_to_multiple_of=8, max_length=32)
    assert read_lengths(ROWS, collator) == [8, 32, 8]


def test_the_longest_example_decides_when_padded_and_the_longest_ones_when_packed() -> None:
    assert fit_warning([3, 40, 7], per_batch=2).heaviest(2, 10) == (2, 40)
    assert fit_warning([3, 40, 7]).heaviest(4, 10) == (4, 40)
    assert fit_warning([3, 40, 7], per_batch=2).heaviest(1, 10) == (1, 47)
    assert fit_warning([3, 4]).heaviest(2, 10) == (2, 10)
    assert fit_warning([]).heaviest(2, 10) == (2, 10)


@pytest.mark.usefixtures("cached")
def test_a_loop_is_warned_once_before_the_heaviest_batch_comes(tmp_path: Path) -> None:
    model = model_of(vocab_size=4096, num_hidden_layers=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    options: dict[str, Any] = {"runs": tmp_path, "lengths": [16, 120, 30]}
    with at_most_more(ROOM), unfrozen.watch(model, optimizer, **options) as run:
        for length in (16, 24):
            train(model, optimizer, 1, rows=PER_BATCH, length=length)
    (warning,) = [text for text in alerts(run).splitlines() if "will not fit" in text]
    assert warning.startswith(f"A later batch will not fit: {PER_BATCH} × 120 tokens")
    assert "sequences per micro-batch" in warning
    first = next(event for event in events(run, "alert") if "will not fit" in event["text"])
    assert first["step"] == 0


@pytest.mark.usefixtures("cached")
def test_a_trainer_reads_the_lengths_of_its_examples(tmp_path: Path) -> None:
    rows = [{"input_ids": [5] * 16, "labels": [5] * 16}] * 2 * PER_BATCH
    rows += [{"input_ids": [5] * 120, "labels": [5] * 120}] * PER_BATCH
    callback = unfrozen.Callback(runs=tmp_path / "runs")
    quiet: dict[str, Any] = {"report_to": [], "disable_tqdm": True, "save_strategy": "no"}
    options = {"max_steps": 2, "per_device_train_batch_size": PER_BATCH, "use_cpu": True, **quiet}
    options["train_sampling_strategy"] = "sequential"
    trainer = Trainer(
        model_of(vocab_size=4096, num_hidden_layers=0),
        TrainingArguments(str(tmp_path / "out"), **options),
        train_dataset=Dataset.from_list(rows),
        data_collator=default_data_collator,
        callbacks=[callback],
    )
    with at_most_more(ROOM):
        trainer.train()
    (warning,) = [text for text in alerts(callback.run).splitlines() if "will not fit" in text]
    assert warning.startswith(f"A later batch will not fit: {PER_BATCH} × 120 tokens")
    assert "per_device_train_batch_size=" in warning


@pytest.mark.usefixtures("cached")
def test_there_is_no_warning_where_the_batch_fits(tmp_path: Path) -> None:
    model = model_of()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with unfrozen.watch(model, optimizer, runs=tmp_path, lengths=[64]) as run:
        train(model, optimizer, 2, length=16)
    assert "will not fit" not in alerts(run)
    assert len(events(run, "predicted")) == 1
