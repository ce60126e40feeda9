"""`unfrozen eval`: the harness's own numbers, the same rows before and after, bad suites named."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from gpu_runner import demo
from gpu_runner.cli.application import application
from gpu_runner.errors import DataError, ModelLoadError, NotReady, UsageError
from gpu_runner.run.harness import (
    STOPS,
    EvalOptions,
    Judgement,
    ModelName,
    judge,
    judged_models,
)

pytestmark = pytest.mark.slow  # the package is there where slow tests run
CPU = torch.device("cpu")
ROWS = [{"question": f"{a} + {b} =", "answer": f" {a + b}"} for a in (10, 27) for b in (14, 38, 50)]
TASKS: dict[str, dict[str, Any]] = {
    "written": {
        "output_type": "generate_until",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
        "metric_list": [{"metric": "exact_match"}],
    },
    "cut": {  # nothing of more than one token can end
        "output_type": "generate_until",
        "generation_kwargs": {"until": [], "max_gen_toks": 1},
        "metric_list": [{"metric": "exact_match"}],
    },
    "chosen": {
        "output_type": "multiple_choice",
        "doc_to_choice": '{{[answer, " 1", " 11"]}}',
        "doc_to_target": 0,
    },
    "read": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}}",
    },
}


def write_suite(place: Path, tasks: dict[str, dict[str, Any]], rows: list[Any]) -> Path:
    """A suite of these tasks; YAML takes JSON."""
    place.mkdir()
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, given in tasks.items():
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": "rows.jsonl"},
            "test_split": "train",
            "doc_to_text": "{{question}}",
            "doc_to_target": "{{answer}}",
            "target_delimiter": "",
        }
        (place / f"{name}.yaml").write_text(json.dumps(task | given))
    return place


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("suite") / "suite", TASKS, ROWS)


def judged(suite: Path, *names: ModelName, **options: Any) -> Judgement:
    return judge(judged_models(names, CPU), EvalOptions(suite, **options))


def test_numbers_are_those_of_the_harness(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    monkeypatch.chdir(suite)
    own = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(demo.model_dir()), "dtype": "float32", "device": "cpu"},
        tasks=list(TASKS),
        batch_size=4,
        task_manager=TaskManager(include_path=str(suite), include_defaults=False),
    )
    found = judged(suite, ModelName("demo"), batch_size=4).models["demo"]
    compared = 0
    for task, scores in found.items():
        assert scores.rows == len(ROWS)
        for name, metric in scores.metrics.items():
            if name != STOPS:
                assert metric.value == pytest.approx(own["results"][task][f"{name},none"], abs=1e-6)
                compared += 1
    assert compared == 7  # two exact matches, two accuracies, three perplexities
    assert found["written"].metrics["exact_match"].value == 1.0
    assert found["written"].metrics[STOPS].value == 1.0
    assert found["cut"].metrics[STOPS].value == 0.0
    assert STOPS not in found["chosen"].metrics
    assert found["read"].metrics["word_perplexity"].interval() is None


def test_before_a_run_stands_its_model_before_with_the_same_rows(
    suite: Path, once_finished: Path
) -> None:
    found = judged(suite, ModelName("run", once_finished), limit=4)
    before, after = found.models.values()
    assert list(found.models) == ["θ₀, the model before", f"step 6 of {once_finished.name}"]
    metric = after["chosen"].metrics["acc"]
    change = metric.change_from(before["chosen"].metrics["acc"])
    assert change is not None
    assert len(metric.rows) == 4
    assert change.mean == pytest.approx(metric.value - before["chosen"].metrics["acc"].value)
    assert change.low <= change.mean <= change.high
    data = json.loads(json.dumps(found.as_json()))
    assert [one["name"] for one in data["models"]] == list(found.models)
    shown = data["models"][1]["tasks"]["chosen"]["metrics"]["acc"]
    assert shown["change"]["interval"] == [change.low, change.high]
    assert data["models"][0]["tasks"]["chosen"]["metrics"]["acc"]["change"] is None


def test_what_a_run_wrote_and_files_have_names_that_tell_them_apart(
    once_finished: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    written = [ModelName(str(place)) for place in (once_finished / "model", file)]
    names = [one.name for one in judged_models(written, CPU)]
    assert names == [f"model of {once_finished.name}", "model.gguf"]


def test_without_its_model_before_a_run_is_judged_alone(
    suite: Path, finished: Path, model_dir: Path
) -> None:
    settings = json.loads((finished / "config.json").read_text())
    gone = settings | {"model": str(model_dir.parent / "gone")}
    (finished / "config.json").write_text(json.dumps(gone))
    found = judged(suite, ModelName("run", finished), limit=1)
    assert list(found.models) == [f"step 6 of {finished.name}"]
    assert "is needed" in found.notes[0]
    assert "Only the trained model is judged" in found.notes[0]


def damaged(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    """Makes a suite of one task, and changes it."""

    def make(place: Path) -> Path:
        suite = write_suite(place / "suite", {"written": TASKS["written"]}, ROWS)
        change(suite)
        return suite

    return make


def with_settings(**changed: Any) -> Callable[[Path], object]:
    def change(suite: Path) -> None:
        task = json.loads((suite / "written.yaml").read_text())
        (suite / "written.yaml").write_text(json.dumps(task | changed))

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda suite: (suite / "written.yaml").unlink(), "holds no task: no file"),
        (lambda suite: (suite / "rows.jsonl").write_text(""), "task written has no rows"),
        (lambda suite: (suite / "rows.jsonl").unlink(), "there is no rows.jsonl from"),
        (
            lambda suite: (suite / "written.yaml").write_text("task: [a\nb: c"),
            r"written.yaml cannot be read: .*line 2",
        ),
        (lambda suite: shutil.rmtree(suite), "is no folder: give one that holds tasks"),
        (
            with_settings(dataset_path="openai/gsm8k"),
            "task written reads the data set openai/gsm8k of the hub.*give dataset_path: json",
        ),
        (
            with_settings(dataset_kwargs={"data_files": "https://x.org/a.jsonl"}),
            "reads https://x.org/a.jsonl, and a suite is read offline",
        ),
        (with_settings(metric_list=[{"metric": "rouge"}]), "no metric 'rouge' of its own"),
        (with_settings(test_split="other"), "task written cannot be read"),
        (
            with_settings(doc_to_text="{{nothing}}"),
            "task written cannot be read: 'nothing' is undefined",
        ),
    ],
)
def test_a_bad_suite_is_refused(change: Callable[[Path], object], why: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=why):
        judged(damaged(change)(tmp_path), ModelName("demo"))


OWNED = "import pathlib\npathlib.Path('owned').touch()\ndef text(doc): return doc['question']\n"


def with_python(text: str) -> Callable[[Path], object]:
    """Adds a line to the task, and the Python that it may name."""

    def change(suite: Path) -> None:
        (suite / "own.py").write_text(OWNED)
        (suite.parent / "own.py").write_text(OWNED)
        (suite.parent / "outside.yaml").write_text("doc_to_text: !function own.text\n")
        (suite.parent / "rows.jsonl").write_text((suite / "rows.jsonl").read_text())
        (suite / "part").write_text("doc_to_text: !function own.text\n")
        task = json.loads((suite / "written.yaml").read_text())
        task.pop(text.partition(":")[0], None)
        lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in task.items())
        (suite / "written.yaml").write_text(f"{lines}{text}\n")

    return change


GENERATE = '{"until": [], "custom_generate": "./own", "trust_remote_code": true}'


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("doc_to_text: !function own.text", r"Python of its own \(!function own\.text\), which is"),
        ("class: !function own.Task", r"Python of its own \(!function own\.Task\)"),
        ("x: &a [!function own.text, *a]", r"!function own\.text"),
        ("include: part", r"written\.yaml brings Python of its own \(!function own\.text\)"),
        ("include: [../outside.yaml]", r"include: \.\./outside\.yaml, outside of its folder"),
        (f"generation_kwargs: {GENERATE}", r"own \(custom_generate\).*own \(trust_remote_code\)"),
        ('dataset_kwargs: {"data_files": {"train": ["../rows.jsonl"]}}', "data_files: .*outside"),
        ("x: !!python/object/apply:os.system [touch owned]", "python/object/apply:os.system"),
        (
            """doc_to_text: "{{ cycler.__init__.__globals__.os.mkdir('owned') }}\"""",
            "task written cannot be read: .*unsafe",
        ),
    ],
)
def test_a_suite_runs_no_code_and_leads_nowhere_unasked(
    line: str, why: str, tmp_path: Path
) -> None:
    suite = damaged(with_python(line))(tmp_path)
    with pytest.raises(DataError, match=why):
        judged(suite, ModelName("demo"))
    assert not (suite / "owned").exists()


