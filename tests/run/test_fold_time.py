"""How long a run took and still takes, by the clock of its events."""

from typing import Any

import pytest

from run.javascript import JavaScript

Event = dict[str, Any]


def time_of(js: JavaScript, events: list[Event], steps: int = 100) -> dict[str, Any]:
    first = {"kind": "run.start", "t": 1000, "step": 0, "plan": {"steps": steps}}
    numbered = [{"seq": seq, "run": "r", **event} for seq, event in enumerate([first, *events])]
    found: dict[str, Any] = js("return folded(input).time;", numbered)
    return found


def stepped(step: int, t: float) -> Event:
    return {"kind": "metrics", "step": step, "t": t, "m": {}}


def test_the_time_left_is_that_of_the_steps_to_come_at_the_pace_of_those_that_were(
    js: JavaScript,
) -> None:
    time = time_of(js, [stepped(1, 1030), stepped(2, 1032), stepped(11, 1050)])
    assert time["elapsed"] == 50
    assert time["left"] == pytest.approx(89 * 2)


def test_standing_still_on_request_is_time_that_passes_and_no_pace(js: JavaScript) -> None:
    beat = {"kind": "beat", "expect_next_in": 1}
    paused = [{**beat, "step": 2, "t": 1012, "paused": True}, {**beat, "step": 2, "t": 1500}]
    before = [stepped(1, 1010), stepped(2, 1012)]
    held = time_of(js, [*before, paused[0]])
    assert held["left"] == pytest.approx(98 * 2)
    time = time_of(js, [*before, *paused, stepped(3, 1502)])
    assert time["elapsed"] == 502
    assert time["left"] == pytest.approx(97 * 2)


def test_what_lies_between_two_attempts_does_not_count(js: JavaScript) -> None:
    resume = {"kind": "run.resume", "t": 90_000, "step": 5, "from_step": 5}
    events = [stepped(1, 1001), stepped(6, 1006), resume, stepped(6, 90_010), stepped(8, 90_014)]
    time = time_of(js, events)
    assert time["elapsed"] == 6 + 14
    assert time["left"] == pytest.approx(92 * 2)


@pytest.mark.parametrize("events", [[], [stepped(1, 1001)], [stepped(1, 1001), stepped(1, 1002)]])
def test_before_two_steps_nothing_is_reported_of_the_rest(
    js: JavaScript, events: list[Event]
) -> None:
    assert time_of(js, events)["left"] is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(8.4, "8 s"), (200, "3 min 20 s"), (7_500, "2 h 05 min"), (59.7, "1 min 00 s")],
)
def test_times_are_written_as_a_clock_would_say_them(
    js: JavaScript, seconds: float, words: str
) -> None:
    said = js("return numbers.formatDuration(input);", seconds)
    assert said.replace("\u00a0", " ") == words
