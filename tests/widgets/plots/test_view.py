from typing import Any

import pytest

from widgets.node import SVG, Node, example, texts, with_class

ATTACK = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
WIDE = {"width": 680}


def labels(node: Node, plot: dict[str, Any], name: str, width: int = 680) -> list[str]:
    """The words of a class in a plot drawn at a width."""
    return texts(with_class(node.tree("plots/view", "plotView", plot, {"width": width}), name))


def test_without_a_width_a_plot_is_drawn_for_a_column_and_for_a_telephone(node: Node) -> None:
    tree = node.tree("plots/view", "plotView", example("schedules"))
    pictures = list(tree.iter("svg"))
    assert [each.get("class") for each in pictures] == [
        "drawing plot-picture plot-wide",
        "drawing plot-picture plot-narrow",
    ]


def test_nothing_moves_when_the_picture_is_drawn_for_its_exact_width(node: Node) -> None:
    for baked, width in ((680, 655), (680, 520), (360, 358), (360, 519)):
        scaled = node.call("plots/text", "heightFor", baked) * width / baked
        assert abs(node.call("plots/text", "heightFor", width) - scaled) < 0.2


def test_few_lines_are_named_at_their_ends_and_need_no_legend(node: Node) -> None:
    assert labels(node, example("schedules"), "plot-end-label") == [
        "Cosine with warm-up",
        "Constant with warm-up",
    ]
    assert labels(node, example("schedules"), "plot-legend-text") == []


def test_on_a_telephone_the_names_at_the_ends_wrap(node: Node) -> None:
    assert labels(node, example("schedules"), "plot-end-label", 358) == [
        "Cosine with", "warm-up", "Constant with", "warm-up",
    ]  # fmt: skip


def test_names_too_long_for_the_margin_go_into_a_legend(node: Node) -> None:
    plot = {"x_data": [1, 2], "lines": [{"label": "an-unbreakable-name" * 3, "data": [1, 2]}]}
    assert labels(node, plot, "plot-end-label") == []
    assert len(labels(node, plot, "plot-legend-text")) == 1


def test_a_missing_value_leaves_a_gap(node: Node) -> None:
    plot = {"x_data": list(range(5)), "lines": [{"label": "a", "data": [1, 2, None, 3, 4]}]}
    tree = node.tree("plots/view", "plotView", plot, WIDE)
    [path] = [each.get("d", "") for each in with_class(tree, "plot-line")]
    assert path.count("M") == 2


def test_a_lone_value_between_gaps_is_a_dot(node: Node) -> None:
    values = [None] * 20
    plot = {"x_data": list(range(41)), "lines": [{"label": "a", "data": [*values, 3, *values]}]}
    assert len(with_class(node.tree("plots/view", "plotView", plot, WIDE), "plot-dot")) == 1


def test_bars_stand_on_zero_and_stacks_add_up(node: Node) -> None:
    tree = node.tree("plots/view", "plotView", example("methods"), WIDE)
    base = with_class(tree, "plot-base")[-1]
    zero = float(base.get("d", "").split(",")[1].split("H")[0])
    bars = [each for each in with_class(tree, "plot-bar") if float(each.get("width", "0")) > 12]
    bottoms = [float(each.get("y", "")) + float(each.get("height", "")) for each in bars]
    assert max(bottoms) == pytest.approx(zero, abs=0.2)
    assert texts(with_class(tree, "plot-number")) == ["112", "28", "10", "46"]


def test_thresholds_are_named_with_their_value_and_unit(node: Node) -> None:
    assert labels(node, example("methods"), "plot-end-label") == [
        "RTX 4090 24\u00a0GB", "A6000 48\u00a0GB", "A100 80\u00a0GB",
    ]  # fmt: skip


def test_axes_say_their_unit_and_that_they_are_logarithmic(node: Node) -> None:
    assert labels(node, example("log"), "plot-axis-title") == [
        "Final loss (log scale)",
        "Learning rate (log scale)",
    ]
    assert labels(node, example("methods"), "plot-axis-title")[0] == "Memory (GB)"


def test_a_value_a_log_axis_cannot_show_is_counted(node: Node) -> None:
    assert labels(node, example("log"), "plot-note") == [
        "1 value at or below zero cannot stand on a log axis."
    ]


def test_bytes_are_drawn_in_gigabytes(node: Node) -> None:
    plot = {
        "x_data": [1, 2], "y_label": "Memory", "y_unit": "B",
        "lines": [{"label": "a", "data": [1e9, 3e9]}],
    }  # fmt: skip
    assert labels(node, plot, "plot-axis-title")[0] == "Memory (GB)"
    assert labels(node, plot, "plot-tick")[:2] == ["0", "0.5"]


def test_a_predicted_line_is_dashed_and_a_measured_one_solid(node: Node) -> None:
    tree = node.tree("plots/view", "plotView", example("losses"), WIDE)
    dashed = [each.get("class", "").endswith("is-dashed") for each in with_class(tree, "plot-line")]
    assert dashed == [False, False, True]


def test_a_readers_colour_is_written_as_an_attribute_and_never_as_a_style(node: Node) -> None:
    tree = node.tree("plots/view", "plotView", example("log"), WIDE)
    assert {each.get("color") for each in with_class(tree, "series-own")} == {
        "crimson",
        "steelblue",
    }
    assert not [each for each in tree.iter() if each.get("style") is not None]


def test_html_anywhere_in_a_plot_is_shown_as_text(node: Node) -> None:
    plot = {
        "title": ATTACK, "x_label": ATTACK, "y_label": ATTACK, "caption": ATTACK,
        "x_data": [ATTACK],
        "lines": [{"label": ATTACK, "data": [1], "color": ATTACK}], "y_unit": ATTACK,
        "thresholds": [{"label": ATTACK, "value": 2}],
    }  # fmt: skip
    tree = node.tree("plots/view", "plotView", plot)
    assert texts(with_class(tree, "plot-title")) == [ATTACK]
    tags = {each.tag.removeprefix(SVG) for each in tree.iter()}
    assert tags <= {"figure", "p", "div", "svg", "g", "path", "text", "circle", "figcaption"}


def test_the_picture_is_described_in_words(node: Node) -> None:
    tree = node.tree("plots/view", "plotView", example("methods"), WIDE)
    [picture] = tree.iter("svg")
    assert picture.get("role") == "img"
    assert picture.get("aria-label") == (
        "Stacked bar chart: What has to fit in memory, by method. Shows Weights, Gradients, "
        "Optimizer, Activations and other. Thresholds: RTX 4090, A6000, A100."
    )


def test_a_plot_without_values_says_so(node: Node) -> None:
    for plot in (example("empty"), {"x_data": [1], "lines": [{"label": "a", "data": [None]}]}):
        assert "Nothing to draw yet" in node.html("plots/view", "plotView", plot)
