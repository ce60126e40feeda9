"""What docs/agents.md, its notebook and the reference show is what happens."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from house.tree import ROOT

GUIDE = (ROOT / "docs" / "agents.md").read_text("utf-8")
ACTION, HOOK = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL))
"""The workflow and the hook; YAML reads the key `on` as true."""
AXOLOTL = "base_model: Qwen/Qwen2.5-0.5B\nmicro_batch_size: 1\nsequence_len: {}\nbf16: true\n"


def typed(command: str, *more: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = [*shlex.split(command), *more]
    assert words[0] == "unfrozen"
    line = [sys.executable, "-m", *words]
    env = os.environ | {"PYTHONPATH": str(ROOT / "py")}
    return subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_the_workflow_is_ten_lines_and_fails_where_the_job_does_not_fit(tmp_path: Path) -> None:
    block = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)[0]
    assert len(block.splitlines()) <= 11
    file = tmp_path / "plan.yml"
    file.write_text(block)
    lint = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*lint, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    (checkout, _, plan) = ACTION["jobs"]["plan"]["steps"]
    assert checkout["uses"] in (ROOT / "docs" / "workflows" / "pages.yml").read_text()
    for length, code in ((2048, 0), (1_000_000, 3)):
        (tmp_path / "axolotl.yml").write_text(AXOLOTL.format(length))
        assert typed(plan["run"], folder=tmp_path).returncode == code


def test_the_hook_takes_the_files_that_it_names(tmp_path: Path) -> None:
    (hook,) = HOOK["repos"][0]["hooks"]
    assert re.search(hook["files"], "axolotl.yml")
    for length, code in ((2048, 0), (1_000_000, 3)):
        (tmp_path / "axolotl.yml").write_text(AXOLOTL.format(length))
        assert typed(hook["entry"], "axolotl.yml", folder=tmp_path).returncode == code


def test_the_settings_of_a_client_start_the_server() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    server = json.loads(text)["mcpServers"]["unfrozen"]
    assert (server["command"], server["args"]) == ("unfrozen", ["mcp", "--runs", "runs"])


def test_the_reference_is_that_of_todays_docstrings() -> None:
    line = [sys.executable, "-c", "import reference; print(reference.page(), end='')"]
    found = subprocess.run(line, cwd=ROOT / "docs", capture_output=True, text=True, check=True)
    written = (ROOT / "docs" / "reference.md").read_text("utf-8")
    assert found.stdout == written, "run: python3 docs/reference.py"


SHELL = """
import json, sys
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell

shell, shown = InteractiveShell.instance(), []
for cell in json.loads(Path(sys.argv[1]).read_text("utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        done = shell.run_cell("".join(cell["source"]))
        done.raise_error()
        data = {} if done.result is None else shell.display_formatter.format(done.result)[0]
        shown.append(data)
Path("shown.json").write_text(json.dumps(shown))
"""


@pytest.mark.slow
def test_every_cell_of_the_notebook_runs_and_shows_its_picture(tmp_path: Path) -> None:
    line = [sys.executable, "-c", SHELL, str(ROOT / "docs" / "notebook.ipynb")]
    env = os.environ | {"PYTHONPATH": str(ROOT / "py"), "IPYTHONDIR": str(tmp_path / "ipython")}
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    shown: list[dict[str, Any]] = json.loads((tmp_path / "shown.json").read_text())
    assert shown[0]["text/html"].count("<svg") == 1
    assert "Nothing in its log looks wrong" in done.stdout
    assert shown[-1]["text/plain"] == "'finished'"
