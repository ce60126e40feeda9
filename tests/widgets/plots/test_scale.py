import itertools
import math

from hypothesis import assume, given
from hypothesis import strategies as st

from widgets.node import Node

NUMBERS = st.floats(min_value=-1e300, max_value=1e300, allow_nan=False)
POSITIVE = st.floats(min_value=1e-300, max_value=1e300, allow_nan=False)
COUNTS = st.integers(min_value=2, max_value=12)


def mantissa(value: float) -> float:
    """The leading digit of a round number: 1, 2 or 5 when it is one."""
    return round(value / 10 ** math.floor(math.log10(value * 1.0001)), 3)


@given(a=NUMBERS, b=NUMBERS, count=COUNTS)
def test_covering_ticks_rise_and_reach_both_ends(
    node: Node, a: float, b: float, count: int
) -> None:
    low, high = sorted((a, b))
    ticks = node.call("plots/scale", "coveringTicks", low, high, count)
    assert not [(left, right) for left, right in itertools.pairwise(ticks) if not left < right]
    slack = 1e-8 * max(abs(low), abs(high), ticks[1] - ticks[0])
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 2 * count + 3


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-2, 1e9), count=COUNTS)
def test_ticks_stand_at_round_numbers_apart(
    node: Node, low: float, span: float, count: int
) -> None:
    ticks = node.call("plots/scale", "coveringTicks", low, low + span, count)
    steps = [right - left for left, right in itertools.pairwise(ticks)]
    assert max(steps) - min(steps) <= 1e-6 * max(steps)
    assert mantissa(steps[0]) in (1, 2, 5)


@given(a=POSITIVE, b=POSITIVE, count=COUNTS)
def test_log_axes_cover_their_data_with_rising_round_ticks(
    node: Node, a: float, b: float, count: int
) -> None:
    low, high = sorted((a, b))
    assume(high < 1e299)
    opts = {"count": count, "nice": True}
    scale = node.call("plots/scale", "logScale", [low, high], [0, 100], opts)
    assert scale["domain"][0] <= low * (1 + 1e-8)
    assert scale["domain"][1] >= high * (1 - 1e-8)
    values = [tick["value"] for tick in scale["ticks"]]
    assert values == sorted(set(values))
    assert not [value for value in values if mantissa(value) not in (1, 2, 5)]


def test_a_single_decade_still_gets_several_log_ticks(node: Node) -> None:
    assert node.call("plots/scale", "logTicks", 1, 10, 5) == [1, 2, 5, 10]


def test_equal_values_get_an_axis_from_zero(node: Node) -> None:
    assert node.call("plots/scale", "coveringTicks", 5, 5, 5) == [0, 1, 2, 3, 4, 5]
    assert node.call("plots/scale", "coveringTicks", 0, 0, 5) == [0, 1]


def test_an_axis_that_almost_ends_on_a_tick_ends_there(node: Node) -> None:
    scale = node.call("plots/scale", "linearScale", [0, 990], [0, 100], {"count": 5, "nice": False})
    assert scale["domain"] == [0, 1000]


def test_an_axis_that_ends_far_from_a_tick_ends_with_its_data(node: Node) -> None:
    scale = node.call("plots/scale", "linearScale", [0, 930], [0, 100], {"count": 5, "nice": False})
    assert scale["domain"] == [0, 930]
    assert [tick["label"] for tick in scale["ticks"]] == ["0", "200", "400", "600", "800"]
