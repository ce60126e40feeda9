"""Lengths of the rows that a plan is for: by a tokenizer that is here, else estimated."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_runner.cli.plan import read_lengths
from gpu_runner.demo import model_dir
from gpu_runner.model.load import find, load_tokenizer
from unfrozen.errors import PlanError
from unfrozen.training_data import ESTIMATED

ROWS = '{"text": "three hundred and twelve"}\n{"text": "one"}\n'


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROWS)
    return str(path)


def test_a_tokenizer_that_is_here_counts_the_tokens(rows: str) -> None:
    lengths, source = read_lengths(rows, str(model_dir()))
    tokenizer = load_tokenizer(find(str(model_dir())))
    text = len(tokenizer("three hundred and twelve")["input_ids"])
    assert source == f"by the tokenizer of {model_dir()}"
    assert lengths[0] - text in (0, 1, 2)  # with its start and end
    assert lengths[0] > lengths[1]


def test_without_a_tokenizer_tokens_are_estimated(rows: str) -> None:
    assert read_lengths(rows, "MODEL") == ([6, 1], ESTIMATED)


def test_parquet_and_compressed_files_are_read(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(ROWS.encode()))
    assert read_lengths(str(path), "MODEL")[0] == [6, 1]


def test_data_that_cannot_be_read_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"text"')
    for source in (str(path), str(tmp_path / "none.jsonl"), str(tmp_path)):
        with pytest.raises(PlanError) as refused:
            read_lengths(source, "MODEL")
        assert str(path.parent) in str(refused.value)
        assert "\n" not in str(refused.value)
