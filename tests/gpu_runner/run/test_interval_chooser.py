"""Who chooses how often a run is evaluated and saved, when, and that it holds from then on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import ExitCode
from gpu_runner.plan.intervals import TIMED_STEPS, Intervals
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.interval_chooser import IntervalChooser
from gpu_runner.run.resume import resume
from gpu_runner.train.loop import StepResult
from gpu_runner.world import World
from resumed_runs import kinds, said, the_run
from run_process import events, together, train_here


class Chosen:
    """A run of steps of one second whose evaluations take two and whose checkpoints take five."""

    def __init__(self, steps: int = 1000, **settings: int) -> None:
        config = TrainConfig(model="m", data="d", **settings)
        self.intervals = Intervals(steps, config.eval_every, config.save_every)
        self.told: list[tuple[int, str]] = []
        self.settings = config
        self.chooser = IntervalChooser(
            config,
            self.intervals,
            World(),
            guess=lambda seconds: 4 * seconds,
            writing=lambda: (5.0, 1.0),
            chosen=self._chosen,
        )

    def _chosen(self, settings: TrainConfig, step: int, text: str) -> None:
        self.settings = settings
        self.told.append((step, text))

    def steps(self, first: int, last: int, seconds: float = 1.0, evaluation: float = 2.0) -> None:
        for number in range(first, last + 1):
            done = StepResult(number, 1.0, 1.0, False, 1e-3, 10, seconds, None)
            self.chooser.step_done(done, evaluation)

    def numbers(self) -> tuple[int | None, int | None]:
        return self.intervals.evaluate, self.intervals.save


def test_nothing_is_chosen_before_ten_steps_are_timed() -> None:
    run = Chosen()
    run.steps(1, TIMED_STEPS - 1)
    assert (run.numbers(), run.told) == ((None, None), [])
    run.steps(TIMED_STEPS, TIMED_STEPS)
    assert run.numbers() == (42, 126)
    assert (run.settings.eval_every, run.settings.save_every) == (42, 126)
    ((step, text),) = run.told
    assert step == TIMED_STEPS
    assert "an evaluation every 42 steps, a checkpoint every 126 steps and whenever" in text
    assert "the last is 15 min old: about 8% of the time" in text
    assert "Set other intervals with --eval-every and --save-every" in text


def test_steps_that_compile_or_fill_caches_do_not_count() -> None:
    slow, usual = Chosen(), Chosen()
    slow.steps(1, 2, seconds=300.0)
    slow.steps(3, TIMED_STEPS)
    usual.steps(1, TIMED_STEPS)
    assert slow.numbers() == usual.numbers()


def test_the_first_checkpoint_corrects_what_was_estimated_and_no_other_does() -> None:
    run = Chosen()
    run.steps(1, TIMED_STEPS)
    run.chooser.saved(126, 20.0)
    assert run.numbers() == (42, 504)  # evaluations stay
    run.chooser.saved(252, 0.1)
    assert run.numbers() == (42, 504)
    assert [step for step, _ in run.told] == [TIMED_STEPS, 126]
    early = Chosen()
    early.chooser.saved(4, 20.0)  # somebody asked for one
    early.steps(5, 4 + TIMED_STEPS)
    assert early.numbers() == (42, 504)
    last = Chosen()
    last.steps(1, TIMED_STEPS)
    last.chooser.saved(1000, 20.0)
    assert len(last.told) == 1


def test_what_is_given_is_not_chosen() -> None:
    both = Chosen(eval_every=7, save_every=0)
    both.steps(1, 2 * TIMED_STEPS)
    assert (both.numbers(), both.told) == ((7, 0), [])
    one = Chosen(eval_every=7)
    one.steps(1, TIMED_STEPS)
    assert one.numbers() == (7, 112)


def test_an_evaluation_that_was_not_timed_is_estimated() -> None:
    run = Chosen()
    run.steps(6, 5 + TIMED_STEPS, evaluation=0.0)  # resumed after step 5
    assert run.numbers()[0] == 91


@pytest.fixture
def open_config(config: TrainConfig) -> TrainConfig:
    """A run of fourteen steps that chooses itself; so slow to evaluate that it does so at ends."""
    return replace(config, steps=14, eval_every=None, save_every=None, sample_tokens=0)


def test_a_run_saves_by_the_clock_too_and_such_a_checkpoint_has_no_loss_of_other_weights(
    open_config: TrainConfig, console: Console
) -> None:
    """Every step is a checkpoint where none may be older than a microsecond."""
    config = replace(open_config, steps=4, eval_every=2, save_every=1000, keep_last=9)
    assert fine_tune(replace(config, save_minutes=1e-8), console) == ExitCode.OK
    run = the_run(config)
    assert [event["step"] for event in kinds(run, "checkpoint")][:3] == [1, 2, 3]
    scored = {
        place.name: json.loads((place / "state.json").read_text())["task_loss"] is not None
        for place in (run / "checkpoints").iterdir()
    }
    assert {name: scored[name] for name in ("step-000001", "step-000002", "step-000003")} == {
        "step-000001": False,
        "step-000002": True,
        "step-000003": False,
    }


@pytest.mark.slow
def test_a_run_writes_what_it_has_chosen_and_resumes_with_it(
    open_config: TrainConfig, console: Console, stop_after: Callable[[int], Console]
) -> None:
    stopping = stop_after(12)
    stopping.file.marker = "step 12/14  loss"  # type: ignore[attr-defined]
    assert fine_tune(open_config, stopping) == ExitCode.OK
    run = the_run(open_config)
    record = json.loads((run / "config.json").read_text())
    (checkpoint,) = (run / "checkpoints").iterdir()
    choices = json.loads((checkpoint / "state.json").read_text())["origins"]["choices"]
    chosen = {name: record[name] for name in ("eval_every", "save_every")}
    assert chosen.items() <= choices.items()
    assert None not in chosen.values()
    where = "every" if chosen["eval_every"] < 14 else "at the start"
    assert f"From here on an evaluation {where}" in said(run)
    assert resume(run, console) == ExitCode.OK
    assert json.loads((run / "config.json").read_text()) == record
    assert said(run).count("From here on") == 1
    assert "Choices that hold from here on" not in said(run)
    looks = {event["step"] for event in kinds(run, "eval")}
    assert looks == {0, 14, *range(chosen["eval_every"], 14, chosen["eval_every"])}
    text = stopping.file.getvalue()  # type: ignore[attr-defined]
    assert "Evaluation and checkpoint intervals are chosen after 10 timed steps" in text


@pytest.mark.slow
def test_two_processes_choose_the_same(open_config: TrainConfig, tmp_path: Path) -> None:
    options = {"steps": 12, "runs": str(tmp_path / "two"), "grad_accum": 2, "sample_tokens": 0}
    options |= {"model": open_config.model, "data": open_config.data, "general": ()}
    for child in together(train_here, options, 2):
        child.join()
        assert child.exitcode == 0
    (run,) = (tmp_path / "two").iterdir()
    assert events(run)[-1]["status"] == "finished"
    assert said(run).count("From here on an evaluation") == 1
