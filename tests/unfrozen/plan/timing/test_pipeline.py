"""Bubbles: the formulas of the papers, with one second each for forward, inputs and weights."""

import pytest

from unfrozen.job.cluster import SCHEDULES
from unfrozen.plan.timing.communication import bubble_seconds


@pytest.mark.parametrize(
    ("schedule", "chunks", "seconds"),
    [
        ("gpipe", 1, 21.0),
        ("1f1b", 1, 21.0),
        ("interleaved", 2, 10.5),
        ("zero_bubble", 1, 7.0),
    ],
)
def test_eight_ranks_wait_as_the_papers_say(schedule: str, chunks: int, seconds: float) -> None:
    assert bubble_seconds(8, schedule, chunks, 1, 1, 1) == pytest.approx(seconds)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_pipeline_no_bubble_and_never_less_than_nothing(schedule: str) -> None:
    assert bubble_seconds(1, schedule, 1, 1, 1, 1) == 0
    assert bubble_seconds(4, schedule, 2, 0.1, 0.1, 5) >= 0
