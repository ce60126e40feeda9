"""The command line: files, stdin, lists, and errors in one line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unfrozen.__main__ import main
from unfrozen.catalogue import CATALOGUE

JOB: dict[str, Any] = {
    "model": CATALOGUE["meta-llama/Llama-2-7b-hf"].config,
    "recipe": {"micro_batch": 4},
    "gpu": "A100-80GB",
}


def written(tmp_path: Path, content: object) -> str:
    path = tmp_path / "job.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_a_job_is_answered_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", written(tmp_path, JOB), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["fits"] is False
    assert answer["min_gpus"] > 1


def test_a_list_of_jobs_gives_a_list_of_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", written(tmp_path, [JOB, JOB]), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first == second
    assert main(["plan", written(tmp_path, []), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_table_names_the_peak_the_verdict_and_the_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", written(tmp_path, JOB)]) == 0
    text = capsys.readouterr().out
    for words in (
        "6.74B parameters",
        "End of forward",
        "Weights",
        "does not fit",
        "ZeRO-3",
        "8-bit",
    ):
        assert words in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"gpu": None}, "name a gpu"),
        ({"model": CATALOGUE["HuggingFaceTB/SmolLM2-135M"].config}, "fits the A100"),
        ({"recipe": {"seq_len": 1_000_000}}, "no number of them"),
    ],
)
def test_the_verdict_says_what_there_is_to_say(
    change: dict[str, Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", written(tmp_path, JOB | change)]) == 0
    assert says in capsys.readouterr().out


def test_a_dash_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(JOB).encode())))
    assert main(["plan", "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["peak_instant"] == "end_of_forward"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ('{"model": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ({"model": {}}, "model.model_type"),
        ([JOB, {"recipe": {}}], "needs a model"),
        (JOB | {"recipe": {"seq_len": -1}}, "recipe.seq_len"),
    ],
)
def test_a_job_that_cannot_be_planned_is_one_line_on_stderr(
    content: object, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", written(tmp_path, content), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_a_file_that_is_not_there_or_not_text_is_one_line_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(tmp_path / "none.json")]) == 2
    assert "No such file" in capsys.readouterr().err
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    assert main(["plan", str(tmp_path / "binary.json")]) == 2
    assert "not JSON" in capsys.readouterr().err


def test_the_module_runs_by_its_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unfrozen", "plan", written(tmp_path, JOB), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["peak_instant"] == "end_of_forward"
