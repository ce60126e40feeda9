"""Steps of runs: read from what a run leaves, and nothing else is guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpu_runner.machine.recorded_steps import measured_steps, ratio, share
from unfrozen.hardware.gpus import find
from unfrozen.plan.flops import flops
from unfrozen.plan.step_time import step_time
from unfrozen.plan.timing.calibration import Calibration

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
    """A finished run as its folder holds it."""
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


def test_steps_of_this_device_are_read_without_those_that_warm_up(tmp_path: Path) -> None:
    run(tmp_path, "one", [9.0, 9.0, 9.0, 0.2, 0.1, 0.3])
    run(tmp_path, "other-device", [0.5] * 9, cpu="another")
    run(tmp_path, "several", [0.5] * 9, processes=4)
    run(tmp_path, "short", [0.5])
    (found,) = measured_steps(tmp_path, "mine", None)
    assert (found.number, found.seconds) == (3, 0.2)
    assert found.job.recipe.micro_batch == 4


def test_what_is_no_run_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no run")
    broken = run(tmp_path, "broken", [0.5] * 9)
    (broken / "model" / "config.json").write_text("{")
    assert list(measured_steps(tmp_path, "mine", None)) == []
    assert list(measured_steps(tmp_path / "nowhere", "mine", None)) == []
    assert ratio([], Calibration(device="mine")) is None
    assert share([], {}) is None


def test_a_processor_s_steps_reach_a_share_of_its_products(tmp_path: Path) -> None:
    run(tmp_path, "one", [0.1] * 9)
    found = list(measured_steps(tmp_path, "mine", None))
    done = flops(found[0].job).total * 4 * 64
    reached = share(found, {"fp32": 0.05})
    assert reached is not None
    assert reached[0] == pytest.approx(done / 0.1 / 0.05e12)
    assert reached[1] == 6


def test_a_card_s_steps_stand_beside_the_estimate(tmp_path: Path) -> None:
    gpu = find("RTX 3090")
    run(tmp_path, "one", [0.1] * 9, gpu="NVIDIA GeForce RTX 3090")
    found = list(measured_steps(tmp_path, "NVIDIA GeForce RTX 3090", gpu))
    measured = Calibration(device="NVIDIA GeForce RTX 3090", card=gpu.name)
    beside = ratio(found, measured)
    assert beside == (pytest.approx(0.1 / step_time(found[0].job).seconds), 6)
