from widgets.node import Node


def column(node: Node, cells: list[object], direction: str) -> list[object]:
    """The cells of a one-column table after sorting."""
    sort = {"column": 0, "direction": direction}
    return [row[0] for row in node.call("tables/sort", "sortedRows", [[c] for c in cells], sort)]


def test_numbers_sort_by_value_whatever_their_units(node: Node) -> None:
    cells = ["1,136.1 GB", "900 MB", "112.0 GB", "2 TB"]
    expected = ["900 MB", "112.0 GB", "1,136.1 GB", "2 TB"]
    assert column(node, cells, "ascending") == expected
    assert column(node, cells, "descending") == expected[::-1]


def test_blanks_are_last_in_both_directions(node: Node) -> None:
    assert column(node, ["–", 2, None, 1], "ascending") == [1, 2, "–", None]
    assert column(node, ["–", 2, None, 1], "descending") == [2, 1, "–", None]


def test_names_with_numbers_in_them_sort_as_people_count(node: Node) -> None:
    assert column(node, ["layer 10", "Layer 2"], "ascending") == ["Layer 2", "layer 10"]


def test_equal_cells_keep_their_order(node: Node) -> None:
    rows = [["a", 1], ["b", 1], ["c", 0]]
    sort = {"column": 1, "direction": "descending"}
    assert node.call("tables/sort", "sortedRows", rows, sort) == rows


def test_a_header_pressed_three_times_gives_the_original_order(node: Node) -> None:
    first = node.call("tables/sort", "nextSort", None, 1)
    second = node.call("tables/sort", "nextSort", first, 1)
    assert [first["direction"], second["direction"]] == ["ascending", "descending"]
    assert node.call("tables/sort", "nextSort", second, 1) is None
    assert node.call("tables/sort", "nextSort", second, 0)["direction"] == "ascending"
