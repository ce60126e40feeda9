"""What a run of the lab may be told: bounds in words, and the same choices for the runner."""

import math
import shlex

import pytest
import typer

from gpu_runner import demo
from gpu_runner.cli.application import application
from gpu_runner.cli.options import config_from_options
from gpu_runner.config.schema import TrainConfig
from unfrozen.errors import PlanError
from unfrozen.lab.choices import DIALS, Choices, Dial

SHARED = (
    *("lr", "steps", "seed", "l2sp", "ewc", "weight_decay", "warmup", "floor_ratio", "clip"),
    *("eval_rows", "eval_every", "fisher_rows"),
)


def runners(choices: Choices) -> TrainConfig:
    """The run that the runner reads from the command of these choices."""
    words = shlex.split(choices.command())
    assert words[:2] == ["unfrozen", "train"]
    command = typer.main.get_command(application()).commands["train"]  # type: ignore[attr-defined]
    return config_from_options(command.make_context("train", words[2:]).params)


@pytest.mark.parametrize("dial", DIALS, ids=lambda dial: dial.name)
def test_every_stop_of_a_dial_is_a_choice_and_the_default_is_one_of_them(dial: Dial) -> None:
    assert getattr(Choices(), dial.name) in dial.stops
    assert sorted(set(dial.stops)) == list(dial.stops)
    for stop in dial.stops:
        assert getattr(Choices.read({dial.name: stop}), dial.name) == stop


@pytest.mark.parametrize("dial", DIALS, ids=lambda dial: dial.name)
@pytest.mark.parametrize("value", ["high", "low", math.nan, math.inf, "1", True, [1]])
def test_a_value_beyond_a_dial_is_refused_with_its_bounds(dial: Dial, value: object) -> None:
    beyond = {"'high'": dial.high * 2, "'low'": dial.low - 1}.get(repr(value), value)
    with pytest.raises(PlanError, match=f"^{dial.name}: got .*{dial.low:g} … ".replace("+", r"\+")):
        Choices.read({dial.name: beyond})


def test_half_a_step_is_refused_and_a_whole_float_is_a_number_of_steps() -> None:
    with pytest.raises(PlanError, match="whole number"):
        Choices.read({"steps": 2.5})
    assert repr(Choices.read({"steps": 20.0}).steps) == "20"


def test_what_is_no_choice_is_reported_beside_those_there_are() -> None:
    with pytest.raises(PlanError, match="the choices are lr, steps, replay_share"):
        Choices.read({"rate": 1})


def test_what_is_left_out_keeps_its_default() -> None:
    assert Choices.read({"lr": None, "seed": 3}) == Choices(seed=3)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"lr": 3e-4, "steps": 120, "seed": 11},
        {"steps": 5},
        {"replay_share": 0.1},
        {"l2sp": 0.01, "weight_decay": 0.1},
        {"ewc": 1.0},
        {"ewc": 0.3, "replay_share": 0.05, "rows_per_step": 8, "clip": 0.5},
    ],
)
def test_the_runner_reads_the_same_choices_from_the_command(given: dict[str, object]) -> None:
    choices = Choices.read(given)
    config = runners(choices)
    for name in SHARED:
        expected = getattr(choices, name)
        expected = min(expected, choices.steps) if name == "warmup" else expected
        if name != "fisher_rows" or choices.ewc:
            assert getattr(config, name) == expected, name
    assert (config.micro_batch, config.grad_accum) == (choices.rows_per_step, 1)
    earlier = str(demo.earlier())
    assert config.replay == (earlier if choices.replay_share else None)
    assert not choices.replay_share or config.replay_share == choices.replay_share
    assert config.fisher_data == (earlier if choices.ewc else None)


@pytest.mark.parametrize("beyond", [{"replay_share": 1.0}, {"steps": 0}, {"lr": 10.0}])
def test_where_the_runner_would_refuse_there_is_no_command(beyond: dict[str, object]) -> None:
    assert Choices.read(beyond).command() == ""
