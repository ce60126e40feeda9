"""Code that a model brings along: never run unasked, never asked about, refused by its name."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from gpu_runner.cli.application import application
from gpu_runner.errors import ExitCode
from gpu_runner.model import load as model
from gpu_runner.model.save import save

CODE = """
from pathlib import Path
Path(__file__)  # where it was copied to
Path({marker!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Mine(LlamaConfig):
    model_type = "mine"
class MineForCausalLM(LlamaForCausalLM):
    config_class = Mine
class MineTokenizer(PreTrainedTokenizerFast):
    pass
"""
MAPPED = {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.MineForCausalLM"}


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that is there once the model's code has run."""
    return tmp_path / "it ran"


@pytest.fixture
def folder(model_dir: Path, tmp_path: Path, marker: Path) -> Path:
    """A model with a file of its own beside it."""
    made = Path(shutil.copytree(model_dir, tmp_path / "model"))
    (made / "mine.py").write_text(CODE.format(marker=str(marker)))
    return made


def change(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes))


def tell(folder: Path, data: Path, *words: str, verb: str = "--dry-run") -> Result:
    """`train`, or `train --dry-run`, in this process, with somebody who says yes to everything."""
    options = ["--model", str(folder), "--data", str(data), "--general", "none", "--steps", "1"]
    runs = str(folder.parent / "runs")
    return CliRunner(env={"COLUMNS": "400"}).invoke(
        application(),
        ["train", *([verb] if verb != "train" else []), *options, "--runs", runs, *words],
        input="y\n" * 50,
    )


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["--dry-run", "train"])
@pytest.mark.parametrize(
    "mapped",
    [
        MAPPED,
        {"AutoConfig": "../mine.Mine"},
        {"AutoModelForCausalLM": "other/repository--mine.MineForCausalLM"},
        {"AutoTokenizer": [None, "mine.MineTokenizer"]},
        "mine.Mine",
        [["mine.Mine"]],
    ],
    ids=str,
)
def test_a_model_of_an_unknown_type_is_refused_by_the_name_of_its_code(
    folder: Path, sums_file: Path, marker: Path, verb: str, mapped: Any
) -> None:
    change(folder, "config.json", model_type="mine", auto_map=mapped)
    done = tell(folder, sums_file, verb=verb)
    assert done.exit_code == ExitCode.MODEL, done.output
    assert done.stderr.count("\n") == 1
    assert "model 'model' brings code of its own (config.json names" in done.stderr
    assert "mine." in done.stderr
    assert "--trust-remote-code" in done.stderr
    assert "y/N" not in done.output
    assert not marker.exists()


def test_a_tokenizer_of_its_own_is_refused_too(folder: Path, sums_file: Path, marker: Path) -> None:
    mapped = {"AutoTokenizer": ["mine.MineTokenizer", None]}
    change(folder, "tokenizer_config.json", auto_map=mapped, tokenizer_class="MineTokenizer")
    done = tell(folder, sums_file)
    assert done.exit_code == ExitCode.MODEL, done.output
    assert "tokenizer_config.json names mine.MineTokenizer" in done.stderr
    assert not marker.exists()


@pytest.mark.slow
def test_an_architecture_that_the_library_has_is_trained_without_that_code(
    folder: Path, sums_file: Path, marker: Path, tmp_path: Path
) -> None:
    change(folder, "config.json", auto_map=MAPPED)
    done = tell(folder, sums_file)
    assert done.exit_code == ExitCode.OK, done.output
    assert "which is not run: transformers' own llama is trained" in done.stdout
    source = model.find(str(folder))
    tokenizer = model.load_tokenizer(source)
    loaded = model.load(source, tokenizer, "fp32", torch.device("cpu"))
    save(loaded, tokenizer, tmp_path / "saved")
    assert "auto_map" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    assert not marker.exists()


def test_who_asks_for_it_gets_it(
    folder: Path, sums_file: Path, marker: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    modules = "transformers.dynamic_module_utils.HF_MODULES_CACHE"
    monkeypatch.setattr(modules, str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    change(folder, "config.json", model_type="mine", auto_map=MAPPED)
    done = tell(folder, sums_file, "--trust-remote-code")
    assert done.exit_code == ExitCode.OK, done.output
    assert marker.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "act",
    ["__import__('os').system('true')", "lambda x: x", "nn.ReLU()", {"a": 1}, [], 5, "\x1b[31m"],
)
def test_an_activation_that_is_none_ends_in_a_sentence(
    folder: Path, sums_file: Path, act: Any
) -> None:
    change(folder, "config.json", hidden_act=act)
    done = tell(folder, sums_file, verb="train")
    assert done.exit_code == ExitCode.MODEL, done.output
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_a_file_that_is_nested_too_deep_ends_in_a_sentence(
    folder: Path, sums_file: Path, name: str
) -> None:
    (folder / name).write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    done = tell(folder, sums_file, verb="train")
    assert done.exit_code == ExitCode.MODEL, done.output
    assert done.stderr.startswith("Error: ")


class Evil:
    """A value that runs a program when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._marker),)


@pytest.mark.slow
def test_weights_that_are_a_program_are_refused(
    folder: Path, sums_file: Path, marker: Path
) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Evil(marker)}, folder / "pytorch_model.bin")
    for more in ((), ("--trust-remote-code",)):
        done = tell(folder, sums_file, *more, verb="train")
        assert done.exit_code == ExitCode.MODEL, done.output
        assert "may run programs. Get the model as safetensors." in done.stderr
        assert not marker.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert marker.exists()  # it is one
