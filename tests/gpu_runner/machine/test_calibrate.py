"""`unfrozen calibrate` on this processor: measured, kept, and used by the next plan."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from gpu_runner.cli.application import application
from gpu_runner.config.load import resolve
from gpu_runner.machine import speeds
from gpu_runner.machine.calibrate import measure
from gpu_runner.plan import plan, step_time
from gpu_runner.system.calibration import FILE_ENV, kept


def test_a_processor_is_measured_whole(tmp_path: Path) -> None:
    found = measure(torch.device("cpu"), tmp_path, "2026-11-27", seconds=0.02)
    assert found.card is None
    assert dict(found.products)["fp32"] > 0
    assert found.memory_gb_s
    assert found.launch_us
    assert found.steps == 0
    assert "2026-11-27" in found.sentence()


@pytest.mark.slow
def test_the_command_keeps_what_it_measured_and_the_next_plan_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings" / "calibration.json"
    monkeypatch.setenv(FILE_ENV, str(file))
    monkeypatch.setattr(speeds.products, "__defaults__", (0.02, speeds.time.perf_counter))
    done = CliRunner().invoke(
        application(), ["calibrate", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    )
    assert done.exit_code == 0, done.output
    assert "Measured on" in done.output
    found = kept()
    assert found is not None
    told = step_time.estimate_step_time(plan.make_plan(resolve({"model": "demo", "device": "cpu"})))
    assert told is not None
    assert told.source.startswith("measured on")
