"""What a command says of the data: a file is loaded by its ending, as each framework's parser takes
it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from trl.scripts.sft import make_parser

from frameworks_read import files, words
from unfrozen.frameworks.command_lines import data_words
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.job import Job


def typed(name: str, data: str) -> str:
    """The command of a framework for a file or a data set."""
    recipe = {"method": "lora", "attention": "flash", "lora": {"library": "peft"}}
    job = Job.read({"model": "Qwen2.5-7B", "recipe": recipe, "gpu": "H100"})
    framework = FRAMEWORKS[name]
    return framework.command(framework.adapt(job), data_words(name, data))


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
