"""What a command says of the data: a file is loaded by its ending, as each framework's parser takes
it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from trl.scripts.sft import make_parser

from frameworks_read import files, words
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.frameworks.writing import known_words
from unfrozen.job import Job
from unfrozen.shell import printable


def typed(name: str, data: str, model: str = "MODEL") -> str:
    """The command of a framework for a file or a data set."""
    recipe = {"method": "lora", "attention": "flash", "lora": {"library": "peft"}}
    job = Job.read({"model": "Qwen2.5-7B", "recipe": recipe, "gpu": "H100"})
    framework = FRAMEWORKS[name]
    return framework.command(framework.adapt(job), known_words(name, model, data))


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize(("data", "builder"), [("my data.jsonl", "json"), ("a.parquet", "parquet")])
def test_trl_reads_a_file_of_its_own_configuration(data: str, builder: str, tmp_path: Path) -> None:
    text = typed("accelerate", data)
    assert "DATA" not in text
    config = tmp_path / "data.yaml"
    config.write_text(files(text)["data.yaml"])
    options = words(text)
    options = options[options.index("-m") + 2 :]
    options[options.index("--config") + 1] = str(config)
    found: Any = make_parser().parse_args_and_config([*options, "--use_cpu"])
    mixture = next(part for part in found if getattr(part, "datasets", None))
    assert [(one.path, one.data_files) for one in mixture.datasets] == [(builder, data)]


def test_files_of_the_others_name_it_too() -> None:
    axolotl = yaml.safe_load(files(typed("axolotl", "d.jsonl"))["axolotl.yml"])
    assert axolotl["datasets"] == [{"path": "d.jsonl", "ds_type": "json", "type": "chat_template"}]
    written = files(typed("llama-factory", "d.jsonl"))
    settings = yaml.safe_load(written["llama_factory.yaml"])
    listed = json.loads(written["dataset_info.json"])
    assert listed[settings["dataset"]]["file_name"] == "d.jsonl"
    assert settings["dataset_dir"] == "."
    assert "--local-dataset d.jsonl" in typed("unsloth", "d.jsonl")


@pytest.mark.parametrize("name", ["accelerate", "axolotl", "llama-factory", "unsloth"])
def test_a_name_of_the_hub_stands_for_itself(name: str) -> None:
    assert "trl-lib/Capybara" in typed(name, "trl-lib/Capybara")


ODD = (
    "$(touch owned) DATA",
    "it's\nEND\ntouch owned #",
    "a: b # `c` \\",
    "true",
    "a\x1b]0;t\x07\u202e",
)


@pytest.mark.parametrize("name", ["accelerate", "axolotl", "llama-factory", "unsloth"])
@pytest.mark.parametrize("ending", ["", ".jsonl"])
def test_a_shell_runs_no_name_and_hands_it_on_as_it_is(
    name: str, ending: str, tmp_path: Path
) -> None:
    for program in ("accelerate", "axolotl", "llamafactory-cli", "unsloth", "torchrun"):
        stub = tmp_path / "bin" / program
        stub.parent.mkdir(exist_ok=True)
        stub.write_text("#!/bin/bash\nprintf '%s\\0' \"$@\" > arguments\n")
        stub.chmod(0o755)
    for word in ODD:
        place = tmp_path / str(ODD.index(word))
        place.mkdir()
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        text = typed(name, f"{word}{ending}", word)
        assert printable(text, lines=True) == text
        command = ["bash", "-c", text]
        subprocess.run(command, cwd=place, env={**os.environ, "PATH": path}, check=True)
        assert not (place / "owned").exists()
        found = (place / "arguments").read_bytes().decode("utf-8").split("\0")
        for file in place.glob("*.y*ml"):
            found += [*strings(yaml.safe_load(file.read_text()))]
        for file in place.glob("*.json"):
            found += [*strings(json.loads(file.read_text()))]
        assert word in found, "the model"
        assert f"{word}{ending}" in found, "the data"


def strings(value: Any) -> Iterator[str]:
    """All texts in plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings(one)
