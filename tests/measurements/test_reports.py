"""Runs that people reported: each file is one line, of the shape that `unfrozen report` writes."""

import json

import pytest

from gpu_runner.log.report import file_name
from house.tree import ROOT
from unfrozen.answer.shapes import MEASURED_RUN
from unfrozen.job.recipe import Recipe
from unfrozen.schema.check import read_file

REPORTS = sorted((ROOT / "web" / "measurements" / "reports").iterdir())


@pytest.mark.parametrize("file", REPORTS, ids=lambda file: file.name)
def test_a_reported_run_is_one_line_that_report_wrote(file) -> None:  # type: ignore[no-untyped-def]
    text = file.read_text("utf-8")
    report = json.loads(text)
    assert file.name == file_name(report)
    assert text == f"{json.dumps(report)}\n"
    checked = read_file(MEASURED_RUN, file.read_bytes(), file.name)
    assert not checked.problem
    Recipe.read(report["recipe"])


def test_there_are_reported_runs() -> None:
    assert len(REPORTS) > 1
