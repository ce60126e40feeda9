"""What asks for a terminal has an answer where there is none."""

from __future__ import annotations

import builtins
import sys

import pytest

from pycell.cell import CellResult, run_cell
from pycell.window import Help, leave, no_input


@pytest.fixture(autouse=True)
def _as_in_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "help", Help())
    monkeypatch.setattr(builtins, "exit", leave)
    monkeypatch.setattr(builtins, "input", no_input)


def run(source: str) -> tuple[CellResult, str]:
    printed: list[str] = []
    return run_cell(source, {}, printed.append), "".join(printed)


@pytest.mark.parametrize("source", ["exit()", "exit(3)", "import sys\nsys.exit('bye')"])
def test_leaving_ends_the_run_says_what_stays_and_closes_nothing(source: str) -> None:
    error = run(source)[0].error
    assert error is not None
    assert error.type == "SystemExit"
    assert "Restart Python" in error.traceback
    assert not sys.stdin.closed


def test_help_without_a_question_says_how_to_ask_and_with_one_prints_its_answer() -> None:
    assert "help(len)" in run("help()")[1]
    assert "help(len)" in str(run("help")[0].value_repr)
    assert "Return the number of items in a container." in run("help(len)")[1]
    assert "keywords" in run("help('keywords')")[1]


def test_input_says_what_to_do_instead() -> None:
    error = run("input('name? ')")[0].error
    assert error is not None
    assert "assign the value in the cell" in error.message


def test_an_error_that_cannot_say_what_it_is_is_named_with_the_reason() -> None:
    error = run(
        "class Odd(Exception):\n"
        "    @property\n"
        "    def __notes__(self): raise KeyboardInterrupt\n"
        "raise Odd()"
    )[0].error
    assert error is not None
    assert error.type == "Odd"


def test_a_huge_message_is_cut_in_its_middle() -> None:
    error = run("raise ValueError('a' * 100_000 + 'end')")[0].error
    assert error is not None
    assert len(error.traceback) < 50_000
    assert "characters left out" in error.traceback
    assert error.traceback.endswith("end\n")


def test_a_value_whose_text_is_of_a_class_of_its_own_is_cut_by_its_real_length() -> None:
    source = (
        "class Text(str):\n    def __len__(self): return 0\n"
        "class Big:\n    def __repr__(self): return Text('a' * 30_000)\nBig()"
    )
    value = run(source)[0].value_repr
    assert value is not None
    assert "30,000 characters in all" in value
