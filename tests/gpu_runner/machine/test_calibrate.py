"""`unfrozen calibrate` on this CPU: measured, read from runs, saved, and used by the next plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpu_runner.cli.application import application
from gpu_runner.config.load import resolve
from gpu_runner.machine.calibrate import (
    Calibrated,
    RecordedSteps,
    believe,
    calibrate,
    estimate_ratio,
    matmul_share,
    read_runs,
)
from gpu_runner.plan import plan, step_time
from gpu_runner.system.calibration import FILE_ENV, load_calibration
from unfrozen.hardware import Gpu, find
from unfrozen.plan.flops import flops
from unfrozen.plan.step_time import step_time as estimate
from unfrozen.plan.timing.calibration import Calibration


@pytest.mark.slow
def test_the_command_saves_all_that_it_measured_and_the_next_plan_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings" / "calibration.json"
    monkeypatch.setenv(FILE_ENV, str(file))
    monkeypatch.setattr(calibrate, "__defaults__", (0.02,))
    done = CliRunner().invoke(
        application(), ["calibrate", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    )
    assert done.exit_code == 0, done.output
    assert "Measured on" in done.output
    saved = load_calibration()
    assert saved is not None
    assert saved.card is None
    assert dict(saved.products)["fp32"] > 0
    assert saved.memory_gb_s
    assert saved.launch_us
    assert saved.steps == 0
    assert saved.day
    assert saved.day in saved.sentence()
    planned = plan.make_plan(resolve({"model": "demo", "device": "cpu"}))
    found = step_time.estimate_step_time(planned)
    assert found is not None
    assert found.source.startswith("measured on")


CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 512,
}
RECIPE = {"params": "fp32", "compute": "fp32", "micro_batch": 4, "seq_len": 64, "loss_tokens": 9}


def run(runs: Path, name: str, seconds: list[float], cpu: str = "mine", **hardware: Any) -> Path:
    """Write the folder of a finished run."""
    directory = runs / name
    (directory / "model").mkdir(parents=True)
    (directory / "model" / "config.json").write_text(json.dumps(CONFIG))
    head = {"v": 1, "run": name, "att": 0, "t": 1.0, "rt": 0.0, "step": 0}
    machine = {"device": "cpu", "cpu": cpu, "processes": 1} | hardware
    events = [head | {"seq": 0, "kind": "run.start", "hardware": machine, "recipe": RECIPE}]
    events += [
        head | {"seq": 1 + i, "kind": "metrics", "m": {"perf/step_seconds": value}}
        for i, value in enumerate(seconds)
    ]
    log = "".join(json.dumps(event) + "\n" for event in events)
    (directory / "events.jsonl").write_text(log)
    return directory


def counted(runs: Path, device: str, gpu: Gpu | None) -> list[RecordedSteps]:
    """The runs in a folder, of which each counts."""
    found = list(read_runs(runs, device, gpu))
    assert not [one for one in found if not isinstance(one, RecordedSteps)]
    return [one for one in found if isinstance(one, RecordedSteps)]


def test_steps_of_this_device_are_read_without_warm_up_steps(tmp_path: Path) -> None:
    run(tmp_path, "one", [9.0, 9.0, 9.0, 0.2, 0.1, 0.3])
    run(tmp_path, "other-device", [0.5] * 9, cpu="another")
    run(tmp_path, "several", [0.5] * 9, processes=4)
    run(tmp_path, "short", [0.5])
    (found,) = counted(tmp_path, "mine", None)
    assert (found.number, found.seconds) == (3, 0.2)
    assert found.job.recipe.micro_batch == 4


def test_folders_that_are_no_run_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no run")
    (run(tmp_path, "without-model", [0.5] * 9) / "model" / "config.json").unlink()
    assert list(read_runs(tmp_path, "mine", None)) == []
    assert list(read_runs(tmp_path / "nowhere", "mine", None)) == []
    assert estimate_ratio([], Calibration(device="mine")) is None
    assert matmul_share([], {}) is None


RATES = Calibration(device="mine", products=(("fp32", 0.05),))


@pytest.mark.parametrize(
    ("seconds", "config", "why"),
    [
        (1e-6, None, "its steps of 1e-06 s reach 4,0"),
        (5e-324, None, "over a million times the matmul rate measured here"),
        (0.0, None, "its log has a step of 0 s"),
        (-1.0, None, "its log has a step of -1 s"),
        (float("inf"), None, "its log has a step of inf s"),
        (6e5, None, "its log has a step of 6e+05 s: more than 0 and at most 100,000 s count"),
        (9e4, None, "of the matmul rate measured here: too slow"),
        (0.1, '{"a":' * 100_000, "its model/config.json"),
        (0.1, "{", "its model/config.json"),
        (0.1, json.dumps(CONFIG | {"num_hidden_layers": 10**9}), "the planner does not take its"),
        (0.1, json.dumps(CONFIG | {"vocab_size": -1}), "the planner does not take its job"),
    ],
)
def test_a_run_that_this_device_cannot_have_taken_is_refused_with_the_reason(
    seconds: float, config: str | None, why: str, tmp_path: Path
) -> None:
    run(tmp_path, "good", [0.1] * 9)
    bad = run(tmp_path, "bad\x1b[31m", [0.1] * 3 + [seconds] * 9)
    log = bad / "events.jsonl"
    log.write_text(log.read_text().replace("Infinity", "1e999"))
    if config is not None:
        (bad / "model" / "config.json").write_text(config)
    used, refused = believe(read_runs(tmp_path, "mine", None), RATES, None)
    assert [one.run for one in used] == ["good"]
    ((name, reason),) = refused
    assert "\x1b" not in name
    assert why in reason
    said = Calibrated(RATES, used, refused).sentences()
    assert said[0] == "Their steps count: good (6 steps of 0.1 s)."
    assert said[1] == f"Not used: {name}: {reason}."


@pytest.mark.parametrize("seconds", [1e-6, 50.0])
def test_a_run_far_from_the_estimate_of_a_gpu_is_refused(seconds: float, tmp_path: Path) -> None:
    gpu = find("RTX 3090")
    run(tmp_path, "one", [seconds] * 9, gpu="NVIDIA GeForce RTX 3090")
    measured = Calibration(device="NVIDIA GeForce RTX 3090", card=gpu.name)
    used, refused = believe(read_runs(tmp_path, measured.device, gpu), measured, gpu)
    assert used == []
    assert "times the estimate" in refused[0].why


def test_steps_on_a_cpu_reach_a_share_of_its_matmul_rate(tmp_path: Path) -> None:
    run(tmp_path, "one", [0.1] * 9)
    found = counted(tmp_path, "mine", None)
    done = flops(found[0].job).total * 4 * 64
    reached = matmul_share(found, {"fp32": 0.05})
    assert reached is not None
    assert reached[0] == pytest.approx(done / 0.1 / 0.05e12)
    assert reached[1] == 6


def test_steps_on_a_gpu_are_compared_with_the_estimate(tmp_path: Path) -> None:
    gpu = find("RTX 3090")
    run(tmp_path, "one", [0.1] * 9, gpu="NVIDIA GeForce RTX 3090")
    found = counted(tmp_path, "NVIDIA GeForce RTX 3090", gpu)
    measured = Calibration(device="NVIDIA GeForce RTX 3090", card=gpu.name)
    beside = estimate_ratio(found, measured)
    assert beside == (pytest.approx(0.1 / estimate(found[0].job).seconds), 6)
