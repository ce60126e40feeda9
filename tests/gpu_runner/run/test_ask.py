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

from gpu_runner.config.load import resolve
from gpu_runner.errors import CheckpointError, ModelLoadError, UsageError
from gpu_runner.log.questions import AnswerPair, Question
from gpu_runner.model.load import find, load, load_tokenizer
from gpu_runner.run.demo_models import DemoPair
from gpu_runner.run.directory import finished_step
from gpu_runner.run.fine_tune import fine_tune
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


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the demo, of two steps at a high rate."""
    runs = tmp_path_factory.mktemp("demo") / "runs"
    given = {"model": "demo", "steps": 2, "warmup": 0, "general": (), "eval_rows": 4}
    fine_tune(resolve(given | {"runs": str(runs), "sample_tokens": 0}), Console(quiet=True))
    (found,) = runs.iterdir()
    return found


def test_the_demo_answers_in_numpy_as_in_pytorch(demo_run: Path) -> None:
    quick, loaded = DemoPair.load(demo_run), load_pair(demo_run, None, None, CPU)
    assert quick is not None
    for prompt in ("826", "24 + 47 =", "Yesterday Cara sang.", "один, 忘 & 🐟"):
        question = Question(prompt, tokens=16)
        found, whole = quick.ask(question), loaded.ask(question)
        assert found is not None
        for one, other in ((found.before, whole.before), (found.after, whole.after)):
            assert (one.model, one.text, one.ended) == (other.model, other.text, other.ended)
            assert one.pieces == tuple(other.pieces)[: len(one.pieces)]


def test_what_the_page_does_not_ask_is_left_to_pytorch(demo_run: Path, once_finished: Path) -> None:
    quick = DemoPair.load(demo_run)
    assert quick is not None
    for question in (replace(QUESTION, temperature=1.0), replace(QUESTION, prompt="826 " * 80)):
        assert quick.ask(question) is None
    with pytest.raises(UsageError, match="the prompt is empty"):
        quick.ask(replace(QUESTION, prompt="\n"))
    assert DemoPair.load(once_finished) is None


def test_a_damaged_model_of_the_demo_is_named(demo_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(demo_run, tmp_path / "run"))
    with (run / "model" / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(CheckpointError, match=r"model\.safetensors has .* bytes, not"):
        DemoPair.load(run)
    shutil.rmtree(run / "model")  # its last checkpoint is still there
    assert DemoPair.load(run) is None
    assert load_pair(run, None, None, CPU).after.name.startswith("step 2 of ")


@pytest.mark.parametrize("mark", [b"", b"soon", b"\xff", b"7" * 100])
def test_a_mark_that_names_no_step_is_refused_by_its_path(mark: bytes, tmp_path: Path) -> None:
    (tmp_path / "finished").write_bytes(mark)
    with pytest.raises(CheckpointError, match=r"finished does not name the last step"):
        finished_step(tmp_path)


def test_the_demo_is_asked_without_pytorch(demo_run: Path) -> None:
    asked = (
        "import atexit, sys; from gpu_runner.cli.command_line import main;"
        "atexit.register(lambda: print('torch' in sys.modules));"
        f"sys.argv = ['unfrozen', 'ask', {str(demo_run)!r}, '826', '--json']; main()"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    answers, is_loaded = done.stdout.splitlines()
    assert json.loads(answers)["after"]["model"].startswith("step 2 of ")
    assert is_loaded == "False"
