"""Lines of a file as rows, and every way in which they are none."""

import bz2
import csv
import gzip
import json
import lzma
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from gpu_runner.data import hub
from gpu_runner.data.rows import SourceReader, read_rows
from gpu_runner.errors import DataError
from gpu_runner.text import counted


def written(path: Path, text: str) -> str:
    (path / "rows.jsonl").write_bytes(text.encode())
    return str(path / "rows.jsonl")


def test_rows_are_counted_as_one_says_it() -> None:
    assert (counted(1), counted(0), counted(2000)) == ("1 row", "0 rows", "2,000 rows")
    assert (counted(1, "step"), counted(2, "step")) == ("1 step", "2 steps")


def test_blank_lines_are_no_rows_and_keep_the_line_numbers(tmp_path: Path) -> None:
    source = written(tmp_path, '{"text": "a"}\n\n{"text": "b"}\n')
    assert [where.rsplit(":", 1)[1] for where, _ in read_rows(source)] == ["1", "3"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"text": "a"}\n{"text": \n', r"rows.jsonl:2: not JSON \(Expecting value at column"),
        ('{"text": "a"\r\n', r"Expecting ',' delimiter at column 13\)"),
        ('{"text": ' + "9" * 5000 + "}\n", "rows.jsonl:1: not usable JSON .* too many digits"),
        ('{"text": "a"}\n[1]\n', "rows.jsonl:2: a row is a JSON object, but this is a list"),
        ("[" * 100_000 + "\n", "rows.jsonl: not usable JSON"),
        ("", "has no rows"),
        ("\n \n", "has no rows"),
        ('[{"text": "a"},\n3]\n', r"rows.jsonl\[1\]: a row is a JSON object, but this is a int"),
        ('[\n{"text": "a"}\n', "rows.jsonl:3: not JSON .* begins as an array, which must be whole"),
        ('["a"]\n["b"]\n', "rows.jsonl:1: a row is a JSON object, but this is a list"),
        ('{\n "text": "a"}\n', r"Each line is one object\. If .* jq -c \. "),
        ("prompt,completion\na,b\n", r"If it is a table, call it \.csv or \.tsv\.$"),
        ("words\n", r"If each line is a text: jq -cR '{text: \.}' /"),
    ],
)
def test_a_malformed_file_is_refused_with_line_and_reason(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        read_rows(written(tmp_path, text))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "a"}\n{"text": "\xff\xfe"}\n')
    with pytest.raises(DataError, match=r"x.jsonl:2: not UTF-8 text \(byte 0xFF at column 11\)"):
        read_rows(str(tmp_path / "x.jsonl"))
    reader = SourceReader(str(tmp_path / "x.jsonl"), skip_bad=True)
    assert [row for _, row in reader.read()] == [{"text": "a"}]
    assert len(reader.bad) == 1


def test_what_windows_writes_is_read(tmp_path: Path) -> None:
    source = written(tmp_path, '\ufeff{"text": "a"}\r\n\r\n{"text": "b"}\r\n')
    assert [row for _, row in read_rows(source)] == [{"text": "a"}, {"text": "b"}]


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x.jsonl", "x" * 300])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(name)


def test_a_file_of_bad_rows_only_is_refused(tmp_path: Path) -> None:
    source = written(tmp_path, "1\n2\n")
    with pytest.raises(DataError, match=r"all 2 rows of .* are bad. The first: .*:1: a row is"):
        SourceReader(source, skip_bad=True).read()


def test_a_missing_file_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file; check the path"):
        read_rows(str(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="is a directory"):
        read_rows(str(tmp_path))


ROWS = [{"prompt": "a, b", "completion": "c\nd"}, {"prompt": "é", "completion": "f"}]


def read(path: Path) -> list[dict[str, object]]:
    return [row for _, row in read_rows(str(path))]


def test_one_array_is_read_however_it_is_laid_out(tmp_path: Path) -> None:
    for indent in (None, 2):
        source = written(tmp_path, json.dumps(ROWS, indent=indent))
        assert read(Path(source)) == ROWS
    assert [where for where, _ in read_rows(source)] == [f"{source}[0]", f"{source}[1]"]


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("b.tsv", "\t"), ("c.csv", ";")])
def test_tables_of_text_are_read(tmp_path: Path, name: str, separator: str) -> None:
    with (tmp_path / name).open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, list(ROWS[0]), delimiter=separator)
        table.writeheader()
        table.writerows(ROWS)
    assert read(tmp_path / name) == ROWS
    assert [where.rsplit(":")[1] for where, _ in read_rows(str(tmp_path / name))] == ["2", "4"]


