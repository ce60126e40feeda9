"""Rows and their lengths: from three numbers, from a file, padded and packed."""

from __future__ import annotations

import json
import random

import pytest

from unfrozen.errors import PlanError
from unfrozen.training_data import Data, estimated_tokens, read_numbers, row_lengths


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("10,000 x 3 x 512", (10_000, 3, 512, 512)),
        ("52k × 1 × 300-900", (52_000, 1, 300, 900)),
        ("1*0.5*100 to 200", (1, 0.5, 100, 200)),
    ],
)
def test_three_numbers_are_rows_epochs_and_tokens(text: str, numbers: tuple[float, ...]) -> None:
    found = read_numbers(text)
    assert found
    assert (found.rows, found.epochs, found.mean, found.longest) == numbers
    assert read_numbers(found.numbers) == found
    assert found.tokens == round(numbers[0] * numbers[1] * numbers[2])


@pytest.mark.parametrize("text", ["", "10000", "data.jsonl", "3 x 4", "a x 1 x 2", "1.2.3 x 1 x 1"])
def test_another_text_is_no_data(text: str) -> None:
    assert read_numbers(text) is None


@pytest.mark.parametrize(
    "text", ["0 x 1 x 5", "5 x 0 x 5", "5 x 1 x 0", "5 x 1 x 9-3", "9m x 9999 x 99999"]
)
def test_numbers_out_of_bounds_are_refused(text: str) -> None:
    with pytest.raises(PlanError) as refused:
        read_numbers(text)
    assert refused.value.key == "data"


def test_a_row_has_a_token_for_four_bytes_of_its_texts() -> None:
    chat = {"messages": [{"role": "user", "content": "x" * 36}], "id": "y" * 1000}
    assert estimated_tokens(chat) == (36 + len("user")) / 4
    assert estimated_tokens({"prompt": "é" * 8, "completion": ""}) == 4  # two bytes each
    assert estimated_tokens({"question": ""}) == 1


def test_a_file_is_lines_an_array_or_a_table() -> None:
    rows = [{"text": "a\u2028b" * size} for size in (1, 8, 4)]
    lengths = [estimated_tokens(row) for row in rows]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert row_lengths("a.jsonl", f"\ufeff{lines}\n\n") == lengths
    assert row_lengths("a.json", json.dumps(rows)) == lengths
    assert row_lengths("a.csv", 'prompt,n\n"one\nline",1\ntwo,2\n') == [2, 1]
    assert row_lengths("a.tsv", "text\tn\nfour four four\t1\n") == [4]


@pytest.mark.parametrize(
    ("text", "place"),
    [('{"text": 1}\n{"text"', "a.jsonl:2"), ("[1, 2", "a.jsonl"), ("NaN", "a.jsonl:1")],
)
def test_the_first_line_that_is_no_row_is_named(text: str, place: str) -> None:
    with pytest.raises(PlanError) as refused:
        row_lengths("a.jsonl", text)
    assert refused.value.value == place


def test_a_file_without_rows_is_refused() -> None:
    with pytest.raises(PlanError):
        Data.of([], 1, "")


def test_one_row_of_a_thousand_does_not_set_the_length_of_a_sequence() -> None:
    data = Data.of([3000] * 1999 + [20_000], 2, "")
    assert data.length(None) == 4096
    assert data.too_long(4096) == 1
    assert data.length(2048) == 2048
    assert Data.of([100] * 10, 1, "").length(None, packed=False) == 128
    assert Data.of([1200] * 10, 1, "").length(None, packed=False) == 1216
    assert Data.of([100] * 10, 1, "").length(None) == 2048  # short rows are packed
    assert Data(10, 1, 100, 5000).length(None) == 8192
    assert Data(10, 1, 100, 112_541).length(131_072) == 131_072
    assert Data(10, 1, 100, 5000).too_long(4096) is None


def test_padded_rows_are_as_long_as_the_longest_drawn_with_them() -> None:
    draw = random.Random(0)
    lengths = [round(draw.lognormvariate(5, 1)) + 1 for _ in range(500)]
    data = Data.of(lengths, 3, "")
    assert data.padded_tokens(1) == data.tokens
    drawn = sum(max(draw.choices(lengths, k=4)) for _ in range(40_000)) / 40_000
    assert data.padded_tokens(4) == pytest.approx(3 * 500 * drawn, rel=0.02)
    assert Data(10, 1, 100, 200).padded_tokens(4) is None
