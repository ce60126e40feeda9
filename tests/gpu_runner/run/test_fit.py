"""What a whole run logs of its machine and its cost, also over a stop."""

from pathlib import Path

import pytest
from rich.console import Console

from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import ExitCode
from gpu_runner.log.tail import last_value
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.resume import resume
from resumed_runs import the_run
from run_process import events
from unfrozen.schema import read_event

pytestmark = pytest.mark.slow


def test_the_machine_is_sampled_by_one_thread_only(finished: Path) -> None:
    found = events(finished)
    kinds = [event["kind"] for event in found]
    samples = [event for event in found if event["kind"] == "sys"]
    assert samples
    assert not [
        event for event in samples if "sys/ram_bytes" not in event["m"]
    ]  # none is the heartbeat's
    assert kinds.index("run.start") < kinds.index("sys") < kinds.index("run.end")
    assert not [event for event in found if read_event(event).problem]


def test_what_a_run_costs_is_in_every_step_and_in_its_end(
    config: TrainConfig, console: Console
) -> None:
    assert fine_tune(resolve({**config.as_json(), "price": 3600.0}), console) == ExitCode.OK
    found = events(the_run(config))
    begun, end = found[0], found[-1]
    assert begun["price"] == {"hourly": 3600.0, "currency": "USD", "per": "an hour of one machine"}
    steps = [e["m"] for e in found if e["kind"] == "metrics" and "train/loss" in e["m"]]
    spent = [m["cost/spent"] for m in steps]
    assert spent == sorted(spent)
    assert not [m for m in steps[1:] if not m["cost/total"] >= m["cost/spent"]]
    assert steps[-1]["cost/total"] == pytest.approx(steps[-1]["cost/spent"], rel=0.01)
    assert end["summary"]["cost"] >= spent[-1]
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "at 3,600.00 USD for an hour of one machine." in text


def test_a_run_that_goes_on_goes_on_paying(config: TrainConfig, stop_after: object) -> None:
    priced = resolve({**config.as_json(), "price": 3600.0})
    assert fine_tune(priced, stop_after(4)) == ExitCode.OK  # type: ignore[operator]
    run = the_run(config)
    before = last_value(run / "events.jsonl", "cost/spent")
    assert before
    assert resume(run, Console(quiet=True)) == ExitCode.OK
    second = [e for e in events(run) if e["att"] == 1 and "cost/spent" in e.get("m", {})]
    assert second[0]["m"]["cost/spent"] >= before
    assert events(run)[-1]["summary"]["cost"] > before


def test_a_run_without_a_price_says_nothing_of_cost(finished: Path) -> None:
    assert last_value(finished / "events.jsonl", "cost/spent") is None
    assert "cost" not in events(finished)[-1]["summary"]
