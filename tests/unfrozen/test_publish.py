"""What a cell may publish, and how a wrong value is refused."""

import contextlib
import json
import math
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfrozen.publish import (
    Line,
    Plot,
    PublishError,
    Table,
    Threshold,
    parse_plots,
    parse_table,
    plots_as_json,
    show_plot,
    show_table,
    start_run,
)

PLOT: dict[str, Any] = {
    "title": "Loss",
    "x_label": "Step",
    "y_label": "Loss",
    "x_data": [0, 10, 20],
    "lines": [{"label": "task", "data": [3.0, None, 1.5], "color": "#ff8800"}],
}


def plot_with(**changes: object) -> str:
    return json.dumps([PLOT | changes])


def line_with(**changes: object) -> str:
    return plot_with(lines=[PLOT["lines"][0] | changes])


def test_a_table_with_only_the_needed_keys_is_read() -> None:
    table = parse_table('{"headers": ["Model", "GB"], "rows": [["7B", 112.0], [null, true]]}')
    assert table == Table(("Model", "GB"), (("7B", 112.0), (None, True)))


def test_a_table_keeps_its_optional_keys() -> None:
    given = {
        "headers": ["Model", "Total"],
        "rows": [["7B", 1]],
        "align": ["left", "right"],
        "units": ["", "GB"],
        "caption": "Classic",
    }
    assert json.loads(parse_table(json.dumps(given)).as_json()) == given


def test_an_empty_table_is_a_table() -> None:
    assert parse_table('{"headers": [], "rows": []}') == Table((), ())


def test_a_plot_with_only_the_contract_keys_comes_back_as_given() -> None:
    (plot,) = parse_plots(json.dumps([PLOT]))
    assert plot.as_dict() == PLOT | {
        "x_data": (0, 10, 20),
        "lines": [{"label": "task", "data": (3.0, None, 1.5), "color": "#ff8800"}],
    }
    assert json.loads(plot.as_json()) == PLOT


def test_a_line_needs_no_color_and_null_means_none_given() -> None:
    (plot,) = parse_plots(line_with(color=None))
    assert plot.lines[0] == Line("task", (3.0, None, 1.5))


def test_a_plot_keeps_every_optional_key() -> None:
    extras = {
        "type": "stacked_bar",
        "thresholds": [{"label": "A100", "value": 80.0}],
        "x_log": True,
        "y_log": True,
        "x_unit": "GPUs",
        "y_unit": "GB",
        "caption": "ZeRO",
        "x_data": [1, 2, 4],
    }
    given = [PLOT | extras | {"lines": [{"label": "z", "data": [1, 2, 3], "dashed": True}]}]
    plots = parse_plots(json.dumps(given))
    assert plots[0].thresholds == (Threshold("A100", 80.0),)
    assert json.loads(plots_as_json(plots)) == given


def test_categories_and_numbers_may_stand_on_the_x_axis() -> None:
    (plot,) = parse_plots(plot_with(x_data=["Full", "LoRA", 3]))
    assert plot.x_data == ("Full", "LoRA", 3)


