"""How far a command to a run has come, and what a form for a start says: words for every state."""

from typing import Any

import pytest

from run.javascript import JavaScript
from unfrozen.events import RESUMABLE_STATUSES, STATUSES

ORDERS = """
const run = Object.assign(emptyRun(), { events: 5, run: "r", step: 7, ...input.run });
const view = { kind: "live", health: "running", stream: "live", runner: "live", sent: null };
return commandState({ ...view, started: null, ...input.view, run });
"""
PAUSED = {"beat": {"paused": True, "heard": 5, "expectNextIn": 5, "time": 0}}
ASKED = {"run": "r", "attempts": 0, "seq": 5, "problem": "", "again": False, "answered": True}
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
        **{"again": False, "loading": False, "can": None, "status": ""},
    }
    assert orders(js, PAUSED, health="paused")["paused"] is True
    assert orders(js, ENDED)["shown"] is False
    assert orders(js, {"events": 0})["shown"] is False
    assert orders(js, kind="recording")["shown"] is False
    assert orders(js, health="stalled")["ready"] is True  # it may hear it after all


def test_a_watched_run_has_the_buttons_that_its_loop_hears_and_is_not_started_again(
    js: JavaScript,
) -> None:
    watched = {"start": {"trainer": "a loop of its own", "can": ["pause"]}}
    assert orders(js, watched)["can"] == ["pause"]
    stopped = ENDED | {"status": "stopped"}
    assert orders(js, watched | stopped)["again"] is False
    assert orders(js, stopped)["again"] is True


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
        (ENDED | {"status": "stopped"}, {"command": "stop"}, True, ""),
    ],
)
def test_a_command_is_on_its_way_until_the_run_says_that_it_heard_it(
    js: JavaScript, run: dict[str, Any], asked: dict[str, Any], ready: bool, part: str
) -> None:
    said = orders(js, run, asked)
    assert said["ready"] is ready
    assert part in said["status"]
    assert bool(part) is bool(said["status"])


STOPPED = ENDED | {"status": "stopped"}
STARTED = {"name": "r", "alive": True, "run": None, "lines": []}
AGAIN = {"command": "resume", "again": True, "seq": None}


@pytest.mark.parametrize(
    ("run", "asked", "started", "ready", "part"),
    [
        (STOPPED, None, None, True, ""),
        (STOPPED, AGAIN | {"answered": False}, None, False, "Restarting"),
        (STOPPED, AGAIN, STARTED, True, "Restarting: it loads its newest checkpoint."),
        (STOPPED, AGAIN | {"problem": "Busy."}, None, True, "Busy."),
        (STOPPED, AGAIN, STARTED | {"alive": False, "lines": ["a", "no data"]}, True, "no data"),
        (STOPPED, AGAIN, STARTED | {"alive": False, "run": "r"}, True, ""),
        (STOPPED, None, STARTED | {"name": "sums", "run": "s"}, False, "sums is running"),
        (STOPPED, None, STARTED | {"name": "sums", "run": "r"}, False, ""),
        ({"attempts": [{}]}, AGAIN, STARTED | {"run": "r"}, True, ""),
    ],
)
def test_a_stopped_run_has_one_button_that_starts_it_again(
    js: JavaScript,
    run: dict[str, Any],
    asked: dict[str, Any] | None,
    started: dict[str, Any] | None,
    ready: bool,
    part: str,
) -> None:
    said = orders(js, run, asked, started=started)
    assert (said["shown"], said["ready"], said["again"]) == (True, ready, "end" in run)
    assert part in said["status"]
    assert bool(part) is bool(said["status"])
    assert orders(js, health="gone")["again"] is True


@pytest.mark.parametrize("status", [*STATUSES, "gone"])
def test_the_page_offers_to_start_again_what_the_server_starts_again(
    js: JavaScript, status: str
) -> None:
    ended = {} if status == "gone" else ENDED | {"status": status}
    said = orders(js, ended, health=status if status == "gone" else "ended")
    assert said["again"] is said["shown"] is (status in RESUMABLE_STATUSES)


def test_what_still_loads_can_be_cancelled_and_nothing_else(js: JavaScript) -> None:
    assert orders(js, STOPPED, started=STARTED)["loading"] is True
    assert orders(js, STOPPED, started=STARTED | {"name": "another"})["loading"] is False
    assert orders(js, STOPPED, started=STARTED | {"run": "r"})["loading"] is False
    assert orders(js, STOPPED, started=STARTED | {"alive": False})["loading"] is False
    assert orders(js, STOPPED, started=STARTED, runner="gone")["ready"] is False
    assert orders(js, started=STARTED)["loading"] is False


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


BLEND = """
const run = Object.assign(emptyRun(), { events: 5, run: "r", ...input.run });
const view = { kind: "live", health: "running", runner: "live", problem: "", started: null };
return blendState({ ...view, ...input.view, run });
"""
BLENDS = {"name": "r", "verb": "blend", "alive": True, "run": None, "lines": []}


@pytest.mark.parametrize(
    ("run", "view", "shown", "ready", "busy", "text"),
    [
        (ENDED, {}, True, True, False, ""),
        ({}, {}, False, False, False, ""),
        ({}, {"health": "gone"}, True, True, False, ""),
        (ENDED, {"kind": "recording"}, False, False, False, ""),
        (ENDED | {"start": {"trainer": "TRL"}}, {}, False, False, False, ""),
        (ENDED, {"runner": "gone"}, True, False, False, ""),
        (ENDED, {"started": BLENDS}, True, True, True, "It scores eleven models"),
        (ENDED, {"started": BLENDS | {"name": "q"}}, True, False, False, "q is running. Only one"),
        (ENDED, {"problem": "No."}, True, True, False, "No."),
        (
            ENDED,
            {"started": BLENDS | {"alive": False, "lines": ["Error: full."]}},
            *(True, True, False, "It was not blended: Error: full."),
        ),
    ],
)
def test_the_button_of_a_blend_is_there_once_its_run_has_ended(
    js: JavaScript,
    run: dict[str, Any],
    view: dict[str, Any],
    shown: bool,
    ready: bool,
    busy: bool,
    text: str,
) -> None:
    found = js(BLEND, {"run": run, "view": view})
    assert found["text"].startswith(text)
    assert bool(found["text"]) == bool(text)
    assert (found["shown"], found["ready"], found["busy"]) == (shown, ready, busy)
