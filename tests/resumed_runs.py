"""Runs that are stopped and go on: where they lie, what they said, whether two of them are one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from gpu_runner.config.schema import TrainConfig
from run_process import events, losses


def the_run(config: TrainConfig) -> Path:
    """The one run that began with these choices."""
    (run,) = Path(config.runs).iterdir()
    return run


def elsewhere(config: TrainConfig, name: str, **choices: Any) -> TrainConfig:
    """The same run, but for some choices, in a folder of its own."""
    return replace(config, runs=str(Path(config.runs).with_name(name)), **choices)


def kinds(run: Path, kind: str) -> list[dict[str, Any]]:
    """Its events of one kind."""
    return [event for event in events(run) if event["kind"] == kind]


def said(run: Path) -> str:
    """All its alerts."""
    return "\n".join(event["text"] for event in kinds(run, "alert"))


def assert_same_result(one: Path, two: Path) -> None:
    """Every loss and gradient norm, and every weight, to the last bit."""
    assert losses(one) == losses(two)
    a, b = (load_file(run / "model" / "model.safetensors") for run in (one, two))
    assert all(torch.equal(a[name], b[name]) for name in a)