def test_a_damaged_parquet_file_is_named_with_what_is_wrong_in_it(tmp_path: Path) -> None:
    place = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{"text": "a"}] * 9), place)
    whole = place.read_bytes()
    size = int.from_bytes(whole[-8:-4], "little")
    place.write_bytes(whole[: -8 - size] + b"\xff" * size + whole[-8:])
    with pytest.raises(DataError, match=r"no Parquet file that can be read \(Couldn't deserial"):
        read(place)


def test_a_row_of_parquet_that_is_too_long_is_bad_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_runner.data.rows.MOST_CHARACTERS", 5_000_000)
    place = tmp_path / "rows.parquet"
    texts = ["a", "b" * 6_000_000, "c"]
    parquet.write_table(pyarrow.table({"text": texts}), place, compression="zstd")
    assert place.stat().st_size < 50_000
    with pytest.raises(DataError, match=r"rows\.parquet\[1\]: it has more than .* divide that row"):
        read(place)
    reader = SourceReader(str(place), skip_bad=True)
    assert [row["text"] for _, row in reader] == ["a", "c"]


def test_parquet_is_read_without_the_empty_fields_a_table_has(tmp_path: Path) -> None:
    calls = [{"name": "f", "arguments": {"x": 1}}]
    chat: list[dict[str, object]] = [
        {"messages": [{"role": "user", "content": "a"}]},
        {"messages": [{"role": "assistant", "content": "b", "tool_calls": calls}]},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(chat), tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet") == chat
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "rows.parquet").read_bytes()[:99])
    with pytest.raises(DataError, match=r"cut\.parquet is no Parquet file that can be read \("):
        read(tmp_path / "cut.parquet")


@pytest.mark.slow
def test_a_damaged_table_is_refused_or_read_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{"text": "a"}] * 9), place)
    whole = place.read_bytes()
    for index in range(len(whole)):
        place.write_bytes(whole[:index] + bytes([whole[index] ^ 0xC5]) + whole[index + 1 :])
        with suppress(DataError):
            read_rows(str(place))


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_packed_files_are_read_and_damaged_ones_refused(tmp_path: Path, module: Any) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS * 50)
    place = tmp_path / "rows.jsonl.packed"
    place.write_bytes(module.compress(lines.encode()))
    assert read(place) == ROWS * 50
    place.write_bytes(place.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"is compressed, and cut off or damaged .*pack it again"):
        read(place)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\x28\xb5\x2f\xfd....", r"compressed by zstd: unpack it: zstd -d /"),
        (b"PK\x03\x04....", "a zip or a spreadsheet: unzip it, or save the sheet as CSV"),
        ("text".encode("utf-16"), "UTF-16 text: save it as UTF-8: iconv -f UTF-16"),
    ],
)
def test_what_is_not_read_is_named_with_a_remedy(tmp_path: Path, start: bytes, said: str) -> None:
    (tmp_path / "rows.x").write_bytes(start)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "rows.x")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,a\n1,2\n", "two columns are called 'a': rename one of them"),
        ("\n1\n", "the first line of a table names its columns, and it is empty"),
        ("a,b\n1\n", "rows.csv:2: it has 1 cells, but the first line names 2 columns: put cells"),
        ('a,b\n"1"2,3\n', "rows.csv:2: not a line of a table"),
        ("a,b\n", "has no rows"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        read(tmp_path / "rows.csv")


def test_columns_are_taken_under_the_names_of_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("q,a,more\n1+1,2,x\n")
    source = f"{tmp_path}/rows.csv:prompt=q,completion=a"
    assert read(Path(source)) == [{"prompt": "1+1", "completion": "2"}]
    with pytest.raises(DataError, match=r"rows.csv:2: it has no column 'b': there are q, a, more"):
        read_rows(f"{tmp_path}/rows.csv:text=b")


def test_a_set_of_the_hub_is_asked_for_with_subset_and_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[object, ...]] = []

    def load_dataset(*names: object, split: str) -> list[dict[str, object]]:
        asked.append((*names, split))
        return [{"question": "a", "answer": "b", "empty": None}]

    stand_in = ModuleType("datasets")
    stand_in.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    monkeypatch.setattr(hub, "is_away", lambda: False)
    named = "openai/gsm8k:main,split=train[:9],prompt=question,completion=answer"
    assert read_rows(named) == [("openai/gsm8k[0]", {"prompt": "a", "completion": "b"})]
    assert read_rows("a/b") == [("a/b[0]", {"question": "a", "answer": "b"})]
    assert asked == [("openai/gsm8k", "main", "train[:9]"), ("a/b", None, "train")]
