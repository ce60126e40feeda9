"""Rows as an attacker, a broken export or another program writes them: refused in words, always."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import chat_corpus
import tiny_llama
from conftest import matrix
from gpu_runner.config.load import resolve
from gpu_runner.data import cache, run_data
from gpu_runner.data.chat.messages import BadRow
from gpu_runner.data.dataset import encode_dataset, encode_rows
from gpu_runner.data.encode import Encoder
from gpu_runner.data.rows import SourceReader, read_rows
from gpu_runner.errors import DataError
from security.damage import HOSTILE, damaged

pytestmark = pytest.mark.slow

CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a": [1]}'}}
GOOD: list[dict[str, Any]] = [
    {"prompt": "a", "completion": "b"},
    {"instruction": "a", "input": "b", "output": "c"},
    {"text": "a"},
    {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    {
        "prompt": [{"role": "user", "content": "a"}],
        "completion": [{"role": "assistant", "content": "b"}],
    },
    {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "a", "content": "r"},
            {"role": "assistant", "content": "b", "reasoning_content": "t", "weight": 1},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": {}}}}],
        "chat_template_kwargs": {"thinking": True},
    },
]
MORE: list[Any] = [
    *(10**4000, -(10**4000), 1e308, float("nan"), float("inf"), True, "\ud800", "a\udfff", "\x00"),
    *(["a", 1, None, {}], {"a": {"b": [[]]}}, "\u202e", {"function": {"name": 1}}, [[["a"]]]),
    *('{"name": "f"}', "[{}]", '{"name": "f", "arguments": {}}', "{" * 50, '[{"name": "\\ud800"}]'),
    *({"messages": 1}, {"tools": 2}, {"add_generation_prompt": []}, {"raise_exception": 1}),
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "what is it?"}],
]
ALL_BUT_LONG = [one for one in (*HOSTILE, *MORE) if one != "x" * 70_000]


def encoders() -> Iterator[Encoder]:
    """One without a template, and one of each kind of template that reads much of a chat."""
    yield Encoder(tiny_llama.tokenizer(), 60)
    for family in ("hybrid", "harmony", "mistral", "parts"):
        for train_on in ("assistant", "all", "last"):
            made = chat_corpus.tokenizer(chat_corpus.source(family))
            yield Encoder(made, 60, train_on=train_on)


def hostile(random_: random.Random) -> dict[str, Any]:
    """A row of any form, with something else at one to three places."""
    row = damaged(random_.choice(GOOD), random_)
    return row if isinstance(row, dict) else {}


def answered(encoder: Encoder, row: dict[str, Any]) -> None:
    """Encode a row, or refuse it in a sentence; nothing else may come of it."""
    try:
        rendered = encoder.render(row)
    except BadRow:
        return
    for one, example in zip(rendered, encoder.tokenize(rendered), strict=True):
        assert len(example.ids) == len(example.trained)
        encoder.token_texts(one.row, example)


@pytest.mark.parametrize("seed", matrix(range(4), 0))
def test_whatever_stands_in_a_row_there_is_an_answer_in_words(seed: int) -> None:
    random_ = random.Random(seed)
    for encoder in encoders():
        for good in GOOD:
            for place in _places(good):
                row = copy.deepcopy(good)
                _put(row, place, random_.choice(ALL_BUT_LONG))
                answered(encoder, row)
        for _ in range(40):
            answered(encoder, hostile(random_))


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inside:
        yield (*at, key)
        if isinstance(item, dict | list):
            yield from _places(item, (*at, key))


def _put(value: Any, place: tuple[Any, ...], thing: Any) -> None:
    for key in place[:-1]:
        value = value[key]
    value[place[-1]] = copy.deepcopy(thing)


@pytest.mark.parametrize("thing", [*ALL_BUT_LONG, "x" * 7_000], ids=lambda thing: repr(thing)[:30])
def test_a_hostile_value_at_every_place_is_refused_or_read(thing: Any) -> None:
    for encoder in (Encoder(tiny_llama.tokenizer(), 60), next_template()):
        for good in GOOD:
            for place in _places(good):
                row = copy.deepcopy(good)
                _put(row, place, thing)
                answered(encoder, row)


def next_template() -> Encoder:
    return Encoder(chat_corpus.tokenizer(chat_corpus.source("hybrid")), 60)


LINES = {
    '{"text": ' + "[" * 5_000 + "]" * 5_000 + "}": "nested more than 100 deep",
    '{"text": ' * 200 + "1" + "}" * 200: "nested more than 100 deep",
    '{"text": "a", "text": "b"}': "the key 'text' occurs twice in one object",
    '{"messages": [{"role": "user", "role": "assistant", "content": "a"}]}': "'role' occurs twice",
    '{"text": ' + "9" * 5_000 + "}": "a number has too many digits",
    '{"text": ' + "9" * 4_000 + "}": '"text" is int 9',
    '{"text": "\\ud800"}': "half a character",
    '{"text": "a\x00b"}': "Invalid control character",
    '{"prompt": "a", "completion": ["b"]}': '"completion" is list',
    '{"' + "k" * 1_000_000 + '": 1}': "its keys are kkk",
    '{"messages": [{"role": "' + "r" * 1_000_000 + '", "content": "a"}]}': "has role 'rrr",
    "\x00" * 100: "not JSON",
    "nul": "not JSON",
    '"a"': "a row is a JSON object, but this is a str",
}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:24])
def test_a_hostile_line_is_reported_by_its_number_in_few_words(line: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "good"}\n' + line + "\n", "utf-8")
    with pytest.raises(DataError) as refused:
        encode_dataset("training", read_rows(str(path)), next_template())
    said = str(refused.value)
    assert f"{path}:2: " in said
    assert LINES[line] in said
    assert len(said) < 1_000
    reader = SourceReader(str(path), skip_bad=True)
    read = reader.read()
    rows = encode_rows(str(path), read, next_template(), skip_bad=True, bad=reader.bad)
    assert (len(rows), len(rows.bad)) == (1, 1)


def test_a_very_long_text_is_cut_and_counted(tmp_path: Path) -> None:
    path = tiny_llama.write_rows(tmp_path / "rows.jsonl", [{"text": "ab " * 30_000}])
    rows = encode_dataset("training", read_rows(str(path)), Encoder(tiny_llama.tokenizer(), 60))
    assert (rows.cut_rows, rows.cut_tokens) == (1, 90_001 - 60)


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


@pytest.mark.parametrize("least", [1, 10**9])
def test_a_picture_in_a_message_is_refused_with_a_remedy_or_left_out_and_counted(
    least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LEAST_BYTES", least)
    monkeypatch.setenv(cache.CACHE_ENV, str(tmp_path / "cache"))
    asks = {"role": "user", "content": [{"type": "text", "text": "what is it?"}, IMAGE]}
    rows: list[dict[str, object]] = [
        *tiny_llama.sums(12),
        {"messages": [asks, {"role": "assistant", "content": "a cat"}]},
    ]
    path = tiny_llama.write_rows(tmp_path / "rows.jsonl", rows)
    options = {"model": "x", "data": str(path), "general": ()}
    words = r"rows\.jsonl:13: message 0: .*part of type 'image_url', and only text is trained"
    with pytest.raises(DataError, match=f"{words}.*--skip-bad-rows"):
        run_data.load_datasets(resolve(options), next_template())
    train, suites = run_data.load_datasets(
        resolve({**options, "skip_bad_rows": True}), next_template()
    )
    assert len(train.examples) + len(suites["task"].examples) == 12
    assert len(train.bad_rows) == 1
    assert "1 bad row is left out" in " ".join(train.remarks())


def test_columns_that_json_has_no_word_for_do_not_stop_a_table() -> None:
    from datetime import datetime

    when = {"text": "a", "at": datetime(2026, 1, 1), "blob": b"\x89PNG", "n": float("nan")}
    (part,) = [cache.encode_part(next_template(), 0, [("a[0]", when)])]
    told = json.loads(part.arrays["texts"])
    assert (told["at"], told["blob"]) == ("2026-01-01 00:00:00", "4 bytes")