def test_a_chat_template_reaches_nothing(suite: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(demo.model_dir(), tmp_path / "chatty"))
    settings = json.loads((place / "tokenizer_config.json").read_text())
    owned = tmp_path / "owned"
    program = f"{{{{ cycler.__init__.__globals__.os.mkdir('{owned}') }}}}"
    (place / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": program}))
    with pytest.raises(DataError, match=r"chatty on suite cannot be read: .*unsafe"):
        judged(suite, ModelName(str(place)), chat=True, limit=1)
    assert not owned.exists()


def test_what_is_no_file_of_tasks_is_not_waited_for(tmp_path: Path) -> None:
    suite = write_suite(tmp_path / "suite", {"written": TASKS["written"]}, ROWS)
    os.mkfifo(suite / "pipe.yaml")
    with pytest.raises(DataError, match=r"pipe\.yaml cannot be read: .*it is a pipe"):
        judged(suite, ModelName("demo"))
    (suite / "pipe.yaml").unlink()
    (suite / "deep.yaml").write_text("task: " + "[" * 100_000)
    with pytest.raises(DataError, match=r"deep\.yaml cannot be read"):
        judged(suite, ModelName("demo"))


def test_who_trusts_a_suite_has_its_code_run(tmp_path: Path) -> None:
    suite = damaged(with_python("doc_to_text: !function own.text"))(tmp_path)
    assert judged(suite, ModelName("demo"), trusted=True, limit=1).models["demo"]["written"].rows
    assert (suite / "owned").exists()


def test_a_tokenizer_without_an_end_is_refused(suite: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(demo.model_dir(), tmp_path / "endless"))
    settings = json.loads((place / "tokenizer_config.json").read_text())
    settings.pop("eos_token")
    (place / "tokenizer_config.json").write_text(json.dumps(settings))
    (place / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(ModelLoadError, match="endless: its tokenizer has no end token"):
        judged(suite, ModelName(str(place)))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"batch_size": 0}, "--batch-size 0 is out of bounds: give a number from 1"),
        ({"limit": 0}, "--limit 0 is out of bounds"),
        ({"chat": True}, "has no chat template: leave out --apply-chat-template"),
    ],
)
def test_options_out_of_bounds_are_refused(suite: Path, options: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        judged(suite, ModelName("demo"), **options)


def test_without_the_package_it_says_what_installs_it(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(NotReady, match=r"-m pip install 'lm-eval>=0.4.13'"):
        judged(suite, ModelName("demo"))


def test_the_command_prints_runs_steps_and_files(
    once_stopped: Path, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo.model_dir().parent)  # paths are from here, and not from the suite
    line = ["eval", f"{once_stopped.name}@3", "model", "--json"]
    line += ["--suite", str(suite), "--limit", "1", "--runs", os.path.relpath(once_stopped.parent)]
    answer = CliRunner().invoke(application(), line)
    assert answer.exit_code == 0, answer.output
    names = [one["name"] for one in json.loads(answer.stdout)["models"]]
    assert names == [f"step 3 of {once_stopped.name}", "model"]
    line[1] = f"{once_stopped.name}@5"
    answer = CliRunner().invoke(application(), line)
    assert answer.exit_code == 8
    assert "has no checkpoint of step 5; it has 3, 4" in answer.stderr
