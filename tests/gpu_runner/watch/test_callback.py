"""Watched Trainers of transformers and TRL."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

import tiny_llama
import unfrozen
from conftest import matrix
from gpu_runner.log import commands
from gpu_runner.watch.run_log import READ_SECONDS
from watched_loops import SIX, alerts, batches, events, model_of, rows, series

pytestmark = pytest.mark.slow


class Rows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Examples for a Trainer."""

    def __init__(self, count: int = 24, length: int = 48) -> None:
        found = next(batches(1, rows=count, length=length))
        self.rows = [{k: v[i] for k, v in found.items()} for i in range(count)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.rows[index]


def arguments(place: Path, **more: Any) -> TrainingArguments:
    usual: dict[str, Any] = {
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 3,
    }
    return TrainingArguments(output_dir=str(place / "out"), **{**usual, **more})


def trained(place: Path, callbacks: list[Any], family: str = "llama", **more: Any) -> Trainer:
    trainer = Trainer(
        model_of(family), arguments(place, **more), train_dataset=Rows(), callbacks=callbacks
    )
    trainer.train()
    return trainer


def test_a_trainer_is_watched_and_computes_the_same(tmp_path: Path) -> None:
    callback = unfrozen.Callback(runs=tmp_path, task=rows(), tokenizer=tiny_llama.tokenizer())
    watched = trained(tmp_path, [callback])
    alone = trained(tmp_path, [])
    for name, value in alone.model.state_dict().items():
        assert torch.equal(watched.model.state_dict()[name], value), name
    logged = [entry["loss"] for entry in alone.state.log_history if "loss" in entry]
    assert series(callback.run, "train/loss") == pytest.approx(logged, abs=1e-4)
    norms = [entry["grad_norm"] for entry in alone.state.log_history if "grad_norm" in entry]
    assert series(callback.run, "train/grad_norm") == pytest.approx(norms, rel=1e-5)
    start = events(callback.run, "run.start")[0]
    assert start["plan"]["steps"] == 6
    assert start["plan"]["lr"] == pytest.approx(series(callback.run, "opt/lr"), rel=1e-5)
    assert start["trainer"].startswith("transformers Trainer")
    assert events(callback.run, "run.end")[0]["status"] == "finished"


NARROW: dict[str, Any] = {"bf16": True, "gradient_accumulation_steps": 2}
AGAIN: dict[str, Any] = {"activation_checkpointing": True}


@pytest.mark.parametrize(
    ("family", "more"),
    matrix(
        [
            *(("llama", {}), ("qwen3", NARROW), ("gemma", AGAIN), ("mistral", NARROW)),
            *(("gpt2", {}), ("smollm3", AGAIN), ("olmo2", {"optim": "adafactor"})),
        ],
        ("qwen3", NARROW),
        ("smollm3", AGAIN),
        ("olmo2", {"optim": "adafactor"}),
    ),
)
def test_a_trainer_needs_what_was_predicted(
    tmp_path: Path, family: str, more: dict[str, Any]
) -> None:
    callback = unfrozen.Callback(runs=tmp_path)
    trained(tmp_path, [callback], family, max_steps=3, per_device_train_batch_size=8, **more)
    summary = events(callback.run, "run.end")[0]["summary"]
    assert summary["memory_ratio"] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("family", matrix(SIX, "gpt_neox"))
def test_an_sft_trainer_needs_what_was_predicted(tmp_path: Path, family: str) -> None:
    from trl import SFTConfig, SFTTrainer

    settings: dict[str, Any] = {
        **{"max_steps": 3, "per_device_train_batch_size": 8, "max_length": 64, "use_cpu": True},
        **{"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "bf16": False},
        "activation_checkpointing": SIX.index(family) % 2 == 1,
    }
    callback = unfrozen.Callback(runs=tmp_path)
    given: dict[str, Any] = {"train_dataset": Dataset.from_list(rows(24)), "callbacks": [callback]}
    arguments = SFTConfig(str(tmp_path / "out"), **settings)
    tokenizer = tiny_llama.tokenizer()
    SFTTrainer(model_of(family), args=arguments, processing_class=tokenizer, **given).train()
    assert len(series(callback.run, "train/loss")) == 3
    summary = events(callback.run, "run.end")[0]["summary"]
    assert summary["memory_ratio"] == pytest.approx(1, abs=0.03)


class SendsCommand(TrainerCallback):  # type: ignore[misc]
    """Sends a command of the page at a step."""

    def __init__(self, callback: Any, step: int, command: commands.Command) -> None:
        self.asked = callback, step, command

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, control
        callback, step, command = self.asked
        if state.global_step == step:
            place = callback.run.place
            commands.post_command(place, place.name, 0, command)
            time.sleep(READ_SECONDS)


def test_the_page_can_stop_it(tmp_path: Path) -> None:
    callback = unfrozen.Callback(runs=tmp_path)
    trainer = trained(tmp_path, [callback, SendsCommand(callback, 2, "stop")])
    assert trainer.state.global_step == 3
    end = events(callback.run, "run.end")[0]
    assert (end["status"], end["reason"]) == ("stopped", "asked by the page")


def test_the_page_can_have_it_saved(tmp_path: Path) -> None:
    callback = unfrozen.Callback(runs=tmp_path)
    trained(tmp_path, [callback, SendsCommand(callback, 2, "checkpoint")])
    assert [event["path"] for event in events(callback.run, "checkpoint")] == [
        str(tmp_path / "out" / "checkpoint-3")
    ]


def test_a_callback_that_raises_ends_the_trainer_and_its_run(tmp_path: Path) -> None:
    class Raises(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del args, control
            if state.global_step == 2:
                raise RuntimeError("no more")

    callback = unfrozen.Callback(runs=tmp_path)
    with pytest.raises(RuntimeError, match="no more"):
        trained(tmp_path, [callback, Raises()])
    assert len(series(callback.run, "train/loss")) == 2
    callback.run.close("failed", "no more")


def test_padding_that_hides_the_end_token_is_reported(tmp_path: Path) -> None:
    class Hidden(Rows):
        def __init__(self) -> None:
            super().__init__()
            for row in self.rows:
                row["input_ids"][-4:] = 0  # the end token, and what fills rows up
                row["labels"][-4:] = -100

    callback = unfrozen.Callback(runs=tmp_path, tokenizer=tiny_llama.tokenizer())
    trainer = Trainer(model_of(), arguments(tmp_path), train_dataset=Hidden(), callbacks=[callback])
    trainer.train()
    assert "does not learn to stop" in alerts(callback.run)
