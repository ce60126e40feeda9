"""The same run on one process and on two: the number of processes never changes the result."""

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import matrix
from gpu_runner.run.run_models import load_trained
from run_process import (
    Command,
    begin_apart,
    events,
    late_share,
    losses,
    runner,
    together,
    torchrun,
    train_here,
    wait_for_line,
    wait_for_step,
)

pytestmark = pytest.mark.slow
WITHIN: dict[str, Any] = {"optimizer_in_backward": True}


@pytest.fixture(scope="module")
def options(model_dir: Path, sums_file: Path, cats_file: Path) -> list[str]:
    return [
        *("--model", str(model_dir), "--data", str(sums_file), "--general", f"cats={cats_file}"),
        *("--steps", "6", "--eval-every", "3", "--save-every", "2", "--lr", "3e-3"),
        *("--grad-accum", "2", "--sample-tokens", "2"),
    ]


def finished(*arguments: str, runs: Path, processes: int) -> Path:
    """The directory of a run that went to its end."""
    process = runner(*arguments, "--runs", str(runs), processes=processes)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    (run,) = runs.iterdir()
    return run


@pytest.fixture(scope="module")
def alone(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished("train", *options, runs=tmp_path_factory.mktemp("alone"), processes=1)


def assert_same(one: Path, two: Path, tolerance: float, weights: float | None = None) -> None:
    """Two runs agree in losses and gradient norms; weights to ten times that, or to `weights`."""
    first, second = losses(one), losses(two)
    assert first.keys() == second.keys()
    for step, pair in first.items():
        assert second[step] == pytest.approx(pair, rel=tolerance), step
    a, b = (load_file(run / "model" / "model.safetensors") for run in (one, two))
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        close = (weights or 10 * tolerance) * float(tensor.abs().max())
        torch.testing.assert_close(b[name], tensor, rtol=0, atol=close)


def test_two_processes_equal_one_with_twice_the_micro_batches(
    options: list[str], alone: Path, tmp_path: Path
) -> None:
    both = finished("train", *options, runs=tmp_path / "both", processes=2)
    assert_same(alone, both, 1e-6)
    (start,) = (event for event in events(both) if event["kind"] == "run.start")
    assert start["model"]["num_parameters"] == 27_040
    assert [event["seq"] for event in events(both)] == list(range(len(events(both))))
    ends = [events(run)[-1]["summary"]["predicted_peak_bytes"] for run in (alone, both)]
    assert ends[1] < 0.8 * ends[0]  # each of two holds half of the states
    measured = [events(run)[-1]["summary"]["measured_peak_bytes"] for run in (alone, both)]
    block = 37_120  # bytes of one gathered block, which a thread of gloo may let go late
    assert measured[0] == pytest.approx(ends[0], rel=0.03)
    assert any(measured[1] == pytest.approx(ends[1] + late, rel=0.01) for late in (0, block))
    scores = [
        [(e["suite"], e["loss"], e["tokens"]) for e in events(run) if e["kind"] == "eval"]
        for run in (alone, both)
    ]
    assert [(suite, tokens) for suite, _, tokens in scores[0]] == [
        (suite, tokens) for suite, _, tokens in scores[1]
    ]
    assert [loss for _, loss, _ in scores[1]] == pytest.approx(
        [loss for _, loss, _ in scores[0]], rel=1e-4
    )
    drifts = [[e["total"] for e in events(run) if e["kind"] == "drift"] for run in (alone, both)]
    assert drifts[1] == pytest.approx(drifts[0], rel=1e-4)
    model = AutoModelForCausalLM.from_pretrained(both / "model")
    tokenizer = AutoTokenizer.from_pretrained(both / "model")
    assert model.generate(**tokenizer("1+1=", return_tensors="pt"), max_new_tokens=2).shape[0] == 1


def test_two_copies_of_two_parts_equal_one_process(
    model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    options = {"model": str(model_dir), "data": str(sums_file), "general": (), "grad_accum": 4}
    options |= {"steps": 6, "eval_every": 3, "save_every": 3, "lr": 3e-3, "micro_batch": 1}
    options |= {"sample_tokens": 0}
    runs = []
    for processes, more in ((1, {}), (4, {"shard_size": 2})):
        place = tmp_path / str(processes)
        for child in together(train_here, options | more | {"runs": str(place)}, processes):
            child.join()
            assert child.exitcode == 0
        runs += place.iterdir()
    assert_same(*runs, 1e-6)
    ends = [events(run)[-1]["summary"] for run in runs]
    assert ends[1]["predicted_peak_bytes"] < 0.8 * ends[0]["predicted_peak_bytes"]
    late = late_share(event for event in events(runs[1]) if event["kind"] == "mem")
    assert -0.05 < ends[1]["memory_ratio"] - 1 < 0.05 + late


@pytest.mark.parametrize(
    ("chosen", "several", "tolerance", "weights"),
    matrix(
        [
            ({"optimizer": "muon"}, {}, 1e-4, 1e-2),
            ({"optimizer": "adafactor", "clip": 0.0}, WITHIN, 1e-6, 1e-5),
            ({"params": "bf16", "rounding": "stochastic"}, {}, 1e-3, 1e-2),
            ({"compute": "bf16"}, {}, 3e-3, 0.2),
            ({}, {"optimizer_offload": True}, 1e-6, 1e-5),
            ({"clip": 0.0}, WITHIN | {"optimizer_offload": True}, 1e-6, 1e-5),
            ({"params": "bf16", "optimizer_offload": True}, {}, 1e-3, 1e-2),
        ],
        ({"compute": "bf16"}, {}, 3e-3, 0.2),
        ({"clip": 0.0}, WITHIN | {"optimizer_offload": True}, 1e-6, 1e-5),
    ),
    ids=[
        *("muon", "adafactor-within-the-backward-pass", "bf16-rounded-stochastically"),
        *("fp32-gathered-in-bf16", "adamw-in-cpu-memory", "there-within-the-backward-pass"),
        "bf16-with-fp32-in-cpu-memory",
    ],
)
def test_every_way_to_move_the_weights_moves_them_on_two_processes_alike(
    model_dir: Path,
    sums_file: Path,
    chosen: dict[str, Any],
    several: dict[str, Any],
    tolerance: float,
    weights: float,
    tmp_path: Path,
) -> None:
    """Gradients added up in another order differ by 3·10⁻⁷, which turns how a few are rounded.

    Muon makes bf16 numbers of its momentum, and an orthogonal matrix shows it; weights of bf16 do,
    and so do those that are gathered in bf16: what passes between blocks then is bf16 too, and
    AdamW makes a whole step of the sign of the smallest gradient.
    """
    options = {"model": str(model_dir), "data": str(sums_file), "general": (), "grad_accum": 2}
    options |= {"steps": 6, "eval_every": 6, "save_every": 6, "lr": 3e-3, "sample_tokens": 0}
    runs = []
    for processes, more in ((1, chosen), (2, chosen | several)):
        place = tmp_path / str(processes)
        for child in together(train_here, options | more | {"runs": str(place)}, processes):
            child.join()
            assert child.exitcode == 0
        runs += place.iterdir()
    assert_same(*runs, tolerance, weights)


@pytest.mark.matrix
def test_what_holds_the_weights_back_holds_them_on_two_processes_alike(
    options: list[str], tmp_path: Path
) -> None:
    held = [*options, "--steps", "4", "--set", "l2sp=0.1", "--set", "l2sp_pull=0.1"]
    held += ["--set", "ewc=0.1", "--set", "fisher_rows=4", "--set", "ema=0.9"]
    one = finished("train", *held, runs=tmp_path / "one", processes=1)
    two = finished("train", *held, runs=tmp_path / "two", processes=2)
    assert_same(one, two, 1e-6)
    scored = [
        [
            e["m"]["eval/ema_task_loss"]
            for e in events(run)
            if "eval/ema_task_loss" in e.get("m", {})
        ]
        for run in (one, two)
    ]
    assert scored[1] == pytest.approx(scored[0], rel=1e-6)
    weights = [
        dict(load_trained(run, None, torch.device("cpu"), averaged=True).model.named_parameters())
        for run in (one, two)
    ]
    for name, average in weights[0].items():
        torch.testing.assert_close(weights[1][name], average, rtol=0, atol=1e-6)


@pytest.mark.matrix
def test_a_run_goes_on_with_two_then_one_then_two_processes(
    options: list[str], tmp_path: Path
) -> None:
    long = ["--steps", "60", "--eval-every", "60", "--save-every", "6", "--lr", "3e-4"]
    whole = finished("train", *options, *long, runs=tmp_path / "whole", processes=1)
    runs = tmp_path / "changing"
    process = runner("train", *options, *long, "--runs", str(runs), processes=2)
    for step, processes in ((12, 1), (30, 2)):  # it tells each sixth
        wait_for_line(f"step {step}/60  loss", process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        (run,) = runs.iterdir()
        process = runner("resume", run.name, "--runs", str(runs), processes=processes)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    steps = {e["step"]: e["m"]["train/loss"] for e in events(run) if "train/loss" in e.get("m", {})}
    for step, (loss, _) in losses(whole).items():
        assert steps[step] == pytest.approx(loss, rel=1e-3)
    resumed = [event["from_step"] for event in events(run) if event["kind"] == "run.resume"]
    assert len(resumed) == 2
    assert not [step for step in resumed if not (step % 6 == 0 and step >= 6)]


def heard(options: dict[str, Any], changes: dict[str, Any], folder: Path) -> str:
    """What both processes say, where one is given something else; no run is begun."""
    folder.mkdir()
    for child in together(begin_apart, (options, changes, str(folder))):
        child.join()
    one, two = ((folder / rank).read_text("utf-8") for rank in "01")
    assert one == two
    assert not list((folder / "runs").rglob("events.jsonl"))
    return one


@pytest.mark.parametrize("what", ["settings", "examples", "model"])
def test_processes_that_differ_are_refused_before_the_first_step(
    what: str, model_dir: Path, sums_file: Path, cats_file: Path, tmp_path: Path
) -> None:
    options = {"model": str(model_dir), "data": str(sums_file), "general": (), "steps": 2}
    options |= {"runs": str(tmp_path / "said" / "runs"), "grad_accum": 2, "sample_tokens": 0}
    other = Path(shutil.copytree(model_dir, tmp_path / "model"))
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, other / "model.safetensors")
    changes, said = {
        "settings": ({"lr": 2e-3}, r"differ in --lr: .+ and 0\.002\. Start all of them"),
        "examples": ({"data": str(cats_file)}, r"differ in the examples: '\w{12}' and '\w{12}'"),
        "model": ({"model": str(other)}, r"differ in the model: '[\d,]+ bytes, sha256 \w{12}' and"),
    }[what]
    assert re.match("process 0 and process 1 " + said, heard(options, changes, tmp_path / "said"))


def test_processes_with_other_checkpoints_are_refused(alone: Path, tmp_path: Path) -> None:
    mine, other = (Path(shutil.copytree(alone, tmp_path / name)) for name in ("mine", "other"))
    for run in (mine, other):
        (run / "finished").unlink()
        (run / "events.jsonl").unlink()
    newest = max((other / "checkpoints").iterdir())
    shutil.rmtree(newest)
    said = heard({"run": str(mine)}, {"run": str(other)}, tmp_path / "said")
    assert re.search(rf"differ in the checkpoint: '{newest.name}: \w{{12}}' and '.*: none'", said)


@pytest.mark.parametrize("start", matrix([runner, torchrun], runner))
def test_sigterm_stops_all_processes_after_the_same_step(
    start: Callable[..., Command], options: list[str], tmp_path: Path
) -> None:
    process = start("train", *options, "--steps", "4000", "--runs", str(tmp_path), processes=2)
    run = wait_for_step(tmp_path, 3, process)
    process.send_signal(signal.SIGTERM)  # torchrun passes it on
    output, _ = process.communicate()
    assert "examples, sharded over 2 processes. This is run" in output
    end = events(run)[-1]
    assert (end["kind"], end["status"]) == ("run.end", "stopped"), output
    assert (run / "checkpoints" / f"step-{end['step']:06d}").is_dir()


@pytest.mark.parametrize(
    ("files", "largest"),
    # moments: 216,000, and half of that each
    matrix([("whole", 150_000), ("shards", 100_000)], ("shards", 100_000)),
)
def test_a_full_disk_is_reported_once_and_ends_every_process(
    files: str, largest: int, options: list[str], tmp_path: Path
) -> None:
    more = ["--steps", "4", "--save-every", "2", "--runs", str(tmp_path / "runs")]
    more += ["--set", f"checkpoint_files={files}"]
    process = runner("train", *options, *more, processes=2, largest_file=largest)
    output, _ = process.communicate()
    assert process.returncode != 0
    assert "could not be written" in output
    assert output.count("\nError: ") == 1, output


def test_a_disk_too_full_for_the_fisher_is_reported_once_and_ends_every_process(
    options: list[str], tmp_path: Path
) -> None:
    more = ["--set", "ewc=0.1", "--set", "fisher_rows=4", "--runs", str(tmp_path / "runs")]
    process = runner("train", *options, *more, processes=2, largest_file=50_000)  # it: 108,000
    output, _ = process.communicate()
    assert process.returncode != 0
    assert "fisher could not be written" in output
    assert output.count("\nError: ") == 1, output
