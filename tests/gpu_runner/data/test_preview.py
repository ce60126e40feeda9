"""What will be trained, in numbers, counted by hand."""

from typing import Any

import pytest

import tiny_llama
from gpu_runner.data import preview
from gpu_runner.data.encode import Encoder
from gpu_runner.data.rows import RowSet, load_set


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(tiny_llama.tokenizer(), 40)


def read(encoder: Encoder, *texts: str) -> RowSet:
    rows = [(f"a:{number}", {"text": text}) for number, text in enumerate(texts, 1)]
    return load_set("data", rows, encoder)


def test_ends_are_counted_of_rows_that_are_whole(encoder: Encoder) -> None:
    rows = read(encoder, "ab", "cd", "e" * 99)
    assert preview.stops(rows, encoder) == [preview.Stop("</s>", 0, 2)]


def test_space_behind_an_end_is_none() -> None:
    tokenizer = tiny_llama.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}</s>\n{% endfor %}"
    made = Encoder(tokenizer, 40)
    rows = load_set("data", [("a", {"prompt": "a", "completion": "b"})], made)
    assert preview.stops(rows, made) == [preview.Stop("</s>", 0, 1)]


def test_lengths_are_told_with_their_spread(encoder: Encoder) -> None:
    found = preview.lengths(read(encoder, *("a" * count for count in (1, 2, 2, 3, 9))))
    assert (found.shortest, found.median, found.nine_in_ten, found.longest) == (2, 3, 10, 10)
    assert found.bars == (1, 2, 1, 0, 0, 0, 0, 0, 1)


def test_rows_that_are_there_before_are_counted(encoder: Encoder) -> None:
    assert preview.repeated(read(encoder, "a b", "c", "a b", "a b")) == (2, "a:3")
    assert preview.repeated(read(encoder, "a b", "c")) == (0, "")


def test_padding_is_what_rows_of_a_micro_batch_lack_to_the_longest(encoder: Encoder) -> None:
    rows = read(encoder, "a" * 9, "a" * 4)  # 10 and 5 tokens: 20 positions, 15 of them used
    assert preview.padding(rows, 2, 1, 0) == (0.25, 1)


def test_a_row_is_told_token_by_token_whole_or_near_its_answer(encoder: Encoder) -> None:
    example = encoder.encode({"prompt": "abcdef", "completion": "ghijk"})
    whole = preview.spoken(encoder, example)
    assert "".join(text for text, trained in whole if trained) == "ghijk</s>"
    assert preview.spoken(encoder, example, 2) == [
        *(("…", False), ("e", False), ("f", False)),
        *(("g", True), ("h", True), ("i", True), ("j", True), ("…", True)),
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"eos_token_id": [0, 5]}, ""),
        ({"eos_token_id": 0}, ""),
        ({"eos_token_id": 66}, "answers end in '</s>', but the model is set to stop at 'b'"),
        (None, ""),
    ],
)
def test_a_model_that_stops_elsewhere_is_told(encoder: Encoder, settings: Any, said: str) -> None:
    tokenizer = tiny_llama.tokenizer()
    tokenizer.eos_token = None
    found = preview.stops(read(encoder, "ab"), encoder)
    assert preview.ends_elsewhere(found, tokenizer, settings).startswith(said)
    assert bool(preview.ends_elsewhere(found, tokenizer, settings)) == bool(said)
