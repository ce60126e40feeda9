"""What a run measured, in a line that can be published: what it says, and what it cannot say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gpu_runner.errors import CheckpointError
from gpu_runner.log.report import file_name, report_run
from gpu_runner.log.tail import LOG_NAME
from house.tree import ROOT
from unfrozen.answer.shapes import MEASURED_RUN, schemas
from unfrozen.schema.check import check

SECRET = "secret-project"


def recorded(folder: Path, **changes: Any) -> Path:
    """The recorded demo run, with other keys in its beginning."""
    lines = (ROOT / "web" / "recordings" / "demo.jsonl").read_text().splitlines()
    start = json.loads(lines[0]) | changes
    run = folder / SECRET
    run.mkdir()
    (run / LOG_NAME).write_text("".join(f"{line}\n" for line in [json.dumps(start), *lines[1:]]))
    return run


def test_a_report_has_what_was_measured_and_what_was_predicted(tmp_path: Path) -> None:
    found = report_run(recorded(tmp_path))
    lines = (ROOT / "web" / "recordings" / "demo.jsonl").read_text().splitlines()
    summary = json.loads(lines[-1])["summary"]
    for key in ("measured_peak_bytes", "predicted_peak_bytes"):
        assert found[key] == summary[key]
    speeds = [json.loads(line).get("m", {}).get("perf/tokens_per_second", 0) for line in lines]
    assert min(filter(None, speeds)) < found["tokens_per_second"] < max(speeds)
    assert (found["framework"], found["counter"], found["gpus"]) == ("unfrozen", "tensors", 1)
    assert found["recipe"]["optimizer"] == "adamw"
    assert not check(MEASURED_RUN, found, "it").problem
    Draft202012Validator(schemas()["report"]).validate(found)


def test_a_report_tells_no_name_path_or_setting_of_a_run(tmp_path: Path) -> None:
    model = {"name": f"/home/me/{SECRET}", "num_parameters": 1, "layers": 4, "type": "llama"}
    recipe = {"optimizer": "sgd", "moments": None, SECRET: SECRET}
    versions = {"torch": "2.13.0"}
    changes = {"model": model, "recipe": recipe, "versions": versions, "config": {"data": SECRET}}
    found = report_run(recorded(tmp_path, trainer="transformers Trainer 5.24.0", **changes))
    assert SECRET not in json.dumps(found)
    assert found["model"] == {"type": "llama", "num_parameters": 1}
    assert found["framework"] == "transformers Trainer"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"versions": {SECRET: "1"}}, f"versions.{SECRET} is an unknown key"),
        ({"model": {"num_parameters": 0}}, "num_parameters is 0"),
        ({"recipe": {"optimizer": SECRET}}, "optimizer"),
    ],
)
def test_what_the_line_has_no_place_for_is_refused_by_its_key(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(CheckpointError, match=r"cannot be reported") as caught:
        report_run(recorded(tmp_path, **changes))
    assert says in str(caught.value)


def test_a_run_that_has_not_ended_has_nothing_to_report(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    lines = (run / LOG_NAME).read_text().splitlines()
    (run / LOG_NAME).write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(CheckpointError, match="it has not ended"):
        report_run(run)


def test_the_command_shows_the_line_before_it_saves_it_under_its_hash(tmp_path: Path) -> None:
    run, out = recorded(tmp_path), tmp_path / "new" / "reports"
    line = [sys.executable, "-m", "gpu_runner", "report", str(run)]
    shown = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout) == report_run(run)
    assert "--out FOLDER" in shown.stderr
    line += ["--json", "--out", str(out)]
    saved = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    (file,) = out.iterdir()
    assert file.name == file_name(report_run(run))
    assert file.read_text() == saved.stdout
    assert saved.stdout.count("\n") == 1
