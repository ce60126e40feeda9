import re

from hypothesis import given
from hypothesis import strategies as st

from widgets.node import Node, example, with_class

SIZES = st.floats(1, 120)


@given(series=st.integers(0, 11), width=SIZES, height=SIZES)
def test_hatching_stays_inside_its_box(
    node: Node, series: int, width: float, height: float
) -> None:
    box = {"left": 10, "top": 20, "width": width, "height": height}
    path = node.call("plots/marks", "hatchPath", series, box)
    for x, y in re.findall(r"[ML]([\d.]+),([\d.]+)", path):
        assert 10 - 0.06 <= float(x) <= 10 + width + 0.06
        assert 20 - 0.06 <= float(y) <= 20 + height + 0.06


def test_neighbours_in_a_stack_are_hatched_differently(node: Node) -> None:
    box = {"left": 0, "top": 0, "width": 40, "height": 40}
    paths = [node.call("plots/marks", "hatchPath", series, box) for series in range(6)]
    assert len(set(paths)) == 6


def test_only_stacks_are_hatched(node: Node) -> None:
    drawn = {
        name: len(
            with_class(
                node.tree("plots/view", "plotView", example(name), {"width": 680}), "plot-hatch"
            )
        )
        for name in ("methods", "bars", "losses")
    }
    assert drawn["methods"] > 0
    assert (drawn["bars"], drawn["losses"]) == (0, 0)
