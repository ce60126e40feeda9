"""The workflows of docs/ are ready to be copied: valid, bounded, and of commands that exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import build
from house.tree import ROOT, tracked

WORKFLOWS = tracked("*.yml")


def lint(*paths: Path) -> subprocess.CompletedProcess[str]:
    """GitHub's schema of workflows, as check-jsonschema brings it along."""
    command = [sys.executable, "-m", "check_jsonschema"]
    command += ["--builtin-schema", "vendor.github-workflows", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_there_is_one_for_the_page_and_one_for_the_package() -> None:
    assert [path.name for path in WORKFLOWS] == ["package.yml", "pages.yml"]
    guide = (ROOT / "docs" / "publish.md").read_text()
    assert not [path for path in WORKFLOWS if f"(workflows/{path.name})" not in guide]


@pytest.mark.slow
def test_they_are_valid_and_a_broken_one_is_not(tmp_path: Path) -> None:
    done = lint(*WORKFLOWS)
    assert done.returncode == 0, done.stdout
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOWS[0].read_text().replace("runs-on:", "run-on:"))
    assert lint(broken).returncode == 1


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_they_run_is_a_command_of_build_and_what_they_upload_is_made(path: Path) -> None:
    text = path.read_text()
    commands = re.findall(r"- run: python3 build\.py (\w+)$", text, re.MULTILINE)
    assert len(commands) == text.count("run: ") == 1
    assert not [name for name in commands if not callable(getattr(build, name))]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    uploaded = set(re.findall(r"(?:path|packages-dir): (\S+)", text))
    assert uploaded
    assert not [name for name in uploaded if f"{name.rstrip('/')}/" not in ignored]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_they_are_allowed_little_and_end(path: Path) -> None:
    text = path.read_text()
    top = text.split("\njobs:")[0]
    assert "\npermissions:\n  contents: read\n" in top
    jobs = text.split("\njobs:")[1]
    assert jobs.count("timeout-minutes:") == jobs.count("runs-on:") == 2
    assert "secrets." not in text, "trusted publishing keeps no token"
