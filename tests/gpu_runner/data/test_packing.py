from hypothesis import given
from hypothesis import strategies as st

from gpu_runner.data.feed import bins

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@given(LENGTHS, st.integers(50, 200))
def test_every_row_is_in_one_bin_and_no_bin_overflows(lengths: list[int], capacity: int) -> None:
    found = bins(lengths, capacity)
    assert sorted(index for one in found for index in one) == list(range(len(lengths)))
    assert max(sum(lengths[index] for index in one) for one in found) <= capacity


@given(LENGTHS, st.integers(50, 200))
def test_bins_are_few(lengths: list[int], capacity: int) -> None:
    fewest = -(-sum(lengths) // capacity)
    assert len(bins(lengths, capacity)) <= max(1, 2 * fewest)


@given(LENGTHS, st.integers(1, 4))
def test_every_rank_gets_as_many_bins(lengths: list[int], ranks: int) -> None:
    if len(lengths) >= ranks:
        found = bins(lengths, 50, ranks)
        assert len(found) % ranks == 0
        assert all(found)


def test_bins_weigh_alike() -> None:
    assert bins([40, 10, 20, 30], 60) == [[0, 1], [2, 3]]


def test_where_like_weights_do_not_fit_the_bins_are_filled_first_fit() -> None:
    lengths = [6, 4, 4, 3, 3]
    weights = [sum(lengths[index] for index in one) for one in bins(lengths, 10)]
    assert sorted(weights) == [10, 10]


def test_all_that_fits_is_one_bin_in_the_given_order() -> None:
    assert bins([3, 9, 1], 13) == [[0, 1, 2]]
