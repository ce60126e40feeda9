import itertools

from hypothesis import given
from hypothesis import strategies as st

from widgets.node import Node

ITEMS = st.lists(
    st.fixed_dictionaries({"want": st.floats(0, 300), "height": st.floats(10, 32)}), max_size=9
)


@given(items=ITEMS)
def test_labels_stay_inside_and_never_overlap(node: Node, items: list[dict[str, float]]) -> None:
    centres = node.call("plots/layout", "spread", items, [0, 300])
    boxes = sorted(
        (centre - item["height"] / 2, centre + item["height"] / 2)
        for centre, item in zip(centres, items, strict=True)
    )
    assert not [
        (upper, lower)
        for upper, lower in itertools.pairwise(boxes)
        if not upper[1] <= lower[0] + 1e-6
    ]
    assert not [
        (top, bottom) for top, bottom in boxes if not (top >= -1e-6 and bottom <= 300 + 1e-6)
    ]


def test_labels_with_room_stay_where_they_belong(node: Node) -> None:
    items = [{"want": 200, "height": 15}, {"want": 100, "height": 15}]
    assert node.call("plots/layout", "spread", items, [0, 300]) == [200, 100]


def test_two_labels_at_one_height_part_evenly_and_keep_their_order(node: Node) -> None:
    items = [{"want": 100, "height": 20}, {"want": 100, "height": 20}]
    assert node.call("plots/layout", "spread", items, [0, 300]) == [90, 110]
