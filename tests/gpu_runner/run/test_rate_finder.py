"""A sweep of rates: what is run, what is not run again, and which rate is chosen."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from gpu_runner.cli.application import application
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import Diverged, ExitCode, UsageError
from gpu_runner.run import rate_finder
from gpu_runner.run.rate_finder import RateScore, RateSweep, choose, find_rate, read_rates
from gpu_runner.train.evaluate import Score
from unfrozen.held_out import ExactMatch

QUIET = Console(quiet=True)
RATES = (1e-4, 1e-2)


def swept(config: TrainConfig, said: list[str]) -> RateSweep | None:
    return find_rate(config, RATES, QUIET, said.append)


def no_training(*_: Any) -> ExitCode:
    raise AssertionError("a finished rate was run again")


def test_each_rate_is_a_run_and_none_is_run_twice(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, said = replace(config, steps=2, save_every=0, keep_state=False), list[str]()
    first = swept(short, said)
    assert first is not None
    runs = [one.run for one in first.rates]
    assert len(set(runs)) == 2
    assert said[0].startswith("2 runs of 2 steps take ")
    assert " of disk." in said[0]
    settings = [json.loads((run / "config.json").read_text())["lr"] for run in runs]
    assert settings == list(RATES)
    monkeypatch.setattr(rate_finder, "fine_tune", no_training)
    again = swept(short, said)
    assert again is not None
    assert again.as_json() == first.as_json()
    assert len(said) == 1
    with pytest.raises(AssertionError, match="run again"):
        swept(replace(short, seed=8), said)


def test_a_sweep_that_was_stopped_goes_on_where_it_was(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, said = replace(config, steps=2), list[str]()
    train = rate_finder.fine_tune

    def stop_at_the_second(one: TrainConfig, console: Console) -> ExitCode:
        return train(one, console) if one.lr == RATES[0] else ExitCode.OK

    monkeypatch.setattr(rate_finder, "fine_tune", stop_at_the_second)
    assert swept(short, said) is None
    monkeypatch.setattr(rate_finder, "fine_tune", train)
    assert swept(short, said) is not None
    assert said[1].startswith("1 run of 2 steps takes ")
    assert said[1].endswith("1 rate ran before.")


def test_a_rate_that_diverges_is_told_and_not_run_again(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(config, steps=2)
    train = rate_finder.fine_tune

    def diverge(one: TrainConfig, console: Console) -> ExitCode:
        train(one, console)
        if one.lr == RATES[1]:
            (run,) = (r for r in Path(one.runs).iterdir() if f'"lr": {one.lr}' in text_of(r))
            (run / "finished").unlink()
            log = run / "events.jsonl"
            *lines, last = log.read_text().splitlines()
            end = json.loads(last) | {"status": "failed", "reason": "it diverged at step 2"}
            log.write_text("\n".join([*lines, json.dumps(end)]) + "\n")
            raise Diverged("")
        return ExitCode.OK

    monkeypatch.setattr(rate_finder, "fine_tune", diverge)
    found = swept(short, [])
    assert found is not None
    assert [one["diverged"] for one in found.as_json()["rates"]] == [False, True]
    monkeypatch.setattr(rate_finder, "fine_tune", no_training)
    assert swept(short, []) is not None


def text_of(run: Path) -> str:
    return (run / "config.json").read_text()


def scored(lr: float, task: int, general: int, general_before: int = 38) -> RateScore:
    """A rate whose right answers of 40 these are."""

    def one(suite: str, right: int) -> Score:
        rows = [row < right for row in range(40)]
        exact = ExactMatch(right, 0, 40 - right)
        return Score(suite, 1.0, 80, exact, [1.0] * 40, rows, examples=suite)

    before = (one("task", 0), one("general", general_before))
    return RateScore(lr, Path("run"), before, (one("task", task), one("general", general)))


def test_chosen_is_what_learned_most_of_what_kept_within_the_noise() -> None:
    rates = [scored(1e-5, 4, 38), scored(1e-4, 30, 37), scored(1e-3, 40, 10)]
    lr, reason = choose(rates)
    assert lr == 1e-4
    assert reason.startswith("of 2 rates that kept")
    assert reason.endswith("; higher ones learned more and lost more")


def test_rates_that_were_scored_on_other_examples_are_not_compared() -> None:
    one, other = scored(1e-4, 30, 37), scored(1e-3, 40, 37)
    other = replace(other, after=tuple(replace(s, examples="changed") for s in other.after))
    lr, reason = choose([one, other])
    assert lr is None
    assert reason.startswith("the rates were scored on different examples")


def test_where_every_rate_loses_none_is_chosen_and_the_least_is_named() -> None:
    lr, reason = choose([scored(1e-4, 30, 20), scored(1e-3, 40, 10)])
    assert lr is None
    assert "0.0001 lost least" in reason
    lr, reason = choose([RateScore(1.0, Path("run"), (), ())])
    assert (lr, reason[:16]) == (None, "no run has an en")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1e-4", "give 2 to 16 different rates"),
        ("1e-4,1e-4", "give 2 to 16 different rates"),
        ("1e-4,fast", "'fast' is no rate: give numbers from"),
        ("1e-4,-1", "'-1' is no rate: give numbers from"),
        ("1e-4,nan", "'nan' is no rate"),
    ],
)
def test_what_is_no_list_of_rates_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_rates(text, 1e-4)
    shown = CliRunner().invoke(application(), ["lr-find", "--model", "demo", "--lrs", text])
    assert shown.exit_code == ExitCode.USAGE
    assert why in " ".join(shown.output.split())


def test_without_a_list_they_lie_around_the_rate_of_the_recipe() -> None:
    assert read_rates(None, 1e-3) == (1e-4, 0.000316, 1e-3, 0.00316, 1e-2)
    assert read_rates("3e-4, 1e-5", 1.0) == (1e-5, 3e-4)
