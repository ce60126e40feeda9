"""The small files of runs: ours pass, and what no program of ours would write is refused."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gpu_runner.checkpoint.origins import Origins
from gpu_runner.checkpoint.training_state import History
from gpu_runner.log import commands
from gpu_runner.train.loop import State
from unfrozen.schema import COMMANDS, STARTED, STATE, check, read_file

STARTED_GOOD: dict[str, Any] = {
    **{
        "name": "20261129-045045-9181",
        "verb": "resume",
        "run": "20261129-045045-9181",
        "logged": 0,
    },
    **{"pid": 4711, "born": 1764061923.41, "at": 1.76e9},
}


def test_what_our_programs_write_is_let_through(tmp_path: Path) -> None:
    commands.post_command(tmp_path, "r", 0, "pause")
    assert read_file(COMMANDS, (tmp_path / commands.NAME).read_bytes()).problem == ""
    assert check(STARTED, STARTED_GOOD).value == STARTED_GOOD
    history = History(
        first={"task": 1.0}, samples=[["p", "a", ""]], measured={"load": {"params": 1}}
    )
    origins = Origins("a" * 64, "b" * 64, {"task": "c" * 64}, {"lr": 1e-3}, {"torch": "2"}, {})
    parts = {"history": history.as_json(), "origins": origins.as_json()}
    state = {"version": 1, "state": asdict(State(step=3)), "data": "f00"} | parts
    assert read_file(STATE, json.dumps(state)).problem == ""


@pytest.mark.parametrize(
    "more",
    [
        {"pid": 0},
        {"pid": -1},
        {"pid": 2**40},
        {"pid": 1.5},
        {"at": 1e300},
        {"at": "now"},
        {"born": True},
        {"name": "a\x1b[2J"},
        {"name": "\ud800"},
        {"name": "x" * 300},
        {"run": 7},
        {"logged": -1},
    ],
)
def test_a_start_that_cannot_have_been_is_refused(more: dict[str, Any]) -> None:
    assert check(STARTED, STARTED_GOOD | more).value is None
