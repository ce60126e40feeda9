import math

import pytest

from widgets.node import Node


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("112.0 GB", 112e9),
        ("1,136.1", 1136.1),
        ("350M", 350e6),
        ("7B", 7e9),
        ("≈ 30.4 %", 30.4),
        ("−0.25", -0.25),
        ("2e-5", 2e-5),
        ("$3.20", 3.2),
        ("40 ms", 0.04),
        ("1.5 GiB", 1.5 * 2**30),
        (15, 15),
    ],
)
def test_a_quantity_is_read_with_its_unit(node: Node, cell: object, value: float) -> None:
    assert math.isclose(node.call("tables/cell", "quantity", cell), value)


@pytest.mark.parametrize("cell", ["LLaMA-7B", "2 x A100", "", "GB", "1,13", "yes", "1.2.3"])
def test_words_are_no_quantity(node: Node, cell: str) -> None:
    assert node.call("tables/cell", "quantity", cell) is None  # NaN in JSON


@pytest.mark.parametrize("cell", [None, "", "–", "-", "n/a", "NaN"])
def test_the_usual_signs_for_no_value_are_blank(node: Node, cell: object) -> None:
    assert node.call("tables/cell", "isBlank", cell) is True


def test_a_column_with_a_blank_is_still_a_column_of_numbers(node: Node) -> None:
    assert node.call("tables/cell", "isNumeric", ["3.2 GB", "–", 4]) is True
    assert node.call("tables/cell", "isNumeric", ["3.2 GB", "much"]) is False
    assert node.call("tables/cell", "isNumeric", ["–", None]) is False


@pytest.mark.parametrize(
    ("cell", "decimals", "text"),
    [
        (1.5, 2, "1.50"),
        (7e9, 0, "7,000,000,000"),
        (2019, 0, "2019"),
        (-3, 1, "−3.0"),
        (2e-5, 0, "2e-5"),
        (True, 0, "yes"),
        (None, 0, "–"),
        ("<b>", 0, "<b>"),
    ],
)
def test_a_cell_prints_as_the_column_asks(
    node: Node, cell: object, decimals: int, text: str
) -> None:
    assert node.call("tables/cell", "cellText", cell, decimals) == text
