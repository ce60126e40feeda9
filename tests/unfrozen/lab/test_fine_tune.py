"""A run of the lab: its events are a log, its losses the runner's, its ends are said in words."""

import json
import math
import shlex
import time
from pathlib import Path
from typing import Any

import pytest

import run_process
from conftest import matrix
from gpu_runner.cli import command_line
from lab_demo import loaded
from unfrozen import events
from unfrozen.lab.choices import Choices
from unfrozen.lab.fine_tune import ClockFunctions, Event, FineTune

pytestmark = pytest.mark.slow

MOST_APART = 1e-3  # nats, at each step
QUICK = {"steps": 3, "rows_per_step": 2, "eval_rows": 2, "fisher_rows": 2, "sample_tokens": 2}

EACH_KIND = [
    {"steps": 10, "eval_rows": 8},
    {"steps": 20, "eval_rows": 8, "lr": 3e-4, "ewc": 1.0, "fisher_rows": 16, "seed": 1},
]


def tuned(**given: Any) -> FineTune:
    return FineTune(loaded(), Choices.read(given), ClockFunctions(time.time, time.monotonic))


def said(run: FineTune) -> list[Event]:
    return [event for event in run.events() if event is not None]


def losses(log: list[Event]) -> dict[int, float]:
    """Training loss by step."""
    scalars = (event for event in log if event["kind"] == "metrics")
    return {e["step"]: e["m"]["train/loss"] for e in scalars if "train/loss" in e["m"]}


def scores(log: list[Event]) -> dict[tuple[int, str], float]:
    """Held-out losses by step and set."""
    return {(e["step"], e["suite"]): e["loss"] for e in log if e["kind"] == "eval"}


def test_the_events_are_those_of_the_schema_and_stand_in_the_order_of_a_log() -> None:
    log = said(tuned(**QUICK))
    assert [event["seq"] for event in log] == list(range(len(log)))
    assert {event["kind"] for event in log} <= events.KINDS.keys()
    names = {name for event in log if event["kind"] == "metrics" for name in event["m"]}
    assert names <= events.METRIC_NAMES
    instants = [event["instant"] for event in log if event["kind"] == "mem"]
    assert set(instants) == events.INSTANTS.keys()
    parts = {name for event in log if event["kind"] == "mem" for name in event["components"]}
    assert parts <= events.COMPONENTS.keys()
    assert (log[0]["kind"], log[-1]["kind"]) == ("run.start", "run.end")
    assert log[-1]["status"] == "finished"


def test_an_evaluation_has_the_fingerprints_that_the_runner_gives_the_same_examples() -> None:
    recorded = Path("web/recordings/demo.jsonl").read_text("utf-8").splitlines()
    looks = [event for event in map(json.loads, recorded) if event["kind"] == "eval"]
    runner = {event["suite"]: event["examples"] for event in looks}
    events_of = tuned(**QUICK | {"eval_rows": 64}).events()
    evaluations = (event for event in events_of if event and event["kind"] == "eval")
    page = {
        event["suite"]: event["examples"] for event, _ in zip(evaluations, runner, strict=False)
    }
    assert page == runner


def test_every_prompt_is_continued_before_and_after() -> None:
    samples = [event for event in said(tuned(**QUICK)) if event["kind"] == "sample"]
    rows = loaded().sampled_rows(Choices().seed)
    assert [s["prompt"] for s in samples] == 2 * [row.prompt for row in rows]
    assert [s["when"] for s in samples] == ["before"] * len(rows) + ["after"] * len(rows)


def test_prompts_are_drawn_from_every_held_out_set_by_the_seed() -> None:
    drawn = [loaded().sampled_rows(seed) for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1] != drawn[2]
    for rows in loaded().suites.values():
        assert sum(row in rows for row in drawn[0]) == 2


