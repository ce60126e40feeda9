import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gpu_runner.cli.application import application
from gpu_runner.cli.commands import run_directory

ROOT = Path(__file__).parents[2]


def runner(*arguments: str) -> Result:
    """`python -m gpu_runner …`, in this process."""
    return CliRunner(env={"COLUMNS": "160"}).invoke(application(), list(arguments))


@pytest.mark.slow
def test_help_names_the_commands_without_loading_pytorch() -> None:
    code = "import sys; sys.argv = ['x', '--help']; import runpy\n"
    code += "try: runpy.run_module('gpu_runner', run_name='__main__')\n"
    code += "finally: assert 'torch' not in sys.modules, 'torch was loaded'"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "py")},
    )
    assert done.returncode == 0, done.stderr
    for name in ("train", "plan", "resume", "serve", "export", "doctor", "selftest"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "--model", "x/y"], 2, "--data is missing"),
        (["train", "--model", "demo", "--lr", "7"], 2, "--lr 7.0 is out of bounds"),
        (
            ["train", "--model", "demo", "--steps", "many"],
            2,
            "'--steps': 'many' is not a whole number: give one from 1 to 10,000,000",
        ),
        (
            ["train", "--dry-run", "--model", "demo", "--lr", "1e-"],
            2,
            "'1e-' is not a number: give one from 1e",
        ),
        (["train", "--model", "/none", "--data", "instruct"], 5, "no model at '/none'"),
        (["resume", "no-such-run"], 8, "it has no config.json"),
        (["export", "no-such-run"], 8, "it has no events.jsonl"),
        (["export", "no-such-run", "--to", "xls"], 2, "choose csv or tensorboard or wandb-offline"),
        (["serve", "--no-open", "--site", "/none"], 2, "no built page in /none"),
    ],
)
def test_a_user_error_is_one_message_with_its_exit_code(
    arguments: list[str], code: int, said: str
) -> None:
    done = runner(*arguments)
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert isinstance(done.exception, SystemExit)


@pytest.mark.slow
def test_a_model_that_no_hub_gives_says_what_was_tried() -> None:
    done = runner("train", "--dry-run", "--model", "no-such/model", "--data", "instruct")
    assert done.exit_code == 5
    assert "tried a directory, a .gguf file and the Hugging Face hub" in done.stderr


def test_help_has_room_for_its_words_and_names_defaults_on_eighty_columns() -> None:
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(application(), ["train", "--help"]).stdout
    for words in ("Peak learning rate (2e-05).", "Micro-batches in one optimizer step (2)."):
        assert words in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.slow
def test_plan_predicts_and_runs_nothing(model_dir: Path, sums_file: Path, tmp_path: Path) -> None:
    options = ["--model", str(model_dir), "--data", str(sums_file), "--runs", str(tmp_path / "r")]
    done = runner("train", "--dry-run", *options)
    assert done.exit_code == 0, done.stderr
    for part in (
        "27,040 parameters, all trained",
        "36 examples",
        "16 bytes a parameter",
        "End of forward",
        "Total",
    ):
        assert part in done.stdout
    assert not (tmp_path / "r").exists()


def test_a_run_is_found_by_a_path_that_does_not_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "some-run"
    (place / "checkpoints").mkdir(parents=True)
    for inside, path in ((place, "."), (place / "checkpoints", "..")):
        monkeypatch.chdir(inside)
        assert run_directory(path, "runs") == place.resolve()
    assert run_directory("none", "runs") == Path("runs/none")


def test_a_data_error_names_file_line_and_reason(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "ok"}\n{"text": \n')
    done = runner("train", "--model", str(model_dir), "--data", str(tmp_path / "bad.jsonl"))
    assert done.exit_code == 3
    assert "bad.jsonl:2: not JSON" in done.stderr
