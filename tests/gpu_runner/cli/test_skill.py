"""The skill for agents: its commands run, its keys exist, and nobody else's folder is replaced."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpu_runner.cli.application import application
from gpu_runner.cli.commands import package
from gpu_runner.errors import ExitCode
from unfrozen.__main__ import NOT_MET, main

TEXT = (package() / "skill" / "SKILL.md").read_text("utf-8")
TYPED = [
    line
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
]


def install(folder: Path) -> Any:
    return CliRunner().invoke(application(), ["skill", str(folder), "--install"])


def test_it_begins_as_agents_read_it_and_is_short() -> None:
    head = re.match(r"---\nname: (\S+)\ndescription: (.+)\n---\n", TEXT)
    assert head
    assert head[1] == "unfrozen"
    assert len(head[2]) < 1024
    assert len(TEXT) < 4000


@pytest.mark.parametrize("line", [one for one in TYPED if one.startswith("unfrozen plan")])
def test_its_plans_answer(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*shlex.split(line)[1:], "--json"]) in (0, NOT_MET)
    found = json.loads(capsys.readouterr().out)
    assert found["job"]
    if "--data" in line:
        assert {"command", "band", "seconds", "rent"} <= found["plan"].keys()
        assert {"timeout", "flavors"} <= found["plan"]["rent"].keys()
    else:
        assert {"fits", "verdict", "band", "advice"} <= found.keys()


def test_its_other_commands_and_exit_codes_are_there() -> None:
    names = {shlex.split(line)[1] for line in TYPED} | {"import"}
    assert names == {"plan", "runs", "check", "import"}
    for name in names - {"plan"}:
        assert CliRunner().invoke(application(), [name, "--help"]).exit_code == 0
    codes = set(map(int, re.findall(r"(?:^|· )(\d+) ", TEXT.partition("## Exit codes")[2], re.M)))
    assert codes == {0, ExitCode.USAGE, NOT_MET, ExitCode.CHECKPOINT}


def test_it_is_installed_and_replaced_where_nobody_changed_it(tmp_path: Path) -> None:
    for _ in range(2):
        done = install(tmp_path)
        assert done.exit_code == 0, done.output
        assert (tmp_path / "unfrozen" / "SKILL.md").read_text("utf-8") == TEXT
    assert CliRunner().invoke(application(), ["skill"]).output == TEXT


@pytest.mark.parametrize("theirs", ["SKILL.md", "notes.txt"])
def test_what_it_did_not_write_stays(theirs: str, tmp_path: Path) -> None:
    place = tmp_path / "unfrozen"
    for written in (False, True):
        if written:
            assert install(tmp_path / "new").exit_code == 0
            place = tmp_path / "new" / "unfrozen"
        place.mkdir(exist_ok=True)
        (place / theirs).write_text("mine")
        done = install(place.parent)
        assert done.exit_code == ExitCode.SYSTEM
        assert "is not replaced" in done.output
        assert (place / theirs).read_text() == "mine"
