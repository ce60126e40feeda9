from hypothesis import given, settings
from hypothesis import strategies as st

from widgets.node import Node

RUNS = st.lists(st.tuples(st.floats(0, 40), st.floats(0, 300)), min_size=1, max_size=300)


@settings(max_examples=80, deadline=None)
@given(run=RUNS)
def test_thinning_keeps_ends_and_extremes_of_every_pixel_column(
    node: Node, run: list[tuple[float, float]]
) -> None:
    points = sorted(([x, y] for x, y in run), key=lambda point: point[0])
    kept = node.call("plot-line", "decimate", points)
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    for column in {int(x) for x, _ in points}:
        before = [y for x, y in points if int(x) == column]
        after = [y for x, y in kept if int(x) == column]
        assert len(after) <= 4
        assert (min(before), max(before)) == (min(after), max(after))


def test_thinning_leaves_a_short_line_as_it_is(node: Node) -> None:
    points = [[0, 5], [10, 6], [20, 7]]
    assert node.call("plot-line", "decimate", points) == points