def test_measured_memory_lies_on_the_prediction_of_the_first_event() -> None:
    log = said(tuned(steps=6, eval_rows=2, sample_tokens=0))
    predicted = log[0]["predicted"]["instants"]
    measured = {e["instant"]: e["total_bytes"] for e in log if e["kind"] == "mem"}
    assert measured.keys() == predicted.keys()
    for instant, total in measured.items():
        assert total == pytest.approx(sum(predicted[instant].values()), rel=0.03), instant


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    first, again, other = (losses(said(tuned(**QUICK | {"seed": s}))) for s in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    "given",
    matrix(
        [
            *EACH_KIND,
            # Rounding grows. Of weights that begin 3e-8 of themselves apart, losses lie 6e-4 apart
            # after 50 steps at 4e-4, a quarter of that after 30; at the default rate some number of
            # steps lets it grow to 5e-2 within 12.
            {"steps": 30, "lr": 4e-4},
            {"steps": 30, "lr": 3e-4, "seed": 3, "replay_share": 0.1},
            {"steps": 30, "lr": 3e-4, "l2sp": 0.01, "weight_decay": 0.1},
            {"steps": 30, "lr": 3e-4, "ewc": 1.0, "seed": 1},
            {"steps": 30, "lr": 3e-4, "clip": 0.5, "rows_per_step": 8},
        ],
        *EACH_KIND,
    ),
)
def test_the_losses_of_first_steps_are_the_runners(given: dict[str, Any], tmp_path: Path) -> None:
    choices = Choices.read(given)
    words = shlex.split(choices.command())[1:]
    quiet = ["--set", "sample_tokens=0", "--set", "save_every=0", "--runs", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"^0$"):
        command_line.main([*words, *quiet])
    (run,) = tmp_path.iterdir()
    theirs = run_process.events(run)
    assert theirs[-1]["status"] == "finished"
    ours = said(tuned(**given | {"sample_tokens": 0}))
    apart = {step: abs(loss - losses(theirs)[step]) for step, loss in losses(ours).items()}
    assert len(apart) == choices.steps
    assert max(apart.values()) <= MOST_APART
    assert scores(ours).keys() == scores(theirs).keys()
    for key, loss in scores(theirs).items():
        assert scores(ours)[key] == pytest.approx(loss, abs=MOST_APART), key


def test_no_step_changes_nothing_and_ends_well() -> None:
    run = tuned(steps=0, eval_rows=2, sample_tokens=0)
    end = said(run)[-1]
    assert (end["status"], end["reason"]) == ("finished", "no step was asked for")
    assert not [(before, after) for before, after in run.losses.values() if before != after]


def test_only_old_rows_teach_nothing_new_and_keep_the_old() -> None:
    run = tuned(replay_share=1.0, steps=20, eval_rows=8, sample_tokens=0)
    said(run)
    assert run.losses["task"][1] > 0.8 * run.losses["task"][0]
    assert run.losses["general/capitals"][1] < 0.05


@pytest.mark.parametrize(
    "given",
    matrix(
        [{"lr": 10.0}, {"lr": 10.0, "warmup": 0}, {"weight_decay": 100.0, "lr": 1.0}], {"lr": 10.0}
    ),
)
def test_a_run_that_diverges_says_so_and_what_to_lower(given: dict[str, float]) -> None:
    run = tuned(**given, eval_rows=2, sample_tokens=2)
    end = said(run)[-1]
    assert end["status"] == "failed"
    assert "diverged" in end["reason"] or "not finite" in end["reason"]
    assert "Lower the rate" in end["reason"]
    assert end["step"] < run.trainer.choices.steps


@pytest.mark.parametrize("penalty", ["l2sp", "ewc"])
def test_a_pull_without_end_keeps_every_weight_where_it_was(penalty: str) -> None:
    run = tuned(**{penalty: 1e9}, lr=6e-4, steps=10, eval_rows=4, sample_tokens=0, fisher_rows=16)
    assert said(run)[-1]["status"] == "finished"
    assert run.trainer.drift()[1] < 0.005
    assert run.losses["general"][1] == pytest.approx(run.losses["general"][0], abs=0.01)


def test_stop_ends_a_run_after_the_piece_that_is_on() -> None:
    run = tuned(**QUICK | {"steps": 50})
    log = []
    for event in run.events():
        log += [event] if event else []
        if log[-1]["kind"] == "metrics" and log[-1]["step"] == 2:
            run.stop()
    assert log[-1]["status"] == "stopped"
    assert log[-1]["reason"] == "the page asked for it after 2 of 50 steps"
    assert math.isfinite(log[-1]["summary"]["losses"]["task"][1])


def test_numbers_that_are_none_travel_as_words() -> None:
    from unfrozen.events import line

    text = line({"loss": math.nan, "m": {"a": math.inf, "b": [-math.inf, 1.5]}})
    assert json.loads(text) == {"loss": "NaN", "m": {"a": "Infinity", "b": ["-Infinity", 1.5]}}
