from typing import Any

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


def test_no_rows_are_said_so(node: Node) -> None:
    html = node.html("tables/view", "tableView", {"headers": ["a", "b"], "rows": []})
    assert "No rows yet" in html


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, "not nothing"),
        ([1, 2], "not a list of 2"),
        ({"rows": []}, '"headers" must be a list, not nothing'),
        ({"headers": ["a"], "rows": 3}, '"rows" must be a list of lists, not 3'),
        ({"headers": ["a"], "rows": [1]}, "Row 1 must be a list of cells, not 1"),
        ({"headers": ["a"], "rows": [[1], [1, 2]]}, "Row 2 has 2 cells but there are 1 headers"),
        ({"headers": ["a"], "rows": [[{"b": 1}]]}, "Row 1, column 1 holds"),
    ],
)
def test_a_wrong_table_is_explained_in_its_place(node: Node, data: Any, sentence: str) -> None:
    tree = node.tree("tables/view", "tableView", data)
    assert tree.get("role") == "alert"
    assert sentence in "".join(tree.itertext())
