"""A run that is killed or stopped, in a process of its own, and what is left of it."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import matrix
from gpu_runner.cli.command_line import main
from gpu_runner.errors import ExitCode
from run_process import children, events, last_step, losses, runner, wait_for_step

pytestmark = pytest.mark.slow


@pytest.fixture
def options(model_dir: Path, sums_file: Path, cats_file: Path) -> list[str]:
    return [
        *("--model", str(model_dir), "--data", str(sums_file), "--general", f"cats={cats_file}"),
        *("--steps", "60", "--eval-every", "20", "--save-every", "7", "--lr", "1e-2"),
        *("--sample-tokens", "4"),
    ]


@pytest.mark.matrix
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
    assert not [step for step in resumed if step % 7 != 0]
    assert len({event["seq"] for event in events(run)}) == len(events(run))


@pytest.mark.parametrize(
    "number",  # a closed terminal sends SIGHUP, below
    matrix([signal.SIGTERM, signal.SIGHUP, signal.SIGINT], signal.SIGTERM, signal.SIGINT),
)
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    options: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    process = runner("train", *options, "--steps", "100000", "--runs", str(tmp_path))
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


def in_terminal(name: str, words: list[str], more: int = 0) -> None:
    """The command in this process, which is a child, and whose terminal that becomes."""
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup would have the tests ignore
    terminal = os.open(name, os.O_RDWR | more)
    for stream in range(3):
        os.dup2(terminal, stream)
    main(words)


def test_a_closed_terminal_saves_the_run(options: list[str], tmp_path: Path) -> None:
    """As ssh that is cut: SIGHUP, and from then on writing to the terminal is an error."""
    ours, theirs = os.openpty()
    words = ["train", *options, "--steps", "100000", "--runs", str(tmp_path)]
    process = children().Process(target=in_terminal, args=(os.ttyname(theirs), words))
    process.start()
    os.close(theirs)
    while not (found := list(tmp_path.glob("*/events.jsonl"))) or last_step(found[0].parent) < 5:
        assert process.is_alive()
        time.sleep(0.01)
    run = found[0].parent
    os.close(ours)
    process.join()
    assert process.exitcode == ExitCode.OK
    end = events(run)[-1]
    assert (end["status"], end["reason"]) == ("stopped", "asked to stop by SIGHUP")
    assert (run / "checkpoints" / f"step-{end['step']:06d}" / "manifest.json").exists()


def test_a_terminal_that_is_gone_before_a_signal_says_so_ends_no_run(
    options: list[str], tmp_path: Path
) -> None:
    """No SIGHUP comes from a terminal that is not the process's own."""
    ours, theirs = os.openpty()
    words = ["train", *options, "--runs", str(tmp_path)]
    given = os.ttyname(theirs), words, os.O_NOCTTY
    process = children().Process(target=in_terminal, args=given)
    process.start()
    os.close(theirs)
    while not list(tmp_path.glob("*/events.jsonl")):
        assert process.is_alive()
        time.sleep(0.01)
    os.close(ours)
    process.join()
    assert process.exitcode == ExitCode.OK
    assert events(next(tmp_path.glob("2*")))[-1]["status"] == "finished"
