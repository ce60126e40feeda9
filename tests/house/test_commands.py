"""The names people type are frozen here: a change of this file is a change for every reader."""

import argparse
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import build
from gpu_runner.cli.application import application
from unfrozen.__main__ import parser as planner_parser

BUILD_COMMANDS = {
    "serve": set(),
    "test": set(),
    "check": set(),
    "build": set(),
    "wheel": set(),
    "release": set(),
    "bench": {"name"},
    "lock": set(),
    "clean": set(),
}
UNFROZEN_COMMANDS = {
    "plan": {
        *("job", "--model", "--recipe", "--cluster", "--gpu", "--json", "--explain", "--open"),
        *("--families", "--all-gpus", "--solve", "--compare", "--tokens", "--price", "--mfu"),
        *("--framework", "--data", "--epochs", "--gpus", "--budget", "--sequences", "--run-by"),
        *("--fail-unless", "--schema", "--badge"),
    },
}
RUNNER_COMMANDS = {
    *("train", "plan", "resume", "serve"),
    *(
        "export",
        "ask",
        "push",
        "blend",
        "eval",
        "import",
        "publish",
        "report",
        "doctor",
        "selftest",
        "data",
        "runs",
        "check",
        "mcp",
        "skill",
    ),
}


SERVE_OPTIONS = {
    *("--runs", "--port", "--site", "--host", "--no-open"),
    "--allow-control",
}


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser, by name."""
    (action,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """The names of what a command takes, without its help."""
    taken = {(action.option_strings or [action.dest])[-1] for action in parser._actions}
    return taken - {"--help"}


def test_build_has_these_commands_and_options() -> None:
    found = {name: options_of(parser) for name, parser in subcommands(build.parser()).items()}
    assert found == BUILD_COMMANDS


@pytest.mark.slow
@pytest.mark.usefixtures("site")
def test_serve_hands_on_the_options_of_the_runners_own_serve() -> None:
    line = [sys.executable, "build.py", "serve", "--no-open", "--port", "0", "--runs", __file__]
    answer = subprocess.run(line, capture_output=True, text=True, cwd=build.ROOT, check=False)
    assert answer.returncode == 2
    assert "is a file: give the directory of the runs" in " ".join(answer.stderr.split())


def help_text(package: str, *command: str) -> str:
    """What `python -m package command --help` prints; it must succeed."""
    line = [sys.executable, "-m", package, *command, "--help"]
    answer = subprocess.run(line, capture_output=True, text=True, cwd=build.ROOT, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_the_core_has_these_commands_and_options() -> None:
    found = {name: options_of(p) for name, p in subcommands(planner_parser()).items()}
    assert found == UNFROZEN_COMMANDS


@pytest.mark.parametrize("command", sorted(UNFROZEN_COMMANDS))
def test_the_core_answers_to_its_commands(command: str) -> None:
    assert command in help_text("unfrozen")
    assert "--json" in help_text("unfrozen", command)


def test_the_runner_has_these_commands() -> None:
    assert set(typer.main.get_command(application()).commands) == RUNNER_COMMANDS  # type: ignore[attr-defined]
    text = help_text("gpu_runner")
    assert not [command for command in RUNNER_COMMANDS if command not in text]


def test_serve_has_these_options_and_allows_nothing_by_default() -> None:
    command = typer.main.get_command(application()).commands["serve"]  # type: ignore[attr-defined]
    assert {option for found in command.params for option in found.opts} == SERVE_OPTIONS
    defaults = {found.name: found.default for found in command.params}
    assert defaults["allow_control"] is False
    assert defaults["host"] == "127.0.0.1"
    assert defaults["port"] == 8765
    assert defaults["no_open"] is False


@pytest.mark.parametrize("command", sorted(RUNNER_COMMANDS))
def test_the_runner_explains_its_commands(command: str) -> None:
    answer = CliRunner().invoke(application(), [command, "--help"])
    assert answer.exit_code == 0
    assert command in answer.output


def test_an_unknown_argument_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    assert build.main(["build", "--fast"]) == 1
    assert capfd.readouterr().err == "build.py: build does not take --fast.\n"


def test_an_unknown_bench_is_answered_with_the_known_ones(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert build.main(["bench", "nothing"]) == 1
    refusal = capfd.readouterr().err
    assert refusal.startswith("build.py: There is no bench nothing; there are: ")
    assert "stream" in refusal
    assert "start_up" in refusal