def test_no_plots_is_a_valid_answer() -> None:
    assert parse_plots("[]") == []


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        (42, "py_table_data", "json.dumps"),
        ({"headers": []}, "py_table_data", "json.dumps"),
        ("{'headers': []}", "py_table_data", "not JSON"),
        ("[" * 100_000, "py_table_data", "nested too deeply"),
        ("1" * 5000, "py_table_data", "not JSON"),
        ('{"headers": ["a"], "rows": [[NaN]]}', "py_table_data.rows[0][0]", "None for an empty"),
        (" " * 32_000_001, "py_table_data", "at most 32,000,000"),
        ("[]", "py_table_data", "headers, rows"),
        ('{"rows": []}', "py_table_data.headers", "needed"),
        ('{"headers": "a", "rows": []}', "py_table_data.headers", "list"),
        ('{"headers": [1], "rows": []}', "py_table_data.headers[0]", "text"),
        (
            '{"headers": ["a"], "rows": [["b", "c"]]}',
            "py_table_data.rows[0]",
            "as long as headers",
        ),
        ('{"headers": ["a"], "rows": [["b"], "c"]}', "py_table_data.rows[1]", "list"),
        ('{"headers": ["a"], "rows": [[{}]]}', "py_table_data.rows[0][0]", "number"),
        ('{"headers": ["a"], "rows": [[1e999]]}', "py_table_data.rows[0][0]", "finite"),
        (f'{{"headers": ["a"], "rows": [[1{"0" * 400}]]}}', "py_table_data.rows[0][0]", "finite"),
        ('{"headers": ["a"], "rows": [["\\ud800"]]}', "py_table_data.rows[0][0]", "surrogate"),
        ('{"headers": ["a"], "rows": [], "colour": 1}', "py_table_data.colour", "known keys"),
        ('{"headers": ["a"], "rows": [], "align": ["top"]}', "py_table_data.align[0]", "right"),
        (
            '{"headers": ["a"], "rows": [], "units": ["", ""]}',
            "py_table_data.units",
            "as long as headers",
        ),
        ('{"headers": ["a"], "rows": [], "caption": 1}', "py_table_data.caption", "text"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place_and_a_remedy(
    text: object, key: str, remedy: str
) -> None:
    with pytest.raises(PublishError) as caught:
        parse_table(text)
    assert caught.value.key == key
    assert remedy in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        ("{}", "py_plot_data", "a list of at most 50"),
        ("[1]", "py_plot_data[0]", "x_data"),
        (json.dumps([PLOT] * 51), "py_plot_data", "at most 50"),
        (plot_with(legend=True), "py_plot_data[0].legend", "known keys"),
        (plot_with(x_data=[0, 10]), "py_plot_data[0].lines[0].data", "as long as x_data, 2"),
        (plot_with(x_data=[0, None, 1]), "py_plot_data[0].x_data[1]", "number"),
        (plot_with(x_data=[0, True, 1]), "py_plot_data[0].x_data[1]", "number"),
        (plot_with(title=3), "py_plot_data[0].title", "text"),
        (plot_with(title="x" * 10_001), "py_plot_data[0].title", "at most 10,000"),
        (plot_with(type="pie"), "py_plot_data[0].type", "stacked_bar"),
        (plot_with(type=["bar"]), "py_plot_data[0].type", "stacked_bar"),
        (plot_with(y_log="yes"), "py_plot_data[0].y_log", "true or false"),
        (plot_with(x_log=True), "py_plot_data[0].x_data[0]", "above 0"),
        (plot_with(x_log=True, x_data=["a", 1, 2]), "py_plot_data[0].x_data[0]", "above 0"),
        (
            plot_with(thresholds=[{"label": "A100"}]),
            "py_plot_data[0].thresholds[0].value",
            "needed",
        ),
        (line_with(data=[1, 2, "3"]), "py_plot_data[0].lines[0].data[2]", "number"),
        (line_with(dash=True), "py_plot_data[0].lines[0].dash", "known keys"),
    ],
)
def test_a_wrong_plot_is_refused_with_its_place_and_a_remedy(
    text: str, key: str, remedy: str
) -> None:
    with pytest.raises(PublishError) as caught:
        parse_plots(text)
    assert caught.value.key == key
    assert remedy in str(caught.value)


def test_a_logarithmic_axis_refuses_values_it_cannot_show_but_keeps_gaps() -> None:
    with pytest.raises(PublishError, match=r"lines\[0\]\.data: got -1"):
        parse_plots(plot_with(y_log=True, lines=[{"label": "a", "data": [None, 1, -1]}]))
    with pytest.raises(PublishError, match=r"thresholds\[0\]\.value: got 0"):
        parse_plots(plot_with(y_log=True, thresholds=[{"label": "none", "value": 0}]))


@pytest.mark.slow
def test_sizes_are_capped_with_the_cap_in_the_message() -> None:
    rows = json.dumps({"headers": ["a"], "rows": [[1]] * 10_001})
    with pytest.raises(PublishError, match=r"10001 entries.*at most 10,000"):
        parse_table(rows)
    line = {"label": "a", "data": [0] * 1500}
    with pytest.raises(PublishError, match=r"225,000 points.*at most 200,000"):
        parse_plots(plot_with(x_data=[0] * 1500, lines=[line] * 150))


