"""What will be trained, in numbers, counted by hand."""

from typing import Any

import pytest

import tiny_llama
from gpu_runner.data import preview
from gpu_runner.data.dataset import EncodedDataset, encode_dataset
from gpu_runner.data.encode import Encoder


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(tiny_llama.tokenizer(), 40)


def read(encoder: Encoder, *texts: str) -> EncodedDataset:
    rows = [(f"a:{number}", {"text": text}) for number, text in enumerate(texts, 1)]
    return encode_dataset("data", rows, encoder)


def test_ends_are_counted_of_rows_that_are_whole(encoder: Encoder) -> None:
    rows = read(encoder, "ab", "cd", "e" * 99)
    assert preview.count_end_tokens(rows, encoder) == [preview.EndToken("</s>", 0, 2)]


def test_space_behind_an_end_is_none() -> None:
    tokenizer = tiny_llama.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}</s>\n{% endfor %}"
    made = Encoder(tokenizer, 40)
    rows = encode_dataset("data", [("a", {"prompt": "a", "completion": "b"})], made)
    assert preview.count_end_tokens(rows, made) == [preview.EndToken("</s>", 0, 1)]


def test_lengths_are_told_with_their_spread(encoder: Encoder) -> None:
    found = preview.measure_lengths(
        read(encoder, *("a" * count for count in (1, 2, 2, 3, 9))).examples.lengths
    )
    assert (found.shortest, found.median, found.nine_in_ten, found.longest) == (2, 3, 10, 10)
    assert found.bars == (1, 2, 1, 0, 0, 0, 0, 0, 1)
    assert found.starts == tuple(range(2, 11))


def test_rows_that_are_there_before_are_counted(encoder: Encoder) -> None:
    assert preview.find_duplicates(read(encoder, "a b", "c", "a b", "a b")) == (2, "a:3")
    assert preview.find_duplicates(read(encoder, "a b", "c")) == (0, "")


def test_padding_is_what_rows_of_a_micro_batch_lack_to_the_longest(encoder: Encoder) -> None:
    rows = read(encoder, "a" * 9, "a" * 4)  # 10 and 5 tokens: 20 positions, 15 of them used
    assert preview.measure_padding(rows, 2, 1, 0) == (0.25, 1)


def spoken(encoder: Encoder, row: dict[str, Any], *near: int) -> preview.ExampleTokens:
    return preview.example_tokens(encoder, row, encoder.encode(row), *near)


def test_a_row_is_told_token_by_token_whole_or_near_its_answer(encoder: Encoder) -> None:
    row = {"prompt": "abcdef", "completion": "ghijk"}
    whole = spoken(encoder, row)
    assert "".join(text for text, trained in whole.tokens if trained) == "ghijk</s>"
    assert (whole.before, whole.after, whole.ends) == (0, 0, {11})
    near = spoken(encoder, row, 6, 2)
    assert near.tokens == [
        *(("e", False), ("f", False)),
        *(("g", True), ("h", True), ("i", True), ("j", True)),
    ]
    assert (near.before, near.after, near.ends) == (4, 2, frozenset())


def test_a_character_of_several_tokens_is_told_with_the_first_of_them(encoder: Encoder) -> None:
    found = spoken(encoder, {"prompt": "x", "completion": "é😀 "})
    texts = ["x", "é", "", "😀", "", "", "", " ", "</s>"]
    assert [text for text, _ in found.tokens] == texts
    assert found.ends == {8}


def test_a_row_that_is_encoded_otherwise_now_is_reported_by_its_tokens(encoder: Encoder) -> None:
    row = {"prompt": "ab", "completion": "c"}
    other = encoder.encode({"prompt": "ab", "completion": "d"})
    texts = [text for text, _ in preview.example_tokens(encoder, row, other).tokens]
    assert texts == ["a", "b", "d", "</s>"]


def test_the_end_of_each_answer_is_a_mark_that_closes_what_is_trained() -> None:
    tokenizer = tiny_llama.tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role[0] }}{{ m.content }}</s>\n{% endfor %}"
    )
    made = Encoder(tokenizer, 80)
    asked, said = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b</s>c"}
    found = spoken(made, {"messages": [asked, said, asked, said]})
    text = "".join(text for text, _ in found.tokens)
    assert text == "ua</s>\nab</s>c</s>\n" * 2
    assert [found.tokens[place] for place in sorted(found.ends)] == [("</s>", True)] * 2
    assert max(found.ends) == len(found.tokens) - 2


def test_rows_that_end_in_text_never_tell_to_stop() -> None:
    tokenizer = tiny_llama.tokenizer()
    tokenizer.eos_token = None
    made = Encoder(tokenizer, 40)
    found = preview.count_end_tokens(read(made, "ab", "cb", "d</s>"), made)
    assert [(one.text, one.rows) for one in found] == [("b", 2), ("</s>", 1)]
    assert preview.count_without_end(found, made) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"eos_token_id": [0, 5]}, ""),
        ({"eos_token_id": 0}, ""),
        ({"eos_token_id": 66}, "answers end in '</s>', but the model is set to stop at 'b'"),
        (None, ""),
    ],
)
def test_a_model_that_stops_elsewhere_is_reported(
    encoder: Encoder, settings: Any, said: str
) -> None:
    tokenizer = tiny_llama.tokenizer()
    tokenizer.eos_token = None
    found = preview.count_end_tokens(read(encoder, "ab"), encoder)
    assert preview.end_token_mismatch(found, tokenizer, settings).startswith(said)
    assert bool(preview.end_token_mismatch(found, tokenizer, settings)) == bool(said)
