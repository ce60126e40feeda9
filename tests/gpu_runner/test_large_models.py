"""Several processes, each of which reads and holds its part of a model and no more."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import run_process
import tiny_families
import tiny_llama
from conftest import matrix
from large_models import Reading, read

pytestmark = pytest.mark.slow

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-untied": ("llama", {"tie_word_embeddings": False}),
    "gpt2": ("gpt2", {}),
    "gemma3": ("gemma3_text", {}),
    "mixtral": ("mixtral", {"tie_word_embeddings": False}),
    "qwen3_moe": ("qwen3_moe", {}),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    root = tmp_path_factory.mktemp("models")
    for name, (family, changes) in FAMILIES.items():
        tiny_families.model(family, "eager", **changes).save_pretrained(root / name)
        tiny_llama.tokenizer().save_pretrained(root / name)
    return tuple(root / name for name in FAMILIES)


def seen(reading: Reading, processes: int) -> list[dict[str, Any]]:
    """What every process has seen, in their order."""
    reading.seen.mkdir(exist_ok=True)
    for child in run_process.together(read, reading, processes):
        child.join()
        assert child.exitcode == 0
    return [json.loads((reading.seen / f"{rank}.json").read_text()) for rank in range(processes)]


@pytest.mark.parametrize("processes", matrix([2, 3, 4], 3))
def test_every_process_holds_to_the_last_bit_its_rows_of_what_transformers_loads(
    processes: int, models: tuple[Path, ...], tmp_path: Path
) -> None:
    found = seen(Reading(models, tmp_path / "seen"), processes)
    for model in models:
        for rank in range(processes):
            told = found[rank][model.name]
            assert told["different"] == [], (model.name, rank)
            assert told["same_pass"], (model.name, rank)
            assert told["part"] == [rank, processes]


def test_two_copies_of_two_parts_hold_the_same(models: tuple[Path, ...], tmp_path: Path) -> None:
    found = seen(Reading(models, tmp_path / "seen", parts=2), 4)
    for model in models:
        parts = [found[rank][model.name]["part"] for rank in range(4)]
        assert parts == [[0, 2], [1, 2], [0, 2], [1, 2]]
        assert not [rank for rank in range(4) if found[rank][model.name]["different"] != []]


def test_16_bit_weights_are_the_same_too(models: tuple[Path, ...], tmp_path: Path) -> None:
    found = seen(Reading(models[:1], tmp_path / "seen", params="bf16"), 2)
    assert not [each for each in found if each[models[0].name]["different"] != []]


@pytest.mark.parametrize("processes", matrix([2, 4], 2))
def test_together_they_read_the_files_once_and_each_no_more_than_its_part(
    processes: int, models: tuple[Path, ...], tmp_path: Path
) -> None:
    found = seen(Reading(models, tmp_path / "seen", compared=False), processes)
    for model in models:
        sizes = load_file(model / "model.safetensors")
        read_bytes = [each[model.name]["bytes_read"] for each in found]
        assert sum(read_bytes) == sum(tensor.nbytes for tensor in sizes.values()), model.name
        # Rows are dealt out evenly, but for the last of each tensor: at most one row more.
        rows = sum(tensor[0].nbytes for tensor in sizes.values() if tensor.ndim)
        assert max(read_bytes) <= sum(read_bytes) / processes + rows
        held = [each[model.name]["held_bytes"] for each in found]
        assert max(held) <= math.ceil(sum(read_bytes) / processes) + 2 * rows


def test_a_model_of_200_megabytes_is_never_whole_in_a_process(tmp_path: Path) -> None:
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 13}
    model = tiny_llama.directory(tmp_path / "large", **sizes)
    whole = (model / "model.safetensors").stat().st_size
    assert whole > 190e6
    found = seen(Reading((model,), tmp_path / "seen", compared=False), 4)
    for each in found:
        told = each["large"]
        assert told["bytes_read"] == told["held_bytes"] == pytest.approx(whole / 4, rel=1e-3)
