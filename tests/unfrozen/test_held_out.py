"""Intervals of means over examples, and what tells that examples are the same."""

import math
from random import Random

import pytest

from unfrozen.held_out import (
    ExactMatch,
    Interval,
    fingerprint,
    mcnemar,
    mean_interval,
    paired_difference,
    share_change,
    share_interval,
    together,
)


def interval(values: list[float]) -> Interval:
    found = mean_interval(values)
    assert found is not None
    return found


def test_the_interval_is_that_of_the_normal_distribution_for_many_values() -> None:
    draw = Random(3)
    values = [draw.gauss(1.0, 2.0) for _ in range(400)]
    mean = sum(values) / 400
    half = 1.96 * math.sqrt(sum((value - mean) ** 2 for value in values) / 400 / 400)
    found = interval(values)
    assert found.mean == pytest.approx(mean)
    assert found.low == pytest.approx(mean - half, abs=0.03)
    assert found.high == pytest.approx(mean + half, abs=0.03)
    assert found == interval(values)


def test_it_covers_the_true_mean_as_often_as_it_says() -> None:
    draw = Random(5)
    samples = ([draw.random() for _ in range(60)] for _ in range(100))
    covered = sum(found.low <= 0.5 <= found.high for found in map(interval, samples))
    assert 88 <= covered <= 100


def test_the_same_examples_are_compared_pair_by_pair() -> None:
    before = [5.0, 1.0, 9.0, 3.0]
    assert paired_difference(before, [value + 0.5 for value in before]) == (0.5, 0.5, 0.5)
    other = paired_difference(before, before[::-1])
    assert other is not None
    assert other.low < 0 < other.high
    with pytest.raises(ValueError, match="zip"):
        paired_difference(before, [1.0])


def test_one_value_or_none_has_no_interval_and_one_answer_has() -> None:
    assert mean_interval([]) is paired_difference([], []) is None
    assert mean_interval([2.5]) is paired_difference([2.5], [3.5]) is None
    assert mean_interval([1.0]) == share_interval(1, 1)
    assert paired_difference([0.0], [1.0]) == share_change(1, 0, 1)


@pytest.mark.parametrize(
    ("right", "rows", "low", "high"),
    [(0, 6, 0.0, 0.3903), (6, 6, 0.6097, 1.0), (15, 20, 0.5313, 0.8881), (64, 64, 0.9434, 1.0)],
)
def test_a_share_has_the_interval_of_wilson(right: int, rows: int, low: float, high: float) -> None:
    """The ends are the shares whose standard error the share found lies 1.96 times away."""
    found = interval([1.0] * right + [0.0] * (rows - right))
    assert found == pytest.approx((right / rows, low, high), abs=1e-4)
    logged = ExactMatch(right, 0, rows - right).as_json()["interval"]
    assert logged == pytest.approx(found[1:], abs=1e-6)  # as the page draws it
    for end in found[1:]:
        if 0 < end < 1:
            error = math.sqrt(end * (1 - end) / rows)
            assert abs(found.mean - end) / error == pytest.approx(1.95996, abs=1e-3)


def chance(won: int, lost: int, rows: int, wins: float, losses: float) -> float:
    same = rows - won - lost
    ways = math.comb(rows, won) * math.comb(rows - won, lost)
    return float(ways * wins**won * losses**lost * (1 - wins - losses) ** same)


@pytest.mark.parametrize(("wins", "losses"), [(0.02, 0.02), (0.3, 0.1), (0.6, 0.0), (0.1, 0.8)])
def test_the_interval_of_a_change_covers_it_as_often_as_it_says(wins: float, losses: float) -> None:
    covered = total = 0.0
    for won in range(17):
        for lost in range(17 - won):
            found, each = share_change(won, lost, 16), chance(won, lost, 16, wins, losses)
            total += each
            covered += each * (found.low - 1e-9 <= wins - losses <= found.high + 1e-9)
    assert total == pytest.approx(1)
    assert covered >= 0.93


def test_a_change_is_told_from_none_exactly_where_mcnemars_exact_test_does() -> None:
    for rows in (1, 6, 25):
        for won in range(rows + 1):
            for lost in range(rows + 1 - won):
                found = share_change(won, lost, rows)
                assert -1 <= found.low <= found.mean <= found.high <= 1
                assert (found.low > 1e-9 or found.high < -1e-9) == (mcnemar(won, lost) <= 0.05)
                mirrored = share_change(lost, won, rows)
                assert found.high == pytest.approx(-mirrored.low, abs=1e-9)
    assert mcnemar(6, 0) == 2 / 2**6
    assert mcnemar(2, 7) == 2 * (1 + 9 + 36) / 2**9
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1


def test_no_changed_answer_is_no_proof_that_none_would_change() -> None:
    for right in (0.0, 1.0):
        found = paired_difference([right] * 6, [right] * 6)
        assert found == pytest.approx((0.0, -0.3903, 0.3903), abs=1e-4)


def test_the_same_examples_in_order_have_the_same_fingerprint() -> None:
    one, other = ((5, 6), (False, True)), ((5, 7), (False, True))
    assert fingerprint([one, other]) == fingerprint([(list(one[0]), list(one[1])), other])
    assert len({fingerprint(rows) for rows in ([one], [other], [one, other], [other, one])}) == 4
    assert fingerprint([one]) != fingerprint([(one[0], (True, True))])
    assert together(["a", "b"]) == together(["b", "a"]) != together(["ab"])
