"""The models before and after a run answer the same prompt, and say whether they ended."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from gpu_runner.errors import CheckpointError, ModelLoadError, UsageError
from gpu_runner.log.questions import AnswerPair, Question
from gpu_runner.model.load import find, load, load_tokenizer
from gpu_runner.run.directory import finished_step
from gpu_runner.run.run_models import ModelPair, load_initial, load_pair, load_trained
from gpu_runner.train.evaluate import generate

CPU = torch.device("cpu")
QUESTION = Question("1+1=", tokens=8)


@pytest.fixture(scope="module")
def pair(once_finished: Path) -> ModelPair:
    return load_pair(once_finished, None, None, CPU)


def test_the_answers_are_those_of_the_models_on_disk(
    pair: ModelPair, once_finished: Path, model_dir: Path
) -> None:
    found = pair.ask(QUESTION)
    read = pair.after.encoder.render_question("1+1=")
    for answer, place in ((found.before, model_dir), (found.after, once_finished / "model")):
        source = find(str(place))
        tokenizer = load_tokenizer(source)
        written = generate(load(source, tokenizer, "fp32", CPU), tokenizer, read, 8)
        assert (answer.text, answer.ended) == (written.text, written.ended)
        assert "".join(answer.pieces) == answer.text
    assert found.before.text != found.after.text


def test_as_json_each_side_has_its_text_and_whether_it_ended(pair: ModelPair) -> None:
    found = pair.ask(QUESTION).as_json()
    assert found["prompt"] == "1+1="
    assert found["after"]["model"].startswith("step 6 of ")
    for side in ("before", "after"):
        assert isinstance(found[side]["text"], str)
        assert isinstance(found[side]["ended"], bool)


def shown(found: AnswerPair) -> str:
    with io.StringIO() as text:
        found.show(Console(file=text, force_terminal=True, width=100))
        return text.getvalue()


def test_only_what_differs_is_bold(pair: ModelPair) -> None:
    assert "\x1b[1m" in shown(pair.ask(QUESTION))
    assert "\x1b[1m" not in shown(ModelPair(pair.after, pair.after).ask(QUESTION))


def test_two_checkpoints_are_compared(once_stopped: Path, once_finished: Path) -> None:
    pair = load_pair(once_finished, None, (once_stopped, 3), CPU)
    assert pair.before.name == f"step 3 of {once_stopped.name}"
    assert pair.ask(QUESTION).before.pieces


def test_a_prompt_longer_than_the_model_reads_is_refused_and_another_script_is_not(
    pair: ModelPair,
) -> None:
    with pytest.raises(UsageError, match=r"give at most .* with --tokens 8"):
        pair.ask(replace(QUESTION, prompt="1+1=" * 2000))
    assert pair.ask(replace(QUESTION, prompt="один и один?")).after.pieces


def test_models_that_are_not_there_are_named(once_stopped: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(once_stopped, tmp_path / "run"))
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 5; it has 3, 4"):
        load_trained(run, 5, CPU)
    settings = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(settings | {"model": str(tmp_path / "gone")}))
    with pytest.raises(ModelLoadError, match="gone"):
        load_initial(run, CPU)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(CheckpointError, match="neither a finished model nor a whole checkpoint"):
        load_trained(run, None, CPU)
    with pytest.raises(CheckpointError, match="is not a run of `train`"):
        load_trained(tmp_path, None, CPU)


@pytest.mark.slow
def test_prompts_come_a_line_each_and_a_bad_one_stops_nothing(once_finished: Path) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "gpu_runner", "ask", str(once_finished), "--json", "--tokens", "4"],
        input='"1+1="\n\n"' + "2+" * 2000 + '"\n{"prompt": "2+2="}\n',
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    first, second, third = map(json.loads, asked.stdout.splitlines())
    assert {"text", "ended", "model", "pieces"} == set(first["before"]) == set(third["after"])
    assert "give at most" in second["error"]


@pytest.mark.parametrize("mark", [b"", b"soon", b"\xff", b"7" * 100])
def test_a_mark_that_names_no_step_is_refused_by_its_path(mark: bytes, tmp_path: Path) -> None:
    (tmp_path / "finished").write_bytes(mark)
    with pytest.raises(CheckpointError, match=r"finished does not name the last step"):
        finished_step(tmp_path)
