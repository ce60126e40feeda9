import pytest

from widgets.node import Node


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 5, 10], ["0", "5", "10"]),
        ([0, 0.5, 1], ["0", "0.5", "1.0"]),
        ([-1, 0, 1], ["−1", "0", "1"]),
        ([0, 5e-6, 1e-5, 1.5e-5], ["0", "5e-6", "1e-5", "1.5e-5"]),
        ([0, 5000, 10000], ["0", "5000", "10,000"]),
        ([0, 2e9, 4e9], ["0", "2B", "4B"]),
        ([0, 0.5e6, 1e6], ["0", "0.5M", "1.0M"]),
    ],
)
def test_the_ticks_of_one_axis_share_one_style(
    node: Node, values: list[float], labels: list[str]
) -> None:
    assert node.call("figures/number", "tickLabels", values) == labels


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7e9, "7,000,000,000"),
        (1.356789e-5, "1.35679e-5"),
        (-0.25, "−0.25"),
        (2019, "2019"),
        (0, "0"),
    ],
)
def test_a_number_under_the_pointer_is_exact(node: Node, value: float, text: str) -> None:
    assert node.call("figures/number", "formatNumber", value) == text


def test_numbers_under_one_another_have_equally_many_decimals(node: Node) -> None:
    texts = node.call("figures/number", "formatColumn", [1.2, None, 2, 1.28])
    assert texts == ["1.20", None, "2.00", "1.28"]


def test_a_number_is_not_filled_up_with_digits_that_nobody_gave(node: Node) -> None:
    texts = node.call("figures/number", "formatColumn", [0.520205, 0.0123456, 1234.567, -0.5])
    assert texts == ["0.520205", "0.0123456", "1234.57", "−0.500000"]


def test_a_log_axis_below_one_writes_powers_of_ten(node: Node) -> None:
    assert node.call("figures/number", "logLabels", [1e-4, 1e-3, 1]) == ["1e-4", "1e-3", "1"]


@pytest.mark.parametrize(
    ("value", "text"), [(111.04, "111"), (55.79, "55.8"), (7.734, "7.73"), (1136.1, "1136")]
)
def test_a_number_above_a_bar_has_three_digits(node: Node, value: float, text: str) -> None:
    assert node.call("figures/number", "formatShort", value) == text
