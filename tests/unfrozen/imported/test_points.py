"""Numbers by name and step; steps that go back are another attempt; nothing grows without end."""

import pytest

from unfrozen.imported import points as module
from unfrozen.imported.points import LAST_STEP, Points, first_step, moments


def test_what_is_reported_of_a_step_comes_together_in_order() -> None:
    points = Points()
    for name, step in (("a", 1), ("a", 3), ("b", 2), ("b", 3)):
        points.add(name, step, step / 2, 100.0 + step)
    (attempt,) = points.attempts
    assert list(moments(attempt)) == [
        (1, 101.0, {"a": 0.5}),
        (2, 102.0, {"b": 1.0}),
        (3, 103.0, {"a": 1.5, "b": 1.5}),
    ]
    assert (first_step(attempt), points.last_step, points.names) == (1, 3, ["a", "b"])


def test_of_one_step_the_later_number_counts() -> None:
    points = Points()
    points.add("a", 1, 1.0)
    points.add("a", 1, 2.0)
    points.add("a", 1, 2.0)
    assert [said for *_, said in moments(points.attempts[0])] == [{"a": 2.0}]
    assert points.left == {"that a later one of their step replaced": 1}


def test_only_a_name_that_goes_back_itself_begins_another_attempt() -> None:
    points = Points()
    points.add("loss", 100, 1.0)
    points.add("epoch loss", 1, 1.0)
    assert len(points.attempts) == 1
    points.add("loss", 51, 2.0)
    assert [list(attempt) for attempt in points.attempts] == [["loss", "epoch loss"], ["loss"]]


@pytest.mark.parametrize("step", [-1, LAST_STEP + 1, -(2**63)])
def test_steps_that_no_log_has_are_counted(step: int) -> None:
    points = Points()
    points.add("a", step, 1.0)
    assert (points.count, sum(points.left.values())) == (0, 1)


def test_names_attempts_and_numbers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_POINTS", 600)
    points = Points()
    for n in range(300):
        points.add(f"n{n}", 1, 1.0)
    for n in range(400, 0, -1):
        points.add("n0", n, 1.0)
    for n in range(500, 900):
        points.add("n0", n, 1.0)
    assert len(points.names) == module.MOST_OTHERS
    assert len(points.attempts) == module.MOST_ATTEMPTS
    assert points.count == 600
    assert points.count + sum(points.left.values()) == 300 + 400 + 400


def test_a_name_that_has_a_place_among_ours_is_taken_after_all_others() -> None:
    points = Points()
    for number in range(300):
        points.add(f"layer/{number}", 1, 1.0)
    points.add("train/loss", 1, 2.5)
    assert points.names[-1] == "train/loss"
