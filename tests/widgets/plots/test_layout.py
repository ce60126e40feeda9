import re
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from widgets.node import Node, example, with_class

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
VALUES = st.none() | st.floats(-1e300, 1e300) | st.integers(-5, 5).map(float) | st.just(5e-324)


@st.composite
def plots(draw: st.DrawFn) -> dict[str, Any]:
    """Any plot the contract allows, however odd."""
    length = draw(st.integers(0, 12))
    x = st.lists(TEXT, min_size=length, max_size=length) | st.lists(
        st.floats(-1e300, 1e300), min_size=length, max_size=length
    )
    line = st.fixed_dictionaries(
        {"label": TEXT, "data": st.lists(VALUES, min_size=length, max_size=length)},
        optional={"dashed": st.booleans(), "color": TEXT},
    )
    threshold = st.fixed_dictionaries({"label": TEXT, "value": st.floats(-1e300, 1e300)})
    plot: dict[str, Any] = {
        "x_data": draw(x),
        "lines": draw(st.lists(line, max_size=5)),
        "type": draw(st.sampled_from(["line", "bar", "stacked_bar"])),
        "thresholds": draw(st.lists(threshold, max_size=3)),
    }
    for key in ("title", "x_label", "y_label", "x_unit", "y_unit", "caption"):
        plot[key] = draw(TEXT | st.just("B"))
    for key in ("x_log", "y_log"):
        plot[key] = draw(st.booleans())
    return plot


@given(plot=plots(), width=st.integers(120, 1400))
def test_any_plot_of_the_contract_is_drawn_with_finite_numbers(
    node: Node, plot: dict[str, Any], width: int
) -> None:
    tree = node.tree("plots/view", "plotView", plot, {"width": width})
    for element in tree.iter():
        for name, value in element.attrib.items():
            if name in {"aria-label", "class", "color"}:
                continue
            assert not re.search(r"NaN|Infinity|undefined|null", value), (name, value)


def test_marks_stay_within_the_frame_and_labels_within_the_picture(node: Node) -> None:
    for width in (320, 390, 680, 1080):
        tree = node.tree("plots/view", "plotView", example("many"), {"width": width})
        numbers = [
            float(x)
            for path in with_class(tree, "plot-line")
            for x in re.findall(r"[ML](-?[\d.]+),", path.get("d", ""))
        ]
        assert min(numbers) >= 0
        assert max(numbers) <= width
        ends = [float(text.get("x", "")) for text in with_class(tree, "plot-end-label")]
        assert max(ends) < width


def test_counts_that_double_are_read_off_at_their_own_places(node: Node) -> None:
    gpus = [1, 2, 4, 8, 16, 32, 64]
    plot = {"x_data": gpus, "x_log": True, "lines": [{"label": "each", "data": gpus}]}
    tree = node.tree("plots/view", "plotView", plot, {"width": 680})
    ticks = ["".join(text.itertext()) for text in with_class(tree, "plot-tick")]
    assert [tick for tick in ticks if tick in {*map(str, gpus)}] == [*map(str, gpus)]


def test_labels_of_ticks_do_not_touch_where_the_last_is_moved_inwards(node: Node) -> None:
    for end in (99_999, 100_000, 95_000, 1_000_000):
        plot = {"x_data": [0, end], "lines": [{"label": "a", "data": [0, 1]}]}
        layout = node.call(
            "plots/layout", "layoutPlot", node.call("plots/model", "readPlot", plot), {"width": 683}
        )
        shown = [tick for tick in layout["xTicks"] if tick["rows"]]
        assert len(shown) > 5
        for left, right in pairwise(shown):
            assert left["to"] + 6 < right["from"], (left, right)
