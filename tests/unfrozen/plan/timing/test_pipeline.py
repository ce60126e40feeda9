"""Bubbles: the formulas of the paper, with three seconds for both passes of a micro-batch."""

import pytest

from unfrozen.plan.timing.communication import bubble_seconds


@pytest.mark.parametrize(("ranks", "chunks", "seconds"), [(8, 1, 21.0), (8, 2, 10.5), (1, 1, 0.0)])
def test_all_ranks_but_one_wait_for_a_stage(ranks: int, chunks: int, seconds: float) -> None:
    assert bubble_seconds(ranks, chunks, 3.0) == pytest.approx(seconds)
