"""Lines of a file as rows, and every way in which they are none."""

from pathlib import Path

import pytest

from gpu_runner.data.lines import read_rows
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
        ("[" * 100_000 + "\n", "rows.jsonl:1: not usable JSON"),
        ("", "has no rows"),
        ("\n \n", "has no rows"),
        (
            '[{"text": "a"}]\n',
            r"this is a list\. If .* jq -c '\.\[\]' .*rows\.jsonl",
        ),
        ('[\n{"text": "a"}]\n', r"Each line is one object\. If .* jq -c '\.\[\]' "),
        ('{\n "text": "a"}\n', r"Each line is one object\. If .* jq -c '\.' "),
        ("prompt,completion\na,b\n", r"Each line is one object\.$"),
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
    bad: list[str] = []
    assert [row for _, row in read_rows(str(tmp_path / "x.jsonl"), bad)] == [{"text": "a"}]
    assert len(bad) == 1


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
        read_rows(source, ["of another file"])


def test_a_missing_file_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file; check the path"):
        read_rows(str(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="is a directory"):
        read_rows(str(tmp_path))
