"""The same examples in the same order at the same rates give one loss curve in every trainer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, default_data_collator

import unfrozen
from gpu_runner.config.load import resolve
from gpu_runner.plan import plan
from gpu_runner.plan.plan import RunPlan
from gpu_runner.run.fine_tune import fine_tune
from watched_loops import series

pytestmark = pytest.mark.slow

STEPS, MICRO, PARTS = 4, 2, 2
CLOSE = 1e-3


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, sums_file: Path) -> Any:
    """A run of ours on sums, of two micro-batches a step, with a schedule."""
    return {
        **{"model": str(model_dir), "data": str(sums_file), "general": ()},
        **{"steps": STEPS, "micro_batch": MICRO, "grad_accum": PARTS, "lr": 3e-3, "packing": False},
        **{"compute": "fp32", "weight_decay": 0.0, "save_every": 0, "sample_tokens": 0},
        "runs": str(tmp_path_factory.mktemp("ours")),
    }


@pytest.fixture(scope="module")
def planned(options: Any) -> RunPlan:
    """The plan of the same run, with its examples and rates."""
    return plan.make_plan(resolve(options))


@pytest.fixture(scope="module")
def ours(options: Any) -> list[float]:
    """The losses of our own runner."""
    fine_tune(resolve(options), Console(quiet=True))
    (run,) = Path(options["runs"]).iterdir()
    return series(run, "train/loss")


def begun(planned: RunPlan) -> tuple[Any, torch.optim.Optimizer]:
    """The same model, and the same rule."""
    model = AutoModelForCausalLM.from_pretrained(planned.source.place, dtype=torch.float32).train()
    choices: dict[str, Any] = {"betas": planned.betas, "weight_decay": 0.0}
    return model, torch.optim.AdamW(model.parameters(), lr=1.0, **choices)


def batches(planned: RunPlan, step: int) -> Iterator[dict[str, torch.Tensor]]:
    """The micro-batches of a step."""
    for batch in planned.feed.step(step):
        yield {"input_ids": batch.input_ids, "labels": batch.labels}


def test_a_custom_loop_has_our_curve(planned: RunPlan, ours: list[float], tmp_path: Path) -> None:
    model, optimizer = begun(planned)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        for step in range(1, STEPS + 1):
            optimizer.param_groups[0]["lr"] = planned.schedule.at(step)
            items = planned.feed.trainable_tokens(step)
            for batch in batches(planned, step):
                model(**batch, num_items_in_batch=items).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), planned.config.clip)
            optimizer.step()
            optimizer.zero_grad()
    assert series(run, "train/loss") == pytest.approx(ours, abs=CLOSE)
    assert series(run, "opt/lr") == pytest.approx(
        [planned.schedule.at(n + 1) for n in range(STEPS)]
    )


def test_a_trainer_has_our_curve(planned: RunPlan, ours: list[float], tmp_path: Path) -> None:
    rows = [
        {name: value[place] for name, value in batch.items()}
        for step in range(1, STEPS + 1)
        for batch in batches(planned, step)
        for place in range(MICRO)
    ]
    model, optimizer = begun(planned)
    rate = [planned.schedule.at(step) for step in range(1, STEPS + 1)]
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: rate[min(done, STEPS - 1)])
    callback = unfrozen.Callback(runs=tmp_path / "runs")
    arguments: dict[str, Any] = {
        **{"max_steps": STEPS, "per_device_train_batch_size": MICRO, "use_cpu": True},
        **{"gradient_accumulation_steps": PARTS, "max_grad_norm": planned.config.clip},
        **{"train_sampling_strategy": "sequential", "save_strategy": "no", "report_to": "none"},
        **{"disable_tqdm": True},
    }
    trainer = Trainer(
        model,
        TrainingArguments(str(tmp_path / "out"), **arguments),
        train_dataset=rows,
        data_collator=default_data_collator,
        optimizers=(optimizer, rates),
        callbacks=[callback],
    )
    trainer.train()
    assert series(callback.run, "train/loss") == pytest.approx(ours, abs=CLOSE)
