"""A run that goes on to more steps than it was begun with, also after its end."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import CheckpointError, ExitCode, UsageError
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.resume import ResumeOptions, resume
from resumed_runs import assert_same_result, elsewhere, kinds, said, the_run

pytestmark = pytest.mark.slow


def test_a_finished_run_goes_on_to_more_steps_as_if_they_had_been_asked_for(
    config: TrainConfig, console: Console
) -> None:
    """At a constant rate: there the first steps of a longer run are the same."""
    steady = {"schedule": "constant", "warmup": 2, "eval_every": 2, "save_every": 2}
    fine_tune(elsewhere(config, "long", steps=9, **steady), console)
    fine_tune(elsewhere(config, "short", **steady), console)
    long, short = (the_run(elsewhere(config, name)) for name in ("long", "short"))
    with pytest.raises(CheckpointError, match=r"is finished: .* Give --steps N to train it"):
        resume(short, console)
    assert resume(short, console, ResumeOptions(steps=9)) == ExitCode.OK
    assert_same_result(long, short)
    (again,) = kinds(short, "run.resume")
    assert (again["from_step"], again["plan"]["steps"]) == (6, 9)
    assert "trains to step 9 instead of 6, by the constant schedule of a run of 9" in said(short)
    assert [e["step"] for e in kinds(short, "eval") if e["suite"] == "task"] == [0, 2, 4, 6, 8, 9]
    assert len(kinds(short, "sample")) == 6


def test_a_longer_run_that_is_killed_goes_on_to_its_new_end(
    config: TrainConfig, console: Console, finished: Path, tmp_path: Path
) -> None:
    """The new length is in its record before the first further step."""
    twin = Path(shutil.copytree(finished, tmp_path / "twin" / finished.name))
    assert resume(twin, console, ResumeOptions(steps=9)) == ExitCode.OK

    class Torn(Exception):
        pass

    class Killing(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            if any("step 8/9" in str(one) for one in objects):
                raise Torn
            super().print(*objects, **options)

    with pytest.raises(Torn):
        resume(finished, Killing(file=console.file, width=200), ResumeOptions(steps=9))
    assert not (finished / "finished").exists()
    assert resume(finished, console) == ExitCode.OK
    assert_same_result(twin, finished)
    assert config.steps == 6


def test_the_rate_before_and_after_is_reported_for_a_schedule_that_falls(
    finished: Path, console: Console
) -> None:
    resume(finished, console, ResumeOptions(steps=12))
    assert (
        "cosine schedule of a run of 12 steps: the learning rate was 0.001 at step 6 and is"
        in said(finished)
    )


def test_steps_that_are_done_already_are_refused(stopped: Path, console: Console) -> None:
    with pytest.raises(UsageError, match=r"--steps 4: step 4 is done already; give more than 4"):
        resume(stopped, console, ResumeOptions(steps=4))
    with pytest.raises(UsageError, match=r"--steps 0 is out of bounds: give a number from 1 to"):
        resume(stopped, console, ResumeOptions(steps=0))


def test_a_finished_run_that_kept_nothing_says_so(config: TrainConfig, console: Console) -> None:
    bare = elsewhere(config, "bare", keep_state=False)
    fine_tune(bare, console)
    run = the_run(bare)
    assert not (run / "checkpoints").exists()
    with pytest.raises(CheckpointError, match=r"has no checkpoint of its last step.*train --m"):
        resume(run, console, ResumeOptions(steps=9))


def test_a_run_that_stopped_early_goes_on_from_where_it_stood(
    config: TrainConfig, console: Console
) -> None:
    """The finished model is that of the best step; what goes on is the last one."""
    early = elsewhere(
        config, "early", lr=0.3, clip=0.0, eval_every=1, save_every=1, early_stop=2, warmup=0
    )
    early = replace(early, steps=30, schedule="constant")
    fine_tune(early, console)
    run = the_run(early)
    end = kinds(run, "run.end")[0]
    assert "has not fallen" in end["reason"]
    assert resume(run, console, ResumeOptions(steps=end["step"] + 1)) == ExitCode.OK
    assert kinds(run, "run.resume")[0]["from_step"] == end["step"]
    assert kinds(run, "run.end")[-1]["step"] == end["step"] + 1
