import pytest

from widgets.node import Node, example, texts, with_class

ATTACKS = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "&lt;b&gt;",
    "javascript:x",
]


def test_numbers_stand_right_and_names_left(node: Node) -> None:
    tree = node.tree("tables/view", "tableView", example("memory-table"))
    first = tree.find(".//tbody/tr")
    assert first is not None
    assert [cell.get("class", "").split()[0] for cell in first] == ["cell-left"] + [
        "cell-right"
    ] * 5


def test_headers_name_their_columns_and_the_first_cell_its_row(node: Node) -> None:
    tree = node.tree("tables/view", "tableView", example("memory-table"))
    assert {head.get("scope") for head in tree.iterfind(".//thead//th")} == {"col"}
    names = tree.findall(".//tbody//th")
    assert texts(names) == ["LLaMA-7B", "LLaMA-13B", "LLaMA-70B", "Phi-350M"]
    assert {name.get("scope") for name in names} == {"row"}


def test_the_scrolling_part_can_be_reached_by_keyboard_and_has_a_name(node: Node) -> None:
    tree = node.tree(
        "tables/view", "tableView", {"headers": ["a"], "rows": [[1]], "caption": "Sizes"}
    )
    [region] = with_class(tree, "table-scroll")
    assert (region.get("tabindex"), region.get("role")) == ("0", "region")
    assert region.get("aria-label") == "Sizes"
    assert tree.findtext(".//caption") == "Sizes"


def test_asked_alignment_and_units_are_kept(node: Node) -> None:
    table = {
        "headers": ["a", "b"],
        "rows": [["x", 1]],
        "align": ["center", "left"],
        "units": ["", "GB"],
    }
    tree = node.tree("tables/view", "tableView", table)
    heads = tree.findall(".//thead//th")
    assert [head.get("class", "").split()[0] for head in heads] == ["cell-center", "cell-left"]
    assert texts(heads) == ["a", "b (GB)"]


def test_headers_become_buttons_only_where_script_runs(node: Node) -> None:
    table = {"headers": ["a", "b"], "rows": [["x", 1]]}
    assert "<button" not in node.html("tables/view", "tableView", table)
    sort = {"column": 1, "direction": "descending"}
    tree = node.tree("tables/view", "tableView", table, {"interactive": True, "sort": sort})
    states = [head.get("aria-sort") for head in tree.iterfind(".//thead//th")]
    assert states == ["none", "descending"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_html_in_a_table_is_shown_as_text(node: Node, attack: str) -> None:
    table = {"headers": [attack], "rows": [[attack]], "caption": attack, "units": [attack]}
    tree = node.tree("tables/view", "tableView", table, {"interactive": True})
    assert texts(tree.findall(".//td")) == [attack]
    assert {each.tag for each in tree.iter()}.isdisjoint({"img", "script", "b"})


def test_no_rows_are_reported(node: Node) -> None:
    html = node.html("tables/view", "tableView", {"headers": ["a", "b"], "rows": []})
    assert "No rows yet" in html


def column(node: Node, cells: list[object], direction: str) -> list[object]:
    """The cells of a one-column table after sorting."""
    sort = {"column": 0, "direction": direction}
    return [row[0] for row in node.call("tables/view", "sortedRows", [[c] for c in cells], sort)]


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
    assert node.call("tables/view", "sortedRows", rows, sort) == rows


def test_a_header_pressed_three_times_gives_the_original_order(node: Node) -> None:
    first = node.call("tables/view", "nextSort", None, 1)
    second = node.call("tables/view", "nextSort", first, 1)
    assert [first["direction"], second["direction"]] == ["ascending", "descending"]
    assert node.call("tables/view", "nextSort", second, 1) is None
    assert node.call("tables/view", "nextSort", second, 0)["direction"] == "ascending"
