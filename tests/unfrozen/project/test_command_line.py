"""One plan on the command line: data, GPUs, a budget, and what contradicts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unfrozen.__main__ import main

MODEL = ("--model", "Qwen2.5-7B")


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["plan", *MODEL, *options]) == 0
    return capsys.readouterr().out


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "What is it?", "completion": "It is a row of data."}\n' * 50)
    return str(path)


def test_a_file_gpus_and_a_budget_end_in_one_plan(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in (("--gpus", "8xH100"), ("--gpu", "RTX 4090"), ("--budget", "200")):
        text = printed(capsys, "--data", data, "--epochs", "3", *options)
        assert text.count("Plan: full fine-tuning") == 1
        assert "50 rows × 3 epochs" in text
        assert "estimated at 4 bytes a token" in text
        assert "Qwen/Qwen2.5-7B" in text
    found = json.loads(printed(capsys, "--data", data, "--gpus", "8xH100", "--json"))
    assert found["plan"]["fits"]


@pytest.mark.parametrize("gpu", ["T4", "V100 SXM 16GB", "A100-80GB"])
def test_a_plan_without_data_ends_in_a_command_that_runs_there(
    gpu: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["plan", "--model", "Qwen2.5-0.5B", "--gpu", gpu]
    assert main(options) == 0
    text = capsys.readouterr().out
    compute = "bf16" if gpu.startswith("A100") else "fp16"
    words = "--mixed_precision bf16" if compute == "bf16" else "--params fp32 --compute fp16"
    assert words in text or "--bf16 true" in text
    assert main([*options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["plan"]
    assert found["fits"]
    assert found["command"] in text
    assert (found["recipe"]["params"], found["recipe"]["compute"]) == ("fp32", compute)


def test_where_no_full_fine_tuning_fits_the_adapters_that_do_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["plan", "--model", "Llama-3.1-8B", "--gpu", "T4"]
    assert main(options) == 0
    text = capsys.readouterr().out.partition("No full fine-tuning fits 1 × T4")[2]
    assert "QLoRA fits 1 × T4." in text
    assert "unsloth train --model meta-llama/Llama-3.1-8B --local-dataset FILE.jsonl" in text
    assert main([*options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plan"] is None
    assert [one["command"] in text for one in found["adapters"]] == [True]


def test_more_gpus_than_are_searched_are_planned_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    many = '{"gpus": 8192, "sharding": "zero3"}'
    assert main(["plan", *MODEL, "--gpu", "H100", "--cluster", many]) == 0
    assert "Fits the H100" in capsys.readouterr().out


def test_the_reader_of_a_runner_counts_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[str, str]] = []

    def read(source: str, model: str) -> tuple[list[int], str]:
        asked.append((source, model))
        return [7, 8, 9], "by a tokenizer"

    options = ["plan", *MODEL, "--data", "owner/set", "--gpus", "8xH100"]
    assert main(options, read_lengths=read) == 0
    assert asked == [("owner/set", "Qwen/Qwen2.5-7B")]
    assert "24.0 tokens (by a tokenizer)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--data", "nowhere.jsonl", "--gpus", "8xH100"), "nowhere.jsonl"),
        (("--gpus", "8xH100", "--gpu", "H200"), "gpu says H200"),
        (("--gpus", "8xH100", "--budget", "9"), "--budget 9 chooses how many"),
        (("--gpus", "8xH100", "--tokens", "1B"), "--gpus asks for one plan"),
        (("--gpus", "8xH100", "--solve", "gpus"), "--solve"),
        (("--data", "9x1x9"), "--gpus 8xH100, or --budget 200"),
        (("--data", "9x1x9", "--budget", "0"), "the cheapest full fine-tuning costs"),
        (("--data", "9x1x9", "--epochs", "2", "--gpu", "H100"), "says 1"),
        (("--epochs", "2", "--gpus", "8xH100"), "there are no rows"),
        (("--budget", "10"), "nothing says how long it is"),
        (("--gpus", "8xH100", "--cluster", '{"tensor_parallel": 2}'), "one plan searches it"),
        (("--gpus", "8xH100", "--recipe", '{"checkpointing": "full"}'), "recipe.checkpointing"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    options: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *MODEL, *options]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_damaged_file_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    for content, says in ((b'{"a": 1}\n{', ":2"), (b"PAR1\xff\xfe", "not text"), (b"", "no row")):
        path.write_bytes(content)
        assert main(["plan", *MODEL, "--data", str(path), "--gpus", "8xH100"]) == 2
        assert says in capsys.readouterr().err


def test_a_folder_with_a_config_is_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from unfrozen.model.catalogue import CATALOGUE

    config = CATALOGUE["meta-llama/Llama-3.2-1B"].config
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["plan", "--model", str(tmp_path), "--gpus", "1xH100"]) == 0
    assert str(tmp_path) in capsys.readouterr().out
