"""Rows are encoded and masked as the runner does it, row by row."""

import json

import pytest
from transformers import AutoTokenizer

from gpu_runner import demo
from gpu_runner.data.encode import Encoder
from lab_demo import files, loaded
from unfrozen.errors import PlanError
from unfrozen.lab.demo import encode_row, read_rows

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [name for name in files() if name.endswith(".jsonl")])
def test_every_row_of_the_demo_is_the_runners(name: str) -> None:
    encoder = Encoder(AutoTokenizer.from_pretrained(demo.model_dir()), 64)
    text = files()[name].decode()
    theirs = [encoder.encode(json.loads(line)) for line in text.splitlines()]
    ours = read_rows(text, loaded().tokenizer)
    assert [(row.ids, row.trained) for row in ours] == [(e.ids, e.trained) for e in theirs]


def test_a_completion_is_learned_with_its_end_and_a_prompt_is_not() -> None:
    row = encode_row("1 + 1 =", " 2", loaded().tokenizer)
    learned = [number for number, learns in zip(row.ids, row.trained, strict=True) if learns]
    assert loaded().tokenizer.decode(learned) == " 2"
    assert row.trained[-1]
    assert row.trained_tokens == 3  # the blank, the digit and the end


def test_without_a_prompt_the_first_token_has_nothing_to_be_learned_from() -> None:
    assert encode_row("", "Paris", loaded().tokenizer).trained[0] is False


@pytest.mark.parametrize("line", ['{"prompt": "a"}', "[1]", "not JSON", "7"])
def test_a_line_that_is_no_row_is_named(line: str) -> None:
    with pytest.raises(PlanError, match="line 2"):
        read_rows('{"prompt": "a", "completion": "b"}\n' + line, loaded().tokenizer)
