from hypothesis import given
from hypothesis import strategies as st

from widgets.node import Node

RUNS = st.lists(st.tuples(st.floats(0, 40), st.floats(0, 300)), min_size=1, max_size=300)


@given(run=RUNS)
def test_thinning_keeps_ends_and_extremes_of_every_pixel_column(
    node: Node, run: list[tuple[float, float]]
) -> None:
    points = sorted(run, key=lambda point: point[0])
    xs, ys = [x for x, _ in points], [y for _, y in points]
    indices = node.call("plots/marks", "thinned", xs, ys, 0, len(points) - 1)
    assert indices == sorted(set(indices))
    kept = [points[index] for index in indices]
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    for column in {int(x) for x, _ in points}:
        before = [y for x, y in points if int(x) == column]
        after = [y for x, y in kept if int(x) == column]
        assert len(after) <= 4  # two, and the ends
        assert (min(before), max(before)) == (min(after), max(after))


def test_thinning_leaves_a_short_line_as_it_is(node: Node) -> None:
    assert node.call("plots/marks", "thinned", [0, 10, 20], [5, 6, 7], 0, 2) == [0, 1, 2]
