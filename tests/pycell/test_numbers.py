"""numpy's numbers go through `json` in a cell, and `json` is nobody's but Python's elsewhere."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from pycell.cell import run_cell
from unfrozen.publish import plain


def dumped(expression: str) -> Any:
    """What a cell's `json.dumps` of an expression gives, read back; or its error's text."""
    names: dict[str, Any] = {"np": np}
    result = run_cell(f"import json\ntext = json.dumps({expression})", names, lambda _: None)
    return result.error.message if result.error else json.loads(names["text"])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("np.float64(1.5)", 1.5),
        ("np.float32(1.5)", 1.5),
        ("np.float16(1.5)", 1.5),
        ("np.longdouble(1.5)", 1.5),
        ("np.int64(-7)", -7),
        ("np.uint8(255)", 255),
        ("np.bool_(True)", True),
        ("np.str_('a')", "a"),
        ("np.arange(3)", [0, 1, 2]),
        ("np.eye(2, dtype=np.int8)", [[1, 0], [0, 1]]),
        ("np.array(3.5)", 3.5),
        ("np.zeros(0)", []),
        ("np.array([1, 2], dtype=np.longdouble)", [1.0, 2.0]),
        ("np.ma.array([1, 2], mask=[False, True])", [1, None]),
        ("{'a': [np.float32(2), {'b': np.arange(2)}]}", {"a": [2.0, {"b": [0, 1]}]}),
    ],
)
def test_scalars_and_arrays_are_written_as_numbers_and_lists(
    expression: str, expected: object
) -> None:
    assert dumped(expression) == expected


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("{1, 2}", "Object of type set is not JSON serializable"),
        ("np.complex64(1j)", "Object of type complex is not JSON serializable"),
        ("np.datetime64('2026-01-01')", "Object of type date is not JSON serializable"),
    ],
)
def test_what_json_has_no_word_for_is_refused_as_json_does(expression: str, words: str) -> None:
    assert words in dumped(expression)


def test_an_encoder_of_the_reader_s_own_keeps_its_default() -> None:
    source = (
        "import json\n"
        "class Mine(json.JSONEncoder):\n    def default(self, o): return 'mine'\n"
        "json.dumps(np.arange(2), cls=Mine), json.dumps(np.arange(2), default=lambda o: 'own')"
    )
    names: dict[str, Any] = {"np": np}
    assert run_cell(source, names, lambda _: None).value_repr == "('\"mine\"', '\"own\"')"


def test_json_is_as_it_was_once_the_cell_has_ended_even_by_an_error() -> None:
    before = json.JSONEncoder.default
    assert run_cell("1/0", {}, lambda _: None).error is not None
    assert json.JSONEncoder.default is before
    with pytest.raises(TypeError, match="Object of type ndarray is not JSON serializable"):
        json.dumps(np.arange(3))


def test_a_default_that_a_cell_puts_there_for_good_stays() -> None:
    before = json.JSONEncoder.default
    source = "import json\njson.JSONEncoder.default = lambda self, o: 'for good'"
    try:
        assert run_cell(source, {}, lambda _: None).ok
        assert json.dumps({1}.__iter__()) == '"for good"'
    finally:
        json.JSONEncoder.default = before  # type: ignore[method-assign]


def test_plain_is_a_default_for_json_without_a_cell() -> None:
    assert json.dumps({"a": np.arange(2)}, default=plain) == '{"a": [0, 1]}'
    with pytest.raises(TypeError, match="Object of type set is not JSON serializable"):
        json.dumps({1}, default=plain)
