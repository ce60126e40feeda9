"""Text to a value: bounded in length and depth, UTF-8, and JSON as it stands in its standard."""

import pytest

from unfrozen.errors import MOST_DEEP
from unfrozen.schema import STARTED, read_file
from unfrozen.schema.check import read

LONG = "it is longer than 1,000,000 characters"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\xff{}", "it is not UTF-8"),
        ("{}".encode("utf-16"), "it is not UTF-8"),
        (b"\xef\xbb\xbf{}", "it is not JSON"),
        ("NaN", "it is not JSON"),
        ("[-Infinity]", "it is not JSON"),
        ('{"a":1,}', "it is not JSON"),
        ("[" * 200_000, f"it is nested more than {MOST_DEEP} deep"),
        ("x" * 1_000_001, LONG),
        (b"x" * 5_000_000, LONG),
        ("😀" * 600_000, LONG),
    ],
)
def test_what_is_no_json_of_that_size_is_refused(data: str | bytes, problem: str) -> None:
    assert read(data, 1_000_000).problem == problem


def test_brackets_in_a_text_are_not_deep_and_an_open_text_takes_no_time() -> None:
    assert read('["' + "[{" * 500 + r"\"" + '"]', 10_000).problem == ""
    assert read('"' + r"\"" * 400_000 + "[" * 40, 1_000_000).problem == "it is not JSON"


def test_integers_of_any_length_are_numbers_to_be_judged() -> None:
    assert read("1" * 350, 10_000).value == int("1" * 350)
    assert read("1" * 6000, 10_000).value == float("inf")


def test_a_file_says_by_its_name_what_is_wrong_with_it() -> None:
    assert read_file(STARTED, b"[]", "started.json").problem == (
        "started.json is a list of 0; it must be an object with name, verb, run, logged,"
        " pid, born, at"
    )
