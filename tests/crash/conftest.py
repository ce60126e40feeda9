"""The runner's real, small things, for the runs that are killed here."""

from pathlib import Path

import pytest

import tiny_llama


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 27,040 random weights with its tokenizer, as one would download it."""
    return tiny_llama.directory(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def sums_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty rows of prompts and completions."""
    return tiny_llama.write_rows(
        tmp_path_factory.mktemp("data") / "sums.jsonl", tiny_llama.sums(40)
    )
