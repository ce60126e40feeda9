"""Steps with matmuls in fp16, beside PyTorch's own scaler, and runs of them that are resumed."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import tiny_llama
from gpu_runner.cli.application import application
from gpu_runner.data.encode import Encoder
from gpu_runner.data.feed import Feed
from gpu_runner.errors import ExitCode
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.train import gradients
from gpu_runner.train.loop import (
    MOST_SKIPPED_IN_A_ROW,
    State,
    StepResult,
    Training,
    TrainingStep,
    timed_step,
)
from resumed_runs import kinds
from run_process import losses
from unfrozen.schedules import Schedule

HALF = partial(torch.autocast, "cpu", dtype=torch.float16)
RATE = 1e-2


def training(scale: float, steps: int, **more: Any) -> Training:
    encoder = Encoder(tiny_llama.tokenizer(), 60)
    model: Any = tiny_llama.model()
    rows = tuple(encoder.encode(row) for row in tiny_llama.sums(24))
    step = TrainingStep(
        model=model,
        optimizer=optim.build(model, lr=RATE, weight_decay=0.0),
        feed=Feed(rows, 0, 4, 2, 0),
        schedule=Schedule("constant", steps, RATE, 0),
        clip=0.0,
        **{"autocast": HALF, **more},
    )
    nobody: Any = None  # is told of single steps
    return Training(step, State(loss_scale=scale), nobody, lambda: True, nobody)


@pytest.mark.slow
def test_its_steps_are_those_of_pytorchs_scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a scale that overflows at first, and grows again."""
    monkeypatch.setattr(gradients, "GROWTH_STEPS", 3)
    first, steps = 2.0**25, 16
    ours = training(first, steps)
    theirs = training(first, steps).step
    scaler = torch.amp.GradScaler("cpu", init_scale=first, growth_interval=3)
    adamw = torch.optim.AdamW(theirs.model.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    scales = []
    for number in range(1, steps + 1):
        ours.state.advance(timed_step(ours, number))
        tokens = theirs.feed.trainable_tokens(number)
        for batch in theirs.feed.step(number):
            with HALF():
                total, _ = loss_sum(theirs.model, batch)
            scaler.scale(total / tokens).backward()
        scaler.step(adamw)
        scaler.update()
        adamw.zero_grad()
        scales.append(ours.state.loss_scale)
        assert scales[-1] == scaler.get_scale(), number
    assert ours.state.skipped > 2
    assert max(scales[ours.state.skipped :]) > min(scales), "it grows again"
    assert ours.state.skipped_in_a_row == 0
    for one, two in zip(ours.step.model.parameters(), theirs.model.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.slow
def test_gradients_that_fp16_would_lose_are_kept() -> None:
    """Of a loss so small that gradients of activations are 0 in fp16."""
    loss = partial(times, factor=1e-6)
    wide = partial(torch.autocast, "cpu", enabled=False)
    exact = timed_step(training(0.0, 1, loss=loss, autocast=wide), 1).grad_norm
    lost, kept = (timed_step(training(at, 1, loss=loss), 1).grad_norm for at in (0.0, 2.0**16))
    assert kept == pytest.approx(exact, rel=0.01)
    assert lost != pytest.approx(exact, rel=0.1)


def times(model: Any, batch: Any, factor: float) -> tuple[torch.Tensor, int]:
    total, count = loss_sum(model, batch, "full")
    return total * factor, count


def test_a_run_whose_smallest_scale_overflows_has_diverged() -> None:
    state = State(loss_scale=4.0)
    found = []
    for number in range(1, 8):
        state.advance(StepResult(number, 1.0, 1.0, True, 1e-3, 1, 0.1, None))
        found.append((state.loss_scale, state.skipped_in_a_row))
    assert found == [(2, 0), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5)]
    assert found[-1][1] == MOST_SKIPPED_IN_A_ROW


@pytest.mark.slow
def test_a_run_in_fp16_is_resumed_bit_by_bit(
    model_dir: Path, sums_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_runner.run.fine_tune.FIRST_SCALE", 2.0**21)
    monkeypatch.setattr(gradients, "GROWTH_STEPS", 3)
    typed = ["--model", str(model_dir), "--data", str(sums_file), "--general", "none"]
    typed += ["--sample-tokens", "0", "--save-every", "1", "--compute", "fp16", "--lr", "1e-2"]
    typed += ["--schedule", "constant", "--warmup", "0"]
    terminal = CliRunner(env={"COLUMNS": "400"})
    runs = {}
    for name, steps in (("whole", 8), ("broken", 5)):
        place = tmp_path / name
        done = terminal.invoke(
            application(), ["train", *typed, "--steps", str(steps), "--runs", str(place)]
        )
        assert done.exit_code == ExitCode.OK, done.output
        (runs[name],) = place.iterdir()
    further = terminal.invoke(application(), ["resume", str(runs["broken"]), "--steps", "8"])
    assert further.exit_code == ExitCode.OK, further.output
    assert losses(runs["whole"]) == losses(runs["broken"])
    one, two = (load_file(run / "model" / "model.safetensors") for run in runs.values())
    assert all(torch.equal(one[name], two[name]) for name in one)
    told = [event["text"] for event in kinds(runs["whole"], "alert") if "fp16" in event["text"]]
    assert 0 < len(told) < 5, "then it trains"
    assert "The loss of fp16 is now scaled by 1.04858e+06." in told[0]
