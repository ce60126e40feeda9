"""Models compared by sample logs of the harness: its numbers, the same examples, bad logs named."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from gpu_runner import demo
from gpu_runner.cli.application import application
from gpu_runner.errors import DataError
from gpu_runner.log import sample_logs
from gpu_runner.log.sample_logs import judge

DATE = "2026-12-01T10-00-00.000001"


def line(number: int, right: bool = True, **more: Any) -> dict[str, Any]:
    example = {"doc_hash": f"d{number}", "target_hash": f"t{number}", "filter": "none"}
    return {"doc_id": number, **example, "metrics": ["acc"], "acc": float(right), **more}


def write(place: Path, lines: list[dict[str, Any]], task: str = "sums", date: str = DATE) -> Path:
    folder = place / "org__model"
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(each) + "\n" for each in lines)
    (folder / f"samples_{task}_{date}.jsonl").write_text(text)
    results = {"model_name": place.name, "higher_is_better": {task: {"acc": True}}}
    (folder / f"results_{date}.json").write_text(json.dumps(results))
    return place


def logs(place: Path, before: int, after: int, of: int = 40) -> list[Path]:
    rights = {"before": before, "after": after}
    return [
        write(place / name, [line(number, number < right) for number in range(of)])
        for name, right in rights.items()
    ]


def test_a_change_beyond_the_noise_is_told_and_one_within_it_is_not(tmp_path: Path) -> None:
    found = judge(logs(tmp_path / "far", 36, 10))
    assert [*found.verdicts()] == ["after against before: sums acc worse."]
    data = json.loads(json.dumps(found.as_json()))
    shown = data["models"][1]["tasks"]["sums"]["metrics"]["acc"]
    assert (shown["value"], shown["change"]["value"]) == (0.25, -0.65)
    assert shown["change"]["interval"][1] < 0
    assert data["models"][0]["tasks"]["sums"]["metrics"]["acc"]["change"] is None
    near = judge(logs(tmp_path / "near", 20, 21))
    assert [*near.verdicts()] == ["after against before: 1 metric within the noise."]


def test_other_examples_have_no_interval_and_are_counted(tmp_path: Path) -> None:
    before, after = logs(tmp_path, 36, 10)
    write(after, [line(number, False, target_hash="new") for number in range(1, 41)])
    found = judge([before, after])
    shown = found.as_json()["models"][1]["tasks"]["sums"]["metrics"]["acc"]
    assert shown["change"] is None
    assert found.notes == [
        "sums: of the examples of after, 39 differ and 2 are in one log alone: no interval."
    ]
    assert [*found.verdicts()] == []


def test_the_newest_log_of_a_task_is_read_and_one_model_s_tasks_are_named(tmp_path: Path) -> None:
    before, after = logs(tmp_path, 36, 10)
    write(after, [line(number) for number in range(40)], date="2026-12-01T11-00-00.000001")
    write(after, [line(0)], task="other")
    found = judge([before, after])
    assert found.as_json()["models"][1]["tasks"]["sums"]["metrics"]["acc"]["value"] == 1.0
    assert found.notes == ["after alone has other."]


def _samples(place: Path) -> Path:
    return next(place.glob("*/samples_sums_*"))


def _put(text: str) -> Callable[[Path], object]:
    return lambda place: _samples(place).write_text(text)


def _rename(place: Path) -> None:
    _samples(place).rename(_samples(place).with_name(f"samples_other_{DATE}.jsonl"))


def _pipe(place: Path) -> None:
    file = _samples(place)
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda place: _samples(place).unlink(), "has no samples_TASK_DATE.jsonl"),
        (_put(""), "has no examples"),
        (_put(json.dumps(line(0)) + "\n{"), "line 2: it is no sample of lm-eval"),
        (_put("[" * 5000), "line 1: it is no sample of lm-eval"),
        (_put('{"doc_id": 1}'), "line 1: it is no sample of lm-eval .KeyError: 'doc_hash'"),
        (_put(json.dumps(line(0)) + "\n" + json.dumps(line(0, doc_hash="x"))), "another example"),
        (_put(json.dumps(line(0, doc="x" * 9000))), "line 1: more than 6,000 bytes"),
        (_put((json.dumps(line(0)) + "\n") * 52), "has more than 50 lines"),
        (_pipe, "it is a pipe, not a file"),
        (
            lambda place: next(place.glob("*/results_*")).write_text("{"),
            "results_.* cannot be read",
        ),
        (_rename, "no task in common"),
    ],
)
def test_what_is_no_sample_log_is_refused_in_words(
    damage: Callable[[Path], object], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_logs, "MOST_LINE_BYTES", 6000)
    monkeypatch.setattr(sample_logs, "MOST_ROWS", 50)
    before, after = logs(tmp_path, 36, 10)
    damage(after)
    with pytest.raises(DataError, match=why):
        judge([before, after])


def write_suite(suite: Path) -> None:
    """A suite of one task with four examples."""
    suite.mkdir()
    rows = [{"question": f"{a} + {b} =", "answer": f" {a + b}"} for a in (10, 27) for b in (14, 38)]
    (suite / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "chosen",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": "rows.jsonl"},
        "test_split": "train",
        "doc_to_text": "{{question}}",
        "target_delimiter": "",
        "output_type": "multiple_choice",
        "doc_to_choice": '{{[answer, " 1", " 11"]}}',
        "doc_to_target": 0,
    }
    (suite / "chosen.yaml").write_text(json.dumps(task))


@pytest.mark.slow  # the package is there where slow tests run
def test_numbers_are_those_of_the_harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    suite = tmp_path / "suite"
    write_suite(suite)
    monkeypatch.chdir(suite)
    other = Path(shutil.copytree(demo.model_dir(), tmp_path / "other"))
    weights = load_file(other / "model.safetensors")
    save_file({name: one.flip(0) for name, one in weights.items()}, other / "model.safetensors")
    own = []
    for name, model in (("before", demo.model_dir()), ("after", other)):
        arguments = {"pretrained": str(model), "dtype": "float32", "device": "cpu"}
        results = simple_evaluate(
            model="hf",
            model_args=arguments,
            tasks=["chosen"],
            task_manager=TaskManager(include_path=str(suite), include_defaults=False),
            log_samples=True,
        )
        tracker = EvaluationTracker(output_path=str(tmp_path / name))
        tracker.general_config_tracker.log_experiment_args(
            "hf", f"pretrained={model}", "", "", True
        )
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        tracker.save_results_samples(task_name="chosen", samples=samples["chosen"])
        own.append(results["results"]["chosen"])
    command = ["eval", str(tmp_path / "before"), str(tmp_path / "after")]
    answer = CliRunner().invoke(application(), [*command, "--json"])
    assert answer.exit_code == 0, answer.output
    data = json.loads(answer.stdout)
    for model, numbers in zip(data["models"], own, strict=True):
        found = model["tasks"]["chosen"]["metrics"]
        for name in ("acc", "acc_norm"):
            assert found[name]["value"] == pytest.approx(numbers[f"{name},none"], abs=1e-9)
            assert found[name]["higher_is_better"] is True
    assert data["models"][1]["tasks"]["chosen"]["metrics"]["acc"]["change"] is not None
    shown = CliRunner().invoke(application(), command).output
    assert "chosen acc, 4 examples" in " ".join(shown.split())
