"""The order of rows is a pure function: no generator to save, no draw to repeat."""

import math

import pytest

from unfrozen.training_data import epoch_order, replayed, row_at, spread, step_rows, steps_in


def test_an_epoch_visits_every_row_once() -> None:
    seen = [row_at(position, 10, seed=3) for position in range(10)]
    assert sorted(seen) == list(range(10))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    assert epoch_order(50, 1, 0) == epoch_order(50, 1, 0)
    orders = {epoch_order(50, seed, epoch) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


def test_the_order_is_the_same_in_every_process() -> None:
    assert epoch_order(6, 0, 0) == (0, 2, 4, 3, 1, 5)


def test_a_step_takes_its_rows_where_the_last_one_stopped() -> None:
    steps = [step_rows(number, 4, 10, 0) for number in (1, 2, 3)]
    assert [row for step in steps for row in step] == [row_at(p, 10, 0) for p in range(12)]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
def test_replayed_rows_come_as_near_to_their_share_as_whole_rows_can(share: float) -> None:
    lengths = [20, 24, 22, 26, 18]
    taken = replayed(10_000, lengths, share, seed=3)
    tokens = sum(lengths[index] for index in taken)
    assert abs(tokens - share * (10_000 + tokens)) <= max(lengths)


def test_one_row_is_replayed_however_small_the_share() -> None:
    assert len(replayed(100, [50, 50], 1e-9, seed=0)) == 1


def test_rows_are_spread_evenly_and_never_taken_twice() -> None:
    assert spread(10, 5) == [0, 2, 4, 6, 8]
    assert spread(3, 10) == [0, 1, 2]


@pytest.mark.parametrize(
    ("epochs", "rows", "per_step", "steps"),
    [(1, 10, 4, 3), (2, 10, 5, 4), (0.01, 10, 4, 1), (0.3, 10, 1, 3)],
)
def test_steps_cover_the_epochs(epochs: float, rows: int, per_step: int, steps: int) -> None:
    assert steps_in(epochs, rows, per_step) == steps
    assert steps * per_step >= math.floor(epochs * rows)
