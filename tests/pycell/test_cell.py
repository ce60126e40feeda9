"""Cells as their readers meet them: what they print, their value, their errors, their limits."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from awaited import awaited
from pycell.cell import OUTPUT_LIMIT_BYTES, VALUE_LIMIT_CHARS, CellResult, run_cell


def run(source: str, namespace: dict[str, Any] | None = None) -> tuple[CellResult, str]:
    """Run a cell and return its result and all it printed."""
    printed: list[str] = []
    names: dict[str, Any] = {} if namespace is None else namespace
    result = run_cell(source, names, printed.append, "sizes")
    return result, "".join(printed)


def test_print_reaches_the_page_in_order_with_stderr() -> None:
    result, text = run("import sys\nprint('a')\nprint('b', file=sys.stderr)\nprint('c', end='')")
    assert result.ok
    assert text == "a\nb\nc"


def test_streams_are_given_back_after_a_cell_even_when_it_fails() -> None:
    before = (sys.stdout, sys.stderr)
    run("1/0")
    assert (sys.stdout, sys.stderr) == before


def test_the_value_of_a_last_expression_is_its_repr() -> None:
    assert run("x = 6\nx * 7")[0].value_repr == "42"
    assert run("'text'")[0].value_repr == "'text'"


@pytest.mark.parametrize("source", ["", "# nothing", "x = 1", "None", "print('a')", "'a'\nx = 1"])
def test_a_cell_without_a_last_value_has_none(source: str) -> None:
    result, _ = run(source)
    assert result.ok
    assert result.value_repr is None


def test_a_docstring_cell_of_one_string_still_has_a_value() -> None:
    assert run('"""only this"""')[0].value_repr == "'only this'"


def test_names_live_on_in_the_namespace() -> None:
    names: dict[str, Any] = {}
    run("def double(x): return 2 * x", names)
    assert run("double(21)", names)[0].value_repr == "42"


def test_a_dataclass_can_be_defined_and_shown() -> None:
    source = "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nP(3)"
    assert run(source)[0].value_repr == "P(x=3)"


def test_future_imports_of_the_machinery_do_not_leak_into_cells() -> None:
    source = "def f(x: int): pass\nf.__annotations__['x'] is int"
    assert run(source)[0].value_repr == "True"


def test_top_level_await_works() -> None:
    source = "import asyncio\nawait asyncio.sleep(0)\nawait asyncio.sleep(0, 'done')"
    assert run(source)[0].value_repr == "'done'"


def test_top_level_await_works_where_an_event_loop_runs_already() -> None:
    async def caller() -> CellResult:
        return run("import asyncio\nawait asyncio.sleep(0, 'done')")[0]

    assert awaited(caller()).value_repr == "'done'"


def test_a_failing_repr_is_the_cell_s_error() -> None:
    source = "class Bad:\n    def __repr__(self):\n        raise ValueError('no repr')\nBad()"
    error = run(source)[0].error
    assert error is not None
    assert (error.type, error.line) == ("ValueError", 3)


def test_a_long_value_is_cut_and_says_how_long_it_was() -> None:
    value = run("'x' * 100_000")[0].value_repr
    assert value is not None
    assert len(value) < VALUE_LIMIT_CHARS + 100
    assert value.endswith("… (100,002 characters in all)")


@pytest.mark.slow
def test_output_is_capped_and_the_rest_is_counted() -> None:
    result, text = run("for _ in range(300_000): print('y')")
    assert result.ok
    assert len(text) == OUTPUT_LIMIT_BYTES
    assert "400,000 more bytes" in result.notice


def test_the_cap_counts_bytes_and_never_cuts_a_character() -> None:
    _, text = run("print('€' * 100_000)")
    assert text == "€" * (OUTPUT_LIMIT_BYTES // 3)


def test_a_lone_surrogate_is_printed_as_its_escape() -> None:
    assert run("print('\\ud800')")[1] == "\\ud800\n"


def test_writing_bytes_to_stdout_is_a_type_error_in_the_reader_s_line() -> None:
    error = run("import sys\nsys.stdout.write(b'x')")[0].error
    assert error is not None
    assert (error.type, error.line) == ("TypeError", 2)


@pytest.mark.parametrize("source", ["raise SystemExit(3)", "raise KeyboardInterrupt", "exit()"])
def test_leaving_python_is_reported_not_obeyed(source: str) -> None:
    result, _ = run(source)
    assert not result.ok
    assert result.error is not None
    assert result.error.type in {"SystemExit", "KeyboardInterrupt"}


def test_a_value_whose_text_is_of_a_class_of_its_own_is_cut_by_its_real_length() -> None:
    source = (
        "class Text(str):\n    def __len__(self): return 0\n"
        "class Big:\n    def __repr__(self): return Text('a' * 30_000)\nBig()"
    )
    value = run(source)[0].value_repr
    assert value is not None
    assert "30,000 characters in all" in value
