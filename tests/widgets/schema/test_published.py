"""A table or a plot that cannot be drawn is refused with the place and what belongs there."""

from typing import Any

import pytest

from widgets.node import Node, example


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([1, 2], "the table is a list of 2; it must be an object with headers, rows."),
        ({"rows": []}, "headers is missing"),
        ({"headers": ["a"], "rows": 3}, "rows is 3; it must be a list"),
        ({"headers": ["a"], "rows": [1]}, "rows[0] is 1; it must be a list"),
        (
            {"headers": ["a"], "rows": [[1], [1, 2]]},
            "rows[1] is a list of 2; it must be as long as",
        ),
        ({"headers": ["a"], "rows": [[{"b": 1}]]}, "rows[0][0] is an object of 1; it must be"),
    ],
)
def test_a_wrong_table_is_explained(node: Node, data: Any, sentence: str) -> None:
    assert sentence in node.call("schema/check", "tableProblem", data)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("plot", 'the plot is "plot"; it must be an object'),
        ({"lines": []}, "x_data is missing"),
        ({"x_data": [], "lines": {}}, "lines is an object of 0; it must be a list"),
        ({"x_data": [None], "lines": []}, "x_data[0] is null"),
        ({"x_data": [], "lines": [3]}, "lines[0] is 3"),
        ({"x_data": [1], "lines": [{"label": "a"}]}, "lines[0].data is missing"),
        (example("wrong"), "lines[0].data is a list of 2; it must be as long as x_data, 3"),
        ({"x_data": [1], "lines": [{"data": ["2"]}]}, 'lines[0].data[0] is "2"'),
        ({"x_data": [1], "lines": [{"data": [1e301]}]}, "lines[0].data[0] is a number beyond"),
        ({"x_data": [1], "lines": [], "type": "pie"}, "it must be line, bar or stacked_bar"),
        (
            {"x_data": [1], "lines": [], "thresholds": [{"label": "a"}]},
            "thresholds[0].value is missing",
        ),
    ],
)
def test_a_wrong_plot_is_explained(node: Node, data: Any, sentence: str) -> None:
    assert sentence in node.call("schema/check", "plotProblem", data)


@pytest.mark.parametrize("name", ["memory-table", "schedules", "log", "empty"])
def test_what_can_be_drawn_has_no_problem(node: Node, name: str) -> None:
    kind = "tableProblem" if name == "memory-table" else "plotProblem"
    assert node.call("schema/check", kind, example(name)) == ""
