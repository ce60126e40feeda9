"""What binds a step is said in small numbers."""

from dataclasses import asdict

import pytest

from unfrozen.plan.step_time import StepTime, bound_words, spent_words

NOTHING = StepTime(*[0.0] * 9)


def step(**seconds: float) -> StepTime:
    return StepTime(**(asdict(NOTHING) | seconds))


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (step(between=3, products=1), "communication between machines: three of four seconds"),
        (step(products=96, memory=4), "matmuls: nearly every second"),
        (step(host=1, products=0.5, attention=0.5), "CPU offload: one of two seconds"),
    ],
)
def test_the_longest_part_binds(found: StepTime, told: str) -> None:
    assert told in bound_words(found)


def test_the_second_longest_is_named_where_it_counts() -> None:
    assert bound_words(step(products=3, attention=1)).endswith("then attention.")
    assert "then" not in bound_words(step(products=19, attention=1))


def test_shares_are_reported_in_hundredths_and_crumbs_left_out() -> None:
    assert spent_words(step(products=0.75, inside=0.245, launches=0.005)) == (
        "75% matmuls, 24% communication within a machine"
    )
