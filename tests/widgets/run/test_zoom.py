"""Which steps a chart shows, and a line without its noise."""

from typing import Any

import pytest

from widgets.node import Node

WHOLE = [0, 100]


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ([20, 60], [20, 60]),
        ([-10, 30], [0, 40]),
        ([90, 120], [70, 100]),
        ([50, 50.1], [50, 52]),
        ([0, 100], None),
        ([-50, 150], None),
    ],
)
def test_a_stretch_stays_inside_the_run_and_is_no_point(
    node: Node, wanted: list[float], shown: list[float] | None
) -> None:
    assert node.call("run/view/chart", "clampRange", wanted, WHOLE) == shown


def test_zooming_keeps_the_step_under_the_cursor_where_it_is(node: Node) -> None:
    assert node.call("run/view/chart", "stretchRange", [0, 100], 25, 0.5) == [12.5, 62.5]


def test_a_smoothed_line_keeps_its_level_and_loses_its_noise(node: Node) -> None:
    noisy: list[Any] = [2 + (-1) ** step for step in range(200)]
    smooth = node.call("run/view/charts", "smoothed", noisy)
    assert smooth[0] == 3
    assert max(smooth[50:]) - min(smooth[50:]) < 0.25
    assert sum(smooth[50:]) / 150 == pytest.approx(2, abs=0.02)


def test_what_is_no_number_is_left_out_and_stays(node: Node) -> None:
    smooth = node.call("run/view/charts", "smoothed", [1, None, 1, 1])
    assert smooth == [1, None, pytest.approx(1), pytest.approx(1)]
