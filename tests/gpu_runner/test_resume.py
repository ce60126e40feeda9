"""A run that is killed, stopped or starved, in a process of its own, and what is left of it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gpu_runner.errors import ExitCode
from run_process import ROOT, events, losses, runner, wait_for_step

pytestmark = pytest.mark.slow


@pytest.fixture
def options(model_dir: Path, sums_file: Path, cats_file: Path) -> list[str]:
    return [
        *("--model", str(model_dir), "--data", str(sums_file), "--general", f"cats={cats_file}"),
        *("--steps", "60", "--eval-every", "20", "--save-every", "7", "--lr", "1e-2"),
        *("--sample-tokens", "4"),
    ]


def test_killed_and_resumed_equals_uninterrupted(options: list[str], tmp_path: Path) -> None:
    whole = runner("train", *options, "--runs", str(tmp_path / "whole"))
    whole.communicate()
    assert whole.returncode == 0
    (uninterrupted,) = (tmp_path / "whole").iterdir()

    broken = tmp_path / "broken"
    process = runner("train", *options, "--runs", str(broken))
    for step in (3, 16, 37):  # before the first checkpoint, between two, after an evaluation
        run = wait_for_step(broken, step, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        process = runner("resume", run.name, "--runs", str(broken))
    output, _ = process.communicate()
    assert process.returncode == 0, output

    assert losses(run) == losses(uninterrupted)
    one = load_file(uninterrupted / "model" / "model.safetensors")
    two = load_file(run / "model" / "model.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)
    resumed = [event["from_step"] for event in events(run) if event["kind"] == "run.resume"]
    assert resumed[0] == 0
    assert all(step % 7 == 0 for step in resumed)
    assert len({event["seq"] for event in events(run)}) == len(events(run))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    options: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    process = runner("train", *options, "--runs", str(tmp_path))
    run = wait_for_step(tmp_path, 5, process)
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == ExitCode.OK, output
    assert f"asked to stop by {number.name}" in output
    assert f"unfrozen resume {run.name}" in output
    end = events(run)[-1]
    assert (end["kind"], end["status"]) == ("run.end", "stopped")
    checkpoint = max((run / "checkpoints").iterdir())
    assert checkpoint.name == f"step-{end['step']:06d}"


def test_a_closed_terminal_saves_the_run(options: list[str], tmp_path: Path) -> None:
    """As ssh that is cut: SIGHUP, and from then on writing to the terminal is an error."""
    ours, theirs = os.openpty()
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "py"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "gpu_runner", "train", *options, "--runs", str(tmp_path)]
    in_terminal = (
        f"import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        f" os.execv(sys.executable, {command!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", in_terminal],
        stdin=theirs, stdout=theirs, stderr=theirs, env=settings, start_new_session=True, text=True,
    )  # fmt: skip
    os.close(theirs)
    run = wait_for_step(tmp_path, 5, process)
    os.close(ours)
    process.wait()
    assert process.returncode == ExitCode.OK
    end = events(run)[-1]
    assert (end["status"], end["reason"]) == ("stopped", "asked to stop by SIGHUP")
    assert (run / "checkpoints" / f"step-{end['step']:06d}" / "manifest.json").exists()


def test_out_of_memory_is_caught_with_advice(
    model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    """PyTorch may take 150 MB of addresses more than it has; the batch needs twice that."""
    script = (
        "import resource, torch, transformers, gpu_runner.run.fine_tune\n"
        "from transformers import LlamaForCausalLM\n"
        "torch.ones(8) @ torch.ones(8)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 150_000_000,) * 2)\n"
        "from gpu_runner.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-c", script, "train", "--model", str(model_dir)),
            *("--data", str(sums_file), "--micro-batch", "4096", "--grad-accum", "1"),
            *("--steps", "1", "--general", "none", "--runs", str(tmp_path)),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "py"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == ExitCode.MEMORY, done.stdout + done.stderr
    assert "out of memory" in done.stderr
    advised = re.findall(r"--micro-batch (\d+) --grad-accum (\d+) .*predicted peak", done.stderr)
    assert advised
    assert all(int(rows) * int(times) == 4096 for rows, times in advised)
    (run,) = tmp_path.iterdir()
    assert events(run)[-1]["status"] == "oom"
