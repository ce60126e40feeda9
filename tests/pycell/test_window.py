"""Publishing through `js.window`, and `help`, `exit` and `input` where there is no terminal."""

from __future__ import annotations

import builtins
import json
import sys
from typing import Any

import pytest

from pycell.cell import CellResult, run_cell
from pycell.window import Help, NoInput, make_js_module, raise_system_exit, refuse_input
from unfrozen.publish import PublishError

TABLE = json.dumps({"headers": ["Model", "GB"], "rows": [["7B", 112.0]]})
PLOTS = json.dumps(
    [
        {
            "title": "t",
            "x_label": "x",
            "y_label": "y",
            "x_data": [1, 2],
            "lines": [{"label": "a", "data": [1, None], "color": "#333"}],
        }
    ]
)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    monkeypatch.setitem(sys.modules, "js", make_js_module(lambda *item: seen.append(item)))
    return seen


def run(source: str, **names: Any) -> CellResult:
    return run_cell(source, names, lambda _: None)


def test_a_table_arrives_exactly_as_assigned(published: list[tuple[str, str]]) -> None:
    assert run("import js\njs.window.py_table_data = text", text=TABLE).ok
    assert published == [("py_table_data", TABLE)]


def test_plots_arrive_and_can_be_read_back(published: list[tuple[str, str]]) -> None:
    source = "from js import window\nwindow.py_plot_data = text\nwindow.py_plot_data == text"
    assert run(source, text=PLOTS).value_repr == "True"
    assert published == [("py_plot_data", PLOTS)]


def test_other_attributes_are_kept_and_not_published(published: list[tuple[str, str]]) -> None:
    assert run("import js\njs.window.note = 3\njs.window.note").value_repr == "3"
    assert published == []


@pytest.mark.parametrize("name", ["py_table_data", "py_plot_data"])
@pytest.mark.parametrize(
    "value",
    ["{'headers': ['a'], 'rows': []}", "None", "3", "b'[]'", "'{'", "'[1]'", "'{}'", "'NaN'"],
)
def test_a_wrong_value_raises_in_the_reader_s_line(
    published: list[tuple[str, str]], name: str, value: str
) -> None:
    result = run(f"import js\n\njs.window.{name} = {value}")
    assert result.error is not None
    assert result.error.type == PublishError.__name__
    assert result.error.line == 3
    assert name in result.error.traceback
    assert "pycell" not in result.error.traceback
    assert "publish.py" not in result.error.traceback
    assert published == []


def test_a_dict_is_answered_with_the_remedy(published: list[tuple[str, str]]) -> None:
    result = run("import js\njs.window.py_table_data = {'headers': [], 'rows': []}")
    assert result.error is not None
    assert "json.dumps" in result.error.message
    assert published == []


def test_a_wrong_value_leaves_the_good_one_in_place(published: list[tuple[str, str]]) -> None:
    run("import js\njs.window.py_table_data = text", text=TABLE)
    run("import js\njs.window.py_table_data = 3")
    assert run("import js\njs.window.py_table_data == text", text=TABLE).value_repr == "True"
    assert len(published) == 1


def test_reading_before_setting_says_what_to_do(published: list[tuple[str, str]]) -> None:
    error = run("import js\njs.window.py_table_data").error
    assert error is not None
    assert "has not been set yet" in error.message
    assert published == []


def test_the_rest_of_the_browser_is_out_of_reach(published: list[tuple[str, str]]) -> None:
    error = run("import js\njs.window.document").error
    assert error is not None
    assert "a worker without access to the page" in error.message
    for name in ("fetch", "eval", "document", "indexedDB"):
        assert run(f"from js import {name}").error is not None
    assert published == []


@pytest.fixture
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "help", Help())
    monkeypatch.setattr(builtins, "exit", raise_system_exit)
    monkeypatch.setattr(builtins, "input", refuse_input)
    monkeypatch.setattr(sys, "stdin", NoInput())


def printed(source: str) -> str:
    """Run a cell and return what it prints."""
    texts: list[str] = []
    run_cell(source, {}, texts.append)
    return "".join(texts)


@pytest.mark.parametrize("source", ["exit()", "exit(3)", "import sys\nsys.exit('bye')"])
@pytest.mark.usefixtures("_no_terminal")
def test_leaving_ends_the_run_says_what_stays_and_closes_nothing(source: str) -> None:
    error = run(source).error
    assert error is not None
    assert error.type == "SystemExit"
    assert "Restart Python" in error.traceback
    assert not sys.stdin.closed


@pytest.mark.usefixtures("_no_terminal")
def test_help_without_a_question_says_how_to_ask_and_with_one_prints_its_answer() -> None:
    assert "help(len)" in printed("help()")
    assert "help(len)" in str(run("help").value_repr)
    assert "Return the number of items in a container." in printed("help(len)")
    assert "keywords" in printed("help('keywords')")


@pytest.mark.parametrize(
    "source",
    [
        "sys.stdin.read()",
        "sys.stdin.readline()",
        "sys.stdin.readlines()",
        "sys.stdin.buffer.read(1)",
        "for line in sys.stdin: pass",
        "import fileinput\nlist(fileinput.input())",
    ],
)
@pytest.mark.usefixtures("_no_terminal")
def test_reading_standard_input_says_what_to_do_instead(
    monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["cell"])
    error = run(f"import sys\n{source}").error
    assert error is not None
    assert "sys.stdin has nothing to read here: assign the text in the cell" in error.message


@pytest.mark.usefixtures("_no_terminal")
def test_input_says_what_to_do_instead() -> None:
    error = run("input('name? ')").error
    assert error is not None
    assert "assign the value in the cell" in error.message
