"""A JSON array that is not held whole gives the same rows, and its faults where they are."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_runner.data import rows as data_rows
from gpu_runner.data.rows import SourceReader, read_rows
from gpu_runner.errors import DataError

ROWS: list[dict[str, Any]] = [
    {"prompt": 'a "quoted" [ ] { }', "completion": "é\n\t"},
    {"messages": [{"role": "user", "content": "x" * 90}], "n": [1, 2.5, -3e4, None, True]},
    {"prompt": "", "completion": "\\"},
]


@pytest.fixture(autouse=True)
def little_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_rows, "PARSED_AT_ONCE", 5)
    monkeypatch.setattr(data_rows, "CHUNK", 7)


def rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(str(path))]


@pytest.mark.parametrize("indent", [None, 0, 3])
@pytest.mark.parametrize("name", ["rows.json", "rows.json.gz"])
def test_its_rows_are_those_of_the_whole(tmp_path: Path, indent: int | None, name: str) -> None:
    text = f"\n {json.dumps(ROWS, indent=indent, ensure_ascii=False)}\n\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    assert rows(path) == ROWS
    assert [where for where, _ in read_rows(str(path))] == [f"{path}[{n}]" for n in range(3)]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.slow
@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(st.dictionaries(st.text(), VALUES, max_size=4), min_size=1, max_size=4),
    st.sampled_from([None, 1]),
)
def test_any_rows_are_read_as_python_reads_them(
    tmp_path: Path, found: list[dict[str, Any]], indent: int | None
) -> None:
    path = tmp_path / "any.json"
    path.write_text(json.dumps(found, indent=indent), "utf-8")
    assert rows(path) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"a": 1},\n{"b": 2}\n', r"rows.json:3: '\]' is missing|',' or '\]' is missing"),
        ('[{"a": 1}\n{"b": 2}]', r"rows.json:2: ',' or '\]' is missing"),
        ('[{"a": 1},\n{"b": oh, "c": "' + "x" * 60 + '"}]', r"rows.json:2: not JSON \(Expecting"),
        ('[{"a": 1},\n\n{"b": "no end', r"rows.json:3: not JSON \(Unterminated string"),
        ('[{"a": 1}]\n[{"b": 2}]', r"rows.json:2: the array has ended, and more follows"),
        ('[{"b": 3}, {"a": 1, "a": 2}]', r"rows.json\[1\]: .*the key 'a' occurs twice"),
        ('[{"b": 3},\n{"a": ' + "[" * 200_000 + "]}]", r"rows.json:2: .*nested too deeply"),
        ('[{"a": "' + "\\u00e9" * 9 + '"},\n{"a": "\\uZZ"}]', r"rows.json:2: not JSON"),
        ('[{"a": ' + "[" * 101 + "]" * 101 + "}]", "nested more than 100 deep"),
        ('[{"a": ' + "9" * 5000 + "}]", "a number has too many digits"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text, "utf-8")
    with pytest.raises(DataError, match=said):
        rows(path)


def test_what_is_no_object_is_refused_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"a": 1}, 2, "three", [4], {"b": 5}]')
    reader = SourceReader(str(path), skip_bad=True)
    assert [row for _, row in reader.read()] == [{"a": 1}, {"b": 5}]
    bad = reader.bad
    assert ["[1]" in bad[0], "[2]" in bad[1], "[3]" in bad[2]] == [True] * 3
    path.write_text("[          ]")
    with pytest.raises(DataError, match="has no rows"):
        rows(path)


@pytest.mark.slow
def test_a_long_file_takes_a_fraction_of_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_rows, "PARSED_AT_ONCE", 2**16)
    monkeypatch.setattr(data_rows, "CHUNK", 2**14)
    path, count = tmp_path / "rows.json", 40_000
    path.write_text(json.dumps([{"text": f"row {n} " * 20} for n in range(count)]))
    tracemalloc.start()
    assert sum(1 for _ in SourceReader(str(path))) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 3
