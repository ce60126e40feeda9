"""Intervals of means over examples."""

import math
from random import Random

import pytest

from unfrozen.held_out import bootstrap, paired_difference


def test_the_interval_is_that_of_the_normal_distribution_for_many_values() -> None:
    draw = Random(3)
    values = [draw.gauss(1.0, 2.0) for _ in range(400)]
    mean = sum(values) / 400
    half = 1.96 * math.sqrt(sum((value - mean) ** 2 for value in values) / 400 / 400)
    found = bootstrap(values)
    assert found.mean == pytest.approx(mean)
    assert found.low == pytest.approx(mean - half, abs=0.03)
    assert found.high == pytest.approx(mean + half, abs=0.03)
    assert found == bootstrap(values)


def test_it_covers_the_true_mean_as_often_as_it_says() -> None:
    draw = Random(5)
    samples = ([draw.random() for _ in range(60)] for _ in range(100))
    covered = sum(found.low <= 0.5 <= found.high for found in map(bootstrap, samples))
    assert 88 <= covered <= 100


def test_the_same_examples_are_compared_pair_by_pair() -> None:
    before = [5.0, 1.0, 9.0, 3.0]
    found = paired_difference(before, [value + 0.5 for value in before])
    assert found == (0.5, 0.5, 0.5)
    other = paired_difference(before, before[::-1])
    assert other.low < 0 < other.high
    with pytest.raises(ValueError, match="zip"):
        paired_difference(before, [1.0])
