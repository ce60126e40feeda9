"""Real runs that are asked for something between two steps: what they do, what stays equal."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

import run_process
from gpu_runner import atomic
from gpu_runner.checkpoint import directory
from gpu_runner.log import commands
from gpu_runner.log.questions import Question, post_question, wait_for_answer
from gpu_runner.log.runs import describe, processes_of
from run_process import begin, events, losses, runner
from slowness import slowness
from unfrozen.events import PATIENCE

pytestmark = pytest.mark.slow

STEPS = 90
LONG = {"steps": 100_000, "eval_every": 100_000}  # it ends when it is asked to
PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="module")
def options(model_dir: Path, sums_file: Path) -> dict[str, Any]:
    steps = {"steps": STEPS, "eval_every": STEPS, "save_every": 0, "lr": 3e-3, "sample_tokens": 0}
    return {"model": str(model_dir), "data": str(sums_file), "general": (), **steps}


@pytest.fixture(scope="module")
def undisturbed(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, whom nobody asked for anything."""
    place = tmp_path_factory.mktemp("undisturbed")
    child = begin(run_process.train_here, options | {"runs": str(place)})
    child.join()
    (run,) = place.iterdir()
    return run


@pytest.fixture
def paused(options: dict[str, Any], tmp_path: Path) -> Iterator[tuple[ForkServerProcess, Path]]:
    """A run that was asked to pause after a few steps, and its directory."""
    child = begin_standing(3, run_process.train_here, options | {"runs": str(tmp_path)})
    run = begun(tmp_path, 3)
    pause_standing(child, run)
    yield child, run
    child.kill()
    child.join()


def begin_standing(step: int, target: Callable[[Any], None], argument: Any) -> ForkServerProcess:
    """A run in a process of its own that stands after a step: it cannot end before it is asked."""
    child = begin(partial(run_process.stand_after, step, target), argument)
    run_process.wait_until_standing(child)
    return child


def pause_standing(child: ForkServerProcess, run: Path, attempt: int = 0) -> None:
    """Ask a run that stands to pause, and let it go on to where it hears that."""
    seq = commands.post_command(run, run.name, attempt, "pause").seq
    assert child.pid is not None
    os.kill(child.pid, signal.SIGCONT)
    wait(lambda: last_beat(run).get("heard") == seq, "pause")


def begun(runs: Path, step: int) -> Path:
    """The one run there, once it has taken `step` steps."""
    wait(lambda: any(runs.glob("*/events.jsonl")), "a log")
    (run,) = (path.parent for path in runs.glob("*/events.jsonl"))
    wait(lambda: run_process.last_step(run) >= step, f"step {step}")
    return run


