"""Tracebacks hold the cell's own lines and nothing of the machinery."""

from __future__ import annotations

from typing import Any

import pytest

from pycell.cell import run_cell
from pycell.errors import CellError


def fail(source: str, namespace: dict[str, Any] | None = None, cell_id: str = "sizes") -> CellError:
    """Run a cell that must fail and return its error."""
    names: dict[str, Any] = {} if namespace is None else namespace
    error = run_cell(source, names, lambda _: None, cell_id).error
    assert error is not None
    return error


def test_an_error_names_its_type_message_and_line() -> None:
    error = fail("x = 1\n\nx / 0")
    assert (error.type, error.message, error.line) == ("ZeroDivisionError", "division by zero", 3)
    assert error.traceback == (
        "Traceback (most recent call last):\n"
        '  File "<sizes>", line 3, in <module>\n'
        "    x / 0\n"
        "ZeroDivisionError: division by zero\n"
    )


def test_nested_functions_show_every_frame_of_the_cell() -> None:
    error = fail("def a():\n    b()\ndef b():\n    [][1]\na()")
    assert [line for line in error.traceback.splitlines() if "File" in line] == [
        '  File "<sizes>", line 5, in <module>',
        '  File "<sizes>", line 2, in a',
        '  File "<sizes>", line 4, in b',
    ]
    assert error.line == 4


def test_frames_of_libraries_are_left_out() -> None:
    error = fail("import json\njson.loads('{')")
    assert "json/" not in error.traceback
    assert error.traceback.count("File") == 1
    assert error.line == 2


def test_a_syntax_error_shows_its_line_and_a_mark() -> None:
    error = fail("x = 1\ny = (2\nz = 3")
    assert error.type == "SyntaxError"
    assert error.line == 2
    assert '  File "<sizes>", line 2\n    y = (2\n' in error.traceback
    assert "^" in error.traceback
    assert "ast.py" not in error.traceback


def test_an_indentation_error_has_its_line() -> None:
    error = fail("if True:\nprint('x')")
    assert (error.type, error.line) == ("IndentationError", 2)


def test_a_null_byte_is_an_error_not_a_crash() -> None:
    assert fail("x = '\0'").type in {"SyntaxError", "ValueError"}


def test_a_syntax_error_in_text_the_cell_compiles_points_at_the_cell() -> None:
    error = fail("x = 1\neval('1 +')")
    assert (error.type, error.line) == ("SyntaxError", 2)
    assert 'File "<sizes>", line 2, in <module>' in error.traceback


def test_a_cause_is_shown_with_its_own_line() -> None:
    source = (
        "try:\n    1 / 0\nexcept ZeroDivisionError as first:\n    raise ValueError('b') from first"
    )
    error = fail(source)
    assert "direct cause" in error.traceback
    assert 'File "<sizes>", line 2' in error.traceback
    assert error.line == 4


def test_an_error_while_handling_one_shows_both() -> None:
    error = fail("try:\n    1 / 0\nexcept ZeroDivisionError:\n    {}['k']")
    assert "During handling" in error.traceback
    assert (error.type, error.line) == ("KeyError", 4)


def test_a_library_s_private_detour_is_not_shown() -> None:
    error = fail("from enum import Enum\nclass C(Enum):\n    A = 1\nC(2)")
    assert "During handling" not in error.traceback
    assert error.line == 4


def test_members_of_an_exception_group_are_trimmed_too() -> None:
    source = (
        "import json\n"
        "def one():\n    json.loads('{')\n"
        "try:\n    one()\nexcept ValueError as e:\n    raise ExceptionGroup('many', [e])"
    )
    error = fail(source)
    assert error.type == "ExceptionGroup"
    assert "json/" not in error.traceback
    assert 'File "<sizes>", line 3, in one' in error.traceback


def test_a_function_of_an_earlier_cell_keeps_its_own_name_and_lines() -> None:
    names: dict[str, Any] = {}
    run_cell("\n\ndef f():\n    raise OSError('late')", names, lambda _: None, "first")
    error = fail("f()", names, "second")
    assert 'File "<second>", line 1, in <module>\n    f()' in error.traceback
    assert "File \"<first>\", line 4, in f\n    raise OSError('late')" in error.traceback
    assert error.line == 1


def test_endless_recursion_is_reported_in_few_lines() -> None:
    error = fail("def f(): f()\nf()")
    assert error.type == "RecursionError"
    assert "Previous line repeated" in error.traceback
    assert len(error.traceback.splitlines()) < 20


@pytest.mark.parametrize("source", ["raise Exception", "raise Exception('')"])
def test_an_error_without_words_still_has_its_type(source: str) -> None:
    assert fail(source).traceback.endswith("Exception\n")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("not_there", "Cells of this page can import Python's standard library, unfrozen"),
        ("pyodide_http", "Cells have no network: paste the data into the cell"),
        ("msvcrt", "msvcrt is a module of the standard library that Python in a browser"),
    ],
)
def test_a_missing_module_is_followed_by_what_there_is(name: str, words: str) -> None:
    error = fail(f"import {name}")
    first, note = error.traceback.splitlines()[-2:]
    assert first == f"ModuleNotFoundError: No module named '{name}'"
    assert words in note
    assert error.message == f"No module named '{name}'"


def test_a_package_that_came_by_surprise_says_what_to_write() -> None:
    error = fail("raise ModuleNotFoundError(\"No module named 'numpy'\", name='numpy')")
    assert "Write `import numpy` in it and run it again." in error.traceback


@pytest.mark.parametrize(
    "source", ["import json.not_there", "raise ModuleNotFoundError", "import js_not\n" * 2]
)
def test_a_note_is_added_once_and_only_to_what_is_missing_whole(source: str) -> None:
    assert fail(source).traceback.count("Cells of this page") == source.count("js_not") // 2


def test_an_edited_cell_quotes_its_new_text() -> None:
    fail("old_name")
    assert "    new_name\n" in fail("new_name").traceback


def test_an_error_that_cannot_say_what_it_is_is_named_with_the_reason() -> None:
    source = (
        "class Odd(Exception):\n    @property\n    def __notes__(self): raise KeyboardInterrupt\n"
        "raise Odd()"
    )
    assert fail(source).type == "Odd"


def test_a_huge_message_is_cut_in_its_middle() -> None:
    error = fail("raise ValueError('a' * 100_000 + 'end')")
    assert len(error.traceback) < 50_000
    assert "characters left out" in error.traceback
    assert error.traceback.endswith("end\n")


@pytest.mark.parametrize(
    "source",
    [
        "import builtins\nvars(builtins).clear()",
        "import builtins\nfor name in list(vars(builtins)): vars(builtins)[name] = None",
        "import builtins\nbuiltins.BaseException = ValueError\nraise KeyError",
        "class E(Exception):\n  def __str__(s): vars(__import__('builtins')).clear()\nraise E",
        "import ast\nast.parse = None",
        "import traceback\nvars(traceback).clear()\n1 / 0",
    ],
)
def test_a_cell_that_takes_away_what_runs_cells_harms_itself_alone(source: str) -> None:
    run_cell(source, {}, lambda _: None)
    assert run_cell("6 * 7", {}, lambda _: None).value_repr == "42"
    assert fail("1 / 0").message == "division by zero"
