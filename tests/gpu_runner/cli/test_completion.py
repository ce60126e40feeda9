"""Tab completion in a real bash offers names that the shell takes as they are, and no others."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from gpu_runner.cli.application import application

PLAIN = ("20261201-000001-abcd", "my_run.2")
ODD = (
    "20261201-000000-$(touch owned)",
    "20261201-`touch owned`",
    "20261201;touch owned",
    "20261201 two words",
    "20261201-\nline",
    "20261201-\x1b]0;owned\x07",
    "20261201-\u202egnp",
    "--trust-remote-code",
    "*",
    "~",
)
COMPLETE = """
eval "$({0} --show-completion bash)"
COMP_WORDS=(unfrozen ask '') COMP_CWORD=2
_unfrozen_completion {0}
for name in "${{COMPREPLY[@]}}"; do printf '%s\\n' "$name"; eval "printf '%s\\n' $name"; done
"""


@pytest.fixture
def odd_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs with names that a shell would obey."""
    for name in (*PLAIN, *ODD):
        (tmp_path / "runs" / name).mkdir(parents=True)
    monkeypatch.setenv("UNFROZEN_RUNS", str(tmp_path / "runs"))
    return tmp_path


@pytest.mark.slow
def test_bash_is_offered_no_name_that_it_would_run(odd_runs: Path) -> None:
    program = Path(sys.executable).with_name("unfrozen")
    shell = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE.format(program)],
        cwd=odd_runs,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert shell.stdout.splitlines() == [name for name in sorted(PLAIN, reverse=True) for _ in "12"]
    assert [path.name for path in odd_runs.iterdir()] == ["runs"]


@pytest.mark.usefixtures("odd_runs")
def test_whatever_is_completed_from_a_folder_is_plain() -> None:
    group: Any = typer.main.get_command(application())
    offered = 0
    for name, command in group.commands.items():
        context = command.context_class(command, info_name=name)
        for parameter in command.params:
            for one in parameter.shell_complete(context, ""):
                assert re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*", one.value), name
                offered += 1
    assert offered >= 6 * len(PLAIN)  # resume, export, push, ask and its --against, blend, eval