def wait(until: Callable[[], bool], what: str) -> None:
    """Until it is so, or no longer than anyone would."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not until():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.005)


def ask(run: Path, command: commands.Command, attempt: int = 0) -> None:
    """Post a command and wait until the run says that it heard it."""
    seq = commands.post_command(run, run.name, attempt, command).seq
    wait(lambda: last_beat(run).get("heard") == seq, f"answer to {command}")


def last_beat(run: Path) -> dict[str, Any]:
    """The newest sign of life."""
    return [event for event in events(run) if event["kind"] == "beat"][-1]


def assert_same(run: Path, undisturbed: Path) -> None:
    """Every loss and gradient norm, and every byte of the model."""
    assert losses(run) == losses(undisturbed)
    assert len(losses(run)) == STEPS
    model = "model/model.safetensors"
    assert (run / model).read_bytes() == (undisturbed / model).read_bytes()


def test_a_run_answers_with_the_weights_of_now_and_of_before_and_trains_on_as_if_not_asked(
    paused: tuple[ForkServerProcess, Path], undisturbed: Path
) -> None:
    child, run = paused
    log, again = run / "events.jsonl", Question("1+1=", tokens=4, temperature=1.0, seed=2)
    found = []
    for question in (Question("1+1=", tokens=4), again, again):
        seq = post_question(run, run.name, 0, question).ask
        found.append(wait_for_answer(log, seq, 0, PATIENCE_SECONDS))
    ask(run, "resume")
    live = post_question(run, run.name, 0, Question("2+2=", tokens=4)).ask
    found.append(wait_for_answer(log, live, 0, PATIENCE_SECONDS))
    child.join()
    assert_same(run, undisturbed)
    assert [answer["prompt"] for answer in found] == ["1+1="] * 3 + ["2+2="]
    assert not [answer for answer in found if {"text", "ended", "pieces"} != set(answer["before"])]
    assert found[1]["after"] == found[2]["after"]
    assert any(answer["before"] != answer["after"] for answer in found)


def test_a_paused_run_stands_still_can_be_saved_and_goes_on_as_if_nothing_had_been(
    paused: tuple[ForkServerProcess, Path], undisturbed: Path
) -> None:
    child, run = paused
    assert last_beat(run)["paused"] is True
    step = run_process.last_step(run)
    assert 3 <= step < STEPS
    info = describe(run.name, run / "events.jsonl", time.time())
    assert info is not None
    assert info.status == "paused"
    time.sleep(0.6)
    assert run_process.last_step(run) == step
    ask(run, "checkpoint")
    assert run_process.last_step(run) == step
    atomic.verify(run / "checkpoints" / f"step-{step:06d}")
    ask(run, "checkpoint")
    ask(run, "evaluate")
    assert step in [event["step"] for event in events(run) if event["kind"] == "eval"]
    ask(run, "evaluate")
    ask(run, "resume")
    assert "paused" not in last_beat(run)
    (run / commands.NAME).write_text('{"v":1,"run":')  # a torn file changes nothing
    child.join()
    assert_same(run, undisturbed)
    said = [event["text"] for event in events(run) if event["kind"] == "alert"]
    assert f"Paused after step {step}, as the page asked. Ctrl-C saves and stops." in said
    assert f"Step {step} is saved already." in said
    assert sum("is ignored" in text for text in said) == 1
    assert f"Step {step} is evaluated already." in said
    assert any(text.startswith(f"Resumed after step {step}; the pause took") for text in said)
    end = events(run)[-1]
    assert end["summary"]["seconds"] < end["rt"] - 0.6  # the seconds of work, without the pause


def test_a_paused_run_keeps_beating(options: dict[str, Any], tmp_path: Path) -> None:
    child = begin(run_process.train_with_short_beats, options | {"runs": str(tmp_path)} | LONG)
    run = begun(tmp_path, 3)
    ask(run, "pause")
    first = last_beat(run)
    wait(lambda: last_beat(run)["seq"] > first["seq"], "second beat")
    second = last_beat(run)
    child.kill()
    child.join()
    assert second["paused"] is True
    promised = first["expect_next_in"]
    assert 0.9 * promised < second["t"] - first["t"] < PATIENCE * promised * slowness()


def test_a_stopped_run_is_saved_and_the_next_attempt_does_not_obey_the_old_stop(
    paused: tuple[ForkServerProcess, Path], undisturbed: Path
) -> None:
    child, run = paused
    commands.post_command(run, run.name, 0, "stop")
    child.join()
    assert child.exitcode == 0
    end = events(run)[-1]
    assert (end["status"], end["reason"]) == ("stopped", "asked to stop by the page")
    atomic.verify(run / "checkpoints" / f"step-{end['step']:06d}")
    again = begin_standing(end["step"] + 2, run_process.resume_here, str(run))
    pause_standing(again, run, attempt=1)
    ask(run, "resume", attempt=1)
    again.join()
    assert again.exitcode == 0
    assert_same(run, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_pause_and_the_run(
    paused: tuple[ForkServerProcess, Path], number: signal.Signals
) -> None:
    child, run = paused
    assert child.pid is not None
    os.kill(child.pid, number)
    child.join()
    assert child.exitcode == 0
    end = events(run)[-1]
    assert (end["status"], end["reason"]) == ("stopped", f"asked to stop by {number.name}")
    atomic.verify(run / "checkpoints" / f"step-{end['step']:06d}")


def test_a_terminal_says_that_the_run_is_paused_and_by_whom_it_was_stopped(
    options: dict[str, Any], tmp_path: Path
) -> None:
    words = {name: str(value) for name, value in (options | LONG).items() if name != "general"}
    flags = [
        part for name, value in words.items() for part in (f"--{name}".replace("_", "-"), value)
    ]
    process = runner("train", *flags, "--general", "none", "--runs", str(tmp_path))
    run = begun(tmp_path, 3)
    ask(run, "pause")
    commands.post_command(run, run.name, 0, "stop")
    output, _ = process.communicate()
    assert process.returncode == 0
    assert "as the page asked. Ctrl-C saves and stops." in output
    assert "(asked to stop by the page)" in output
    assert f"unfrozen resume {run.name}" in output


def test_two_processes_pause_save_and_stop_after_the_same_step(
    options: dict[str, Any], tmp_path: Path
) -> None:
    both = run_process.together(
        run_process.train_here, options | LONG | {"grad_accum": 2, "runs": str(tmp_path)}
    )
    run = begun(tmp_path, 3)
    ask(run, "pause")
    assert processes_of(run / "events.jsonl") == 2
    step = run_process.last_step(run)
    time.sleep(0.5)
    ask(run, "checkpoint")
    ask(run, "resume")
    wait(lambda: run_process.last_step(run) > step, "step after the pause")
    commands.post_command(run, run.name, 0, "stop")
    for child in both:
        child.join()
        assert child.exitcode == 0
    end = events(run)[-1]
    assert (end["status"], end["reason"]) == ("stopped", "asked to stop by the page")
    saved = [event["step"] for event in events(run) if event["kind"] == "checkpoint"]
    assert saved == [step, end["step"]]
    found, refused = directory.newest(run / "checkpoints")
    assert found is not None
    assert (found.name, refused) == (f"step-{end['step']:06d}", [])
