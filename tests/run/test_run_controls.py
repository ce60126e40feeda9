"""How far a command to a run has come: words for every state."""

from typing import Any

import pytest

from run.javascript import JavaScript

ORDERS = """
const run = Object.assign(emptyRun(), { events: 5, run: "r", step: 7, ...input.run });
const view = { kind: "live", health: "running", stream: "live", runner: "live", sent: null };
return commandState({ ...view, ...input.view, run });
"""
PAUSED = {"beat": {"paused": True, "heard": 5, "expectNextIn": 5, "time": 0}}
ASKED = {"run": "r", "attempts": 0, "seq": 5, "problem": ""}
ENDED = {"end": {"reason": "", "time": 0, "summary": {}}}


def orders(
    js: JavaScript,
    run: dict[str, Any] | None = None,
    asked: dict[str, Any] | None = None,
    **view: Any,
) -> dict[str, Any]:
    """What the buttons are like; `asked` is a command of this page."""
    whole = {**ASKED, **asked} if asked else None
    said: dict[str, Any] = js(ORDERS, {"run": run or {}, "view": {**view, "sent": whole}})
    return said


def test_a_living_run_has_buttons_and_another_has_none(js: JavaScript) -> None:
    assert orders(js) == {
        **{"shown": True, "ready": True, "paused": False},
        **{"can": None, "status": ""},
    }
    assert orders(js, PAUSED, health="paused")["paused"] is True
    assert orders(js, ENDED)["shown"] is False
    assert orders(js, {"events": 0})["shown"] is False
    assert orders(js, kind="recording")["shown"] is False
    assert orders(js, health="stalled")["ready"] is True  # it may hear it after all


def test_a_watched_run_has_the_buttons_that_its_loop_hears(js: JavaScript) -> None:
    watched = {"start": {"trainer": "a loop of its own", "can": ["pause"]}}
    assert orders(js, watched)["can"] == ["pause"]


@pytest.mark.parametrize("gone", [{"stream": "gone"}, {"runner": "gone"}, {"runner": "refused"}])
def test_without_the_server_nothing_can_be_asked_and_the_line_says_so(
    js: JavaScript, gone: dict[str, str]
) -> None:
    said = orders(js, **gone)
    assert (said["shown"], said["ready"]) == (True, False)
    assert "The server does not answer" in said["status"]


@pytest.mark.parametrize(
    ("run", "asked", "ready", "part"),
    [
        ({}, {"command": "pause", "seq": None}, False, "Asked to pause. The step in progress"),
        ({}, {"command": "pause"}, False, "Asked to pause."),
        ({"beat": {"heard": 4}}, {"command": "checkpoint"}, False, "Asked to be saved."),
        (PAUSED, {"command": "pause"}, True, ""),
        ({"beat": {"heard": 6}}, {"command": "resume"}, True, "Training resumed."),
        (PAUSED | {"checkpoint": {"step": 7}}, {"command": "checkpoint"}, True, "Step 7 is saved."),
        (PAUSED, {"command": "checkpoint"}, True, "Nothing to save yet."),
        ({"beat": {"heard": 4}}, {"command": "evaluate"}, False, "Asked to be evaluated."),
        (PAUSED, {"command": "evaluate"}, True, "Evaluated."),
        ({"beat": {"heard": 5}}, {"command": "stop"}, False, "Asked to stop."),
        ({}, {"command": "pause", "problem": "No such run."}, True, "No such run."),
        ({}, {"command": "stop", "run": "another"}, True, ""),
        (
            {"attempts": [{}]},
            {"command": "stop"},
            True,
            "resumed before it could stop: send it again",
        ),
        (
            ENDED | {"status": "finished"},
            {"command": "pause"},
            False,
            "ended before it could pause",
        ),
        (ENDED | {"status": "finished"}, {"command": "stop"}, False, "ended before it could stop"),
        (ENDED | {"status": "stopped"}, {"command": "stop"}, False, ""),
    ],
)
def test_a_command_is_on_its_way_until_the_run_says_that_it_heard_it(
    js: JavaScript, run: dict[str, Any], asked: dict[str, Any], ready: bool, part: str
) -> None:
    said = orders(js, run, asked)
    assert said["ready"] is ready
    assert part in said["status"]
    assert bool(part) is bool(said["status"])


def test_a_beat_of_the_attempt_before_says_nothing_of_this_one(js: JavaScript) -> None:
    beat = {"kind": "beat", "t": 1, "step": 3, "expect_next_in": 5, "paused": True, "heard": 9}
    resume = {"kind": "run.resume", "t": 2, "step": 3, "from_step": 3, "att": 1}
    events = [{"run": "r", "seq": seq, **event} for seq, event in enumerate([beat, resume])]
    assert js("return folded(input).beat;", events[:1]) == {
        "time": 1,
        "expectNextIn": 5,
        "paused": True,
        "heard": 9,
        "doing": "",
        "done": 0,
    }
    assert js("return folded(input).beat;", events) is None