def test_a_built_plot_is_written_without_the_keys_it_does_not_use() -> None:
    plot = Plot("t", "x", "y", ("a",), (Line("l", (1.0,)),), type="bar")
    assert json.loads(plot.as_json()) == {
        "title": "t",
        "x_label": "x",
        "y_label": "y",
        "x_data": ["a"],
        "lines": [{"label": "l", "data": [1.0]}],
        "type": "bar",
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["headers", "rows", "lines", "x_data", "data", "label", "z"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_either_read_or_refused(value: object) -> None:
    text = json.dumps(value)
    for parse in (parse_table, parse_plots):
        with contextlib.suppress(PublishError):
            parse(text)


def test_numpy_numbers_and_arrays_may_stand_for_numbers_and_lists() -> None:
    np: Any = pytest.importorskip("numpy")
    line = Line("a", np.array([1, 2], dtype=np.float32))
    plot = Plot("t", "x", "y", np.arange(2), (line,), thresholds=(Threshold("b", np.int64(3)),))
    given = json.loads(plots_as_json([plot]))
    assert (given[0]["x_data"], given[0]["lines"][0]["data"]) == ([0, 1], [1.0, 2.0])
    assert json.loads(plot.as_json()) == given[0]
    table = Table(("n", "yes"), ((np.uint8(7), np.True_),))
    assert json.loads(table.as_json())["rows"] == [[7, True]]


def test_a_nan_is_refused_where_it_stands_with_none_as_the_way_out() -> None:
    line = Line("a", (1.0, math.nan))
    with pytest.raises(PublishError) as caught:
        plots_as_json([Plot("t", "x", "y", (1, 2), (line,))])
    assert caught.value.key == "py_plot_data[0].lines[0].data[1]"
    assert "None for a gap" in caught.value.remedy
    with pytest.raises(PublishError, match="None for an empty cell"):
        Table(("n",), ((math.inf,),)).as_json()


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What a page's window holds; a run has begun."""
    js = ModuleType("js")
    js.window = SimpleNamespace()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "js", js)
    start_run()
    return js.window  # type: ignore[no-any-return]


def test_one_line_shows_a_table(window: SimpleNamespace) -> None:
    show_table(("Model", "Total"), (row for row in [("7B", 1)]), units=["", "GB"])
    assert json.loads(window.py_table_data) == {
        "headers": ["Model", "Total"],
        "rows": [["7B", 1]],
        "units": ["", "GB"],
    }


def test_one_line_shows_a_plot_of_lines_by_label(window: SimpleNamespace) -> None:
    show_plot("Loss", "Step", "Loss", [0, 10, 20], {"task": [3.0, None, 1.5]})
    [line] = PLOT["lines"]
    assert json.loads(window.py_plot_data) == [
        PLOT | {"lines": [{key: line[key] for key in ("label", "data")}]}
    ]


def test_every_key_of_a_plot_has_an_option(window: SimpleNamespace) -> None:
    units = {"x_unit": "GPUs", "y_unit": "GB"}
    lines = {"a": (3, 2), "b": iter([1, 1])}
    show_plot("t", "x", "y", range(1, 3), lines, type="bar", dashed=["b"], caption="c",
              thresholds={"A100": 80}, x_log=True, y_log=True, **units)  # fmt: skip
    assert json.loads(window.py_plot_data) == [
        {"title": "t", "x_label": "x", "y_label": "y", "x_data": [1, 2], "type": "bar",
         "lines": [{"label": "a", "data": [3, 2]}, {"label": "b", "data": [1, 1], "dashed": True}],
         "thresholds": [{"label": "A100", "value": 80}], "x_log": True, "y_log": True,
         "caption": "c", **units}
    ]  # fmt: skip


def test_lines_may_have_the_published_keys(window: SimpleNamespace) -> None:
    show_plot("Loss", "Step", "Loss", [0, 10, 20], PLOT["lines"])
    assert json.loads(window.py_plot_data) == [PLOT]


def test_a_plot_stands_below_the_others_of_its_run_and_replaces_the_one_of_its_title(
    window: SimpleNamespace,
) -> None:
    def shown() -> list[tuple[str, list[float]]]:
        return [(p["title"], p["lines"][0]["data"]) for p in json.loads(window.py_plot_data)]

    for title, y in (("task", 1), ("rest", 2), ("task", 3)):
        show_plot(title, "x", "y", [0], {"a": [y]})
    assert shown() == [("task", [3]), ("rest", [2])]
    with pytest.raises(PublishError):
        show_plot("wrong", "x", "y", [0], {"a": [math.nan]})
    Plot("last", "x", "y", (0,), (Line("a", (4,)),)).show()
    assert [title for title, _ in shown()] == ["task", "rest", "last"]
    start_run()
    show_plot("next", "x", "y", [0], {"a": [5]})
    assert shown() == [("next", [5])]


@pytest.mark.parametrize(
    ("changes", "key", "remedy"),
    [
        ({"lines": {"a": [1, 2]}}, "py_plot_data[0].lines[0].data", "as long as x_data, 1"),
        ({"lines": {"a": [1j]}}, "py_plot_data[0].lines[0].data[0]", "a finite number"),
        ({"lines": {"a": [math.inf]}}, "py_plot_data[0].lines[0].data[0]", "None for a gap"),
        ({"lines": {"a": "1"}}, "py_plot_data[0].lines[0].data", "list"),
        ({"lines": {1: [1]}}, "py_plot_data[0].lines[0].label", "text"),
        ({"lines": 3}, "py_plot_data[0].lines", "list"),
        ({"lines": ["a"], "dashed": "a"}, "dashed", "by their labels"),
        ({"x": 3}, "py_plot_data[0].x_data", "list"),
        ({"title": 3}, "py_plot_data[0].title", "text"),
        ({"type": "pie"}, "py_plot_data[0].type", "stacked_bar"),
        ({"y_log": "yes"}, "py_plot_data[0].y_log", "true or false"),
        ({"dashed": ["b"]}, "dashed", "'a'"),
        ({"thresholds": {"A100": "80"}}, "py_plot_data[0].thresholds[0].value", "number"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_place_and_a_remedy(
    window: SimpleNamespace, changes: dict[str, Any], key: str, remedy: str
) -> None:
    right: dict[str, Any] = {"title": "t", "x_label": "x", "y_label": "y", "x": [0]}
    with pytest.raises(PublishError) as caught:
        show_plot(**right | {"lines": {"a": [1]}} | changes)
    assert caught.value.key == key
    assert remedy in str(caught.value)
    assert not hasattr(window, "py_plot_data")


def test_a_wrong_table_of_one_line_is_refused_too(window: SimpleNamespace) -> None:
    with pytest.raises(PublishError, match=r"py_table_data\.rows\[0\].*as long as headers"):
        show_table(["a"], [[1, 2]])
    with pytest.raises(PublishError, match=r"py_table_data\.headers.*list"):
        show_table("a", [])
    assert not hasattr(window, "py_table_data")


def test_numpy_needs_no_word_of_its_own(window: SimpleNamespace) -> None:
    np: Any = pytest.importorskip("numpy")
    show_plot("t", "x", "y", np.arange(2), {"a": np.ones(2), "b": [np.float32(1), None]})
    [plot] = json.loads(window.py_plot_data)
    assert (plot["x_data"], plot["lines"][0]["data"]) == ([0, 1], [1.0, 1.0])
    show_table(["n", "m"], np.eye(2, dtype=int))
    assert json.loads(window.py_table_data)["rows"] == [[1, 0], [0, 1]]


def test_without_a_page_both_calls_say_where_they_work() -> None:
    assert "js" not in sys.modules
    start_run()
    with pytest.raises(RuntimeError, match="in a cell of the article"):
        show_table(["Model", "Total"], [["7B", 112.0]])
    with pytest.raises(RuntimeError, match="in a cell of the article"):
        show_plot("Loss", "Step", "Loss", [0], {"task": [1]})
    with pytest.raises(PublishError):  # what is wrong anywhere comes first
        show_plot("Loss", "Step", "Loss", [0], {"task": ["1"]})
