"""The models of a run that has ended answer from a process of their own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from gpu_runner.config.load import resolve
from gpu_runner.errors import UsageError
from gpu_runner.log.questions import Question
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.resume import ResumeOptions, resume
from gpu_runner.serve.asker import Asker, AskerError
from run_process import below

QUESTION = Question("1+1=", tokens=4)


@pytest.fixture(scope="module")
def run(model_dir: Path, sums_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("asked") / "runs"
    given = {"model": str(model_dir), "data": str(sums_file), "steps": 2, "sample_tokens": 0}
    fine_tune(resolve(given | {"general": (), "runs": str(runs)}), Console(quiet=True))
    (found,) = runs.iterdir()
    return found


@pytest.fixture(scope="module")
def asker() -> Iterator[Asker]:
    made = Asker(("UNFROZEN_TOKEN",))
    yield made
    made.close()


@pytest.mark.slow
def test_one_process_answers_again_and_again_and_knows_no_secret(
    asker: Asker, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNFROZEN_TOKEN", "5ec2e7")
    first, second = asker.ask(run, QUESTION), asker.ask(run, Question("2+2=", tokens=4))
    assert {"model", "text", "ended", "pieces"} == set(first["before"]) == set(second["after"])
    assert (first["prompt"], second["prompt"]) == ("1+1=", "2+2=")
    (child,) = below("ask")
    assert "5ec2e7" not in str(child.environ())
    with pytest.raises(UsageError, match="the prompt is empty"):
        asker.ask(run, Question(" "))
    with pytest.raises(AskerError, match="give at most"):
        asker.ask(run, Question("1+1=" * 3000))
    child.kill()
    child.wait()
    assert asker.ask(run, QUESTION) == first  # by another process


@pytest.mark.slow
def test_a_model_that_is_gone_is_named_and_no_process_is_left(
    asker: Asker, run: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(run, tmp_path / "broken"))
    (broken / "model" / "model.safetensors").unlink()
    with pytest.raises(AskerError, match=r"model\.safetensors"):
        asker.ask(broken, QUESTION)
    assert not below("ask")


def test_a_resumed_run_answers_with_its_newest_weights(asker: Asker, tmp_path: Path) -> None:
    given = {"model": "demo", "steps": 1, "warmup": 0, "general": (), "eval_rows": 4}
    quick = {"runs": str(tmp_path), "sample_tokens": 0, "lr": 0.01, "seq_len": 64}
    fine_tune(resolve(given | quick), Console(quiet=True))
    (run,) = tmp_path.iterdir()
    first = asker.ask(run, QUESTION)
    (child,) = below("ask")
    resume(run, Console(quiet=True), ResumeOptions(steps=3))
    second = asker.ask(run, QUESTION)
    assert below("ask") == [child]
    assert [said["after"]["model"] for said in (first, second)] == [
        f"step {step} of {run.name}" for step in (1, 3)
    ]
    assert first["after"]["text"] != second["after"]["text"]
    assert first["before"] == second["before"]


@pytest.mark.slow
def test_a_process_that_nobody_asks_ends(run: Path) -> None:
    others, idle = below("ask"), Asker((), idle_seconds=0.1)
    idle.ask(run, QUESTION)
    for child in below("ask"):
        if child not in others:
            child.wait()
    assert below("ask") == others
