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
from unfrozen.schema import COMMANDS, STATE, check, read_file


def test_what_our_programs_write_is_let_through(tmp_path: Path) -> None:
    commands.post_command(tmp_path, "r", 0, "pause")
    assert read_file(COMMANDS, (tmp_path / commands.NAME).read_bytes()).problem == ""
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
        {"seq": -1},
        {"seq": 1.5},
        {"seq": 10**5000},
        {"att": 2**40},
        {"paused": 1},
        {"run": "a\x1b[2J"},
        {"run": "\ud800"},
        {"run": "x" * 300},
        {"run": 7},
    ],
)
def test_a_command_that_cannot_have_been_is_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    commands.post_command(tmp_path, "r", 0, "pause")
    good = json.loads((tmp_path / commands.NAME).read_bytes())
    assert check(COMMANDS, good | more).value is None
