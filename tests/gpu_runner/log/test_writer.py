"""The writer of a run's log: what it promises, and what it does on a bad disk or a bad name."""

import json
import math
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gpu_runner.log.writer import MAX_LINE_BYTES, EventLog, LogError, SystemClock, log_later
from unfrozen.events import KINDS, METRIC_NAMES


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def wall(self) -> float:
        return 1_764_061_923.41 + self.seconds

    def monotonic(self) -> float:
        return self.seconds


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run-1" / "events.jsonl"


def test_an_event_is_one_line_with_the_envelope_in_order(path: Path) -> None:
    clock = SetClock()
    with EventLog(path, run="run-1", clock=clock) as log:
        clock.seconds += 633.1
        assert log.emit("metrics", 812, m={"train/loss": 2.31})
    expected = '{"v":1,"run":"run-1","seq":0,"att":0,"t":1764063556.51,"rt":633.1,'
    assert path.read_text() == expected + '"kind":"metrics","step":812,"m":{"train/loss":2.31}}\n'


def test_numbers_that_are_not_finite_travel_as_strings(path: Path) -> None:
    with EventLog(path, run="run-1", clock=SetClock()) as log:
        log.emit("metrics", 1, m={"train/loss": math.nan, "train/grad_norm": math.inf})
        log.emit("drift", 1, layers={"a": [-math.inf, 1.0]}, total=0.5)
    first, second = events(path)
    assert first["m"] == {"train/loss": "NaN", "train/grad_norm": "Infinity"}
    assert second["layers"] == {"a": ["-Infinity", 1.0]}


def test_text_of_every_kind_survives_as_one_line(path: Path) -> None:
    text = 'two\nlines, "quotes", \u2028, \x00, ü, 🌱, </script>'
    with EventLog(path, run="run-1", clock=SetClock()) as log:
        log.emit("sample", 0, prompt=text, text="half a pair: \ud83c", when="before")
    (event,) = events(path)
    assert event["prompt"] == text
    assert event["text"] == "half a pair: \ud83c"


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        ("metric", {}, "unknown event kind 'metric'"),
        ("metrics", {"m": {"loss": 1.0}}, "unknown metric loss"),
        ("sys", {"m": {"sys/rss": 1.0}}, "unknown metric sys/rss"),
        ("mem", {"instant": "lunch", "components": {}}, "mem at 'lunch'"),
        ("mem", {"instant": "load", "components": {"cake": 1}}, r"\['cake'\]"),
        ("run.end", {"status": "done"}, "run.end status 'done'"),
    ],
)
def test_a_name_that_the_page_would_not_know_is_refused(
    path: Path, kind: str, payload: dict[str, Any], reason: str
) -> None:
    with EventLog(path, run="run-1", clock=SetClock()) as log:
        with pytest.raises(LogError, match=reason):
            log.emit(kind, 1, **payload)
        assert log.emit("metrics", 1, m={"train/loss": 1.0})
    assert [event["seq"] for event in events(path)] == [0]


def test_every_known_kind_and_metric_is_accepted(path: Path) -> None:
    needed: dict[str, dict[str, Any]] = {
        "mem": {"instant": "load", "components": {"params": 1}},
        "run.end": {"status": "finished"},
        "metrics": {"m": dict.fromkeys(METRIC_NAMES, 1.0)},
    }
    with EventLog(path, run="run-1", clock=SetClock()) as log:
        assert not [kind for kind in KINDS if not log.emit(kind, 1, **needed.get(kind, {}))]
    assert [event["kind"] for event in events(path)] == list(KINDS)


def test_a_line_that_is_too_long_loses_its_largest_field_and_says_so(path: Path) -> None:
    with EventLog(path, run="run-1", clock=SetClock()) as log:
        assert log.emit("run.end", 9, status="finished", reason="done", summary={"a": "x" * 20_000})
        assert log.cut == 1
    end, alert = events(path)
    assert (end["status"], end["reason"], end["cut"]) == ("finished", "done", ["summary"])
    assert alert["kind"] == "alert"
    assert "Left out: summary" in alert["text"]
    assert max(len(line) for line in path.read_bytes().splitlines()) <= MAX_LINE_BYTES


def test_files_and_folders_are_for_their_owner_only(path: Path) -> None:
    EventLog(path, run="run-1", clock=SetClock()).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_new_log_never_touches_an_old_one(path: Path) -> None:
    EventLog(path, run="run-1", clock=SetClock()).close()
    with pytest.raises(LogError, match="exists: choose another run id, or resume"):
        EventLog(path, run="run-1", clock=SetClock())


def test_a_resume_needs_a_log_of_the_same_run(path: Path) -> None:
    with pytest.raises(LogError, match="no run to resume"):
        EventLog(path, run="run-1", clock=SetClock(), attempt=1)
    with EventLog(path, run="run-1", clock=SetClock()) as log:
        log.emit("beat", 1, expect_next_in=5)
    with pytest.raises(LogError, match="the log of run run-1, not of run-2"):
        EventLog(path, run="run-2", clock=SetClock(), attempt=1)


def test_a_log_has_one_writer_at_a_time(path: Path) -> None:
    with EventLog(path, run="run-1", clock=SetClock()) as log:
        log.emit("beat", 1, expect_next_in=5)
        with pytest.raises(LogError, match="being written by another process"):
            EventLog(path, run="run-1", clock=SetClock(), attempt=1)
    EventLog(path, run="run-1", clock=SetClock(), attempt=1).close()


def test_a_log_that_ends_in_nothing_but_damage_is_refused_in_words(path: Path) -> None:
    with EventLog(path, run="run-1", clock=SetClock()) as log:
        log.emit("metrics", 1, m={"train/loss": 2.0})
    os.truncate(path, 10 * 2**30)  # as a file system may leave it that lost power
    refused = r"the last 67,108,864 of the 10,737,418,240 bytes of .* hold no event: cut them off"
    with pytest.raises(LogError, match=refused):
        EventLog(path, run="run-1", clock=SetClock(), attempt=1)
    assert log_later(path.parent, "blend", 1, []) == f"{path} holds no event"


def test_a_resume_goes_on_with_the_next_number_and_the_next_attempt(path: Path) -> None:
    for attempt in (0, 1, 1):
        with EventLog(path, run="run-1", clock=SetClock(), attempt=attempt) as log:
            log.emit("metrics", 5, m={"train/loss": 1.0})
            log.emit("metrics", 6, m={"train/loss": 1.0})
    assert [event["seq"] for event in events(path)] == [0, 1, 2, 3, 4, 5]
    assert [event["att"] for event in events(path)] == [0, 0, 1, 1, 2, 2]


def test_a_torn_last_line_is_ended_before_the_log_goes_on(path: Path) -> None:
    with EventLog(path, run="run-1", clock=SetClock()) as log:
        log.emit("metrics", 5, m={"train/loss": 1.0})
    with path.open("a") as file:
        file.write('{"v":1,"run":"run-1","seq":1,"att":0,"kind":"met')
    with EventLog(path, run="run-1", clock=SetClock(), attempt=1) as log:
        assert log.emit("run.resume", 5, from_step=5)
    whole, torn, resumed = path.read_text().splitlines()
    assert json.loads(whole)["seq"] == 0
    assert torn.endswith('"met')
    assert json.loads(resumed)["seq"] == 1


def test_a_closed_log_refuses_events_and_closes_twice(path: Path) -> None:
    log = EventLog(path, run="run-1", clock=SystemClock())
    log.close()
    log.close()
    with pytest.raises(LogError, match="is closed"):
        log.emit("beat", 1, expect_next_in=5)


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """A real limit of the system: a write beyond it is short, then fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_costs_events_but_never_the_training(path: Path) -> None:
    with EventLog(path, run="run-1", clock=SetClock()) as log:
        with files_of_at_most(500):
            written = [log.emit("metrics", step, m={"train/loss": 1.0}) for step in range(20)]
        lost = written.count(False)
        assert lost > 10
        assert log.dropped == lost
        assert log.emit("metrics", 20, m={"train/loss": 1.0})
    kept = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    report, last = kept[-2:]
    assert report["kind"] == "alert"
    assert f"{lost} events were not written" in report["text"]
    assert (last["step"], last["seq"], report["seq"]) == (20, 21, 20)
    assert len(kept) == written.count(True) + 2


FULL = """
import json, pathlib, sys
from gpu_runner.log.writer import EventLog, SystemClock
path = pathlib.Path(sys.argv[1]) / "run" / "events.jsonl"
with EventLog(path, run="run-1", clock=SystemClock(), report=print) as log:
    for step in range(5000):
        log.emit("metrics", step, m={"train/loss": 1.0})
    assert log.emit("run.end", 5000, status="finished", reason="")
lines = path.read_text().splitlines()
print(json.dumps([json.loads(line) for line in (lines[0], *lines[-3:])]))
"""


def test_on_a_full_disk_the_log_ends_with_what_was_lost_and_how_the_run_ended(
    tmp_path: Path,
) -> None:
    mount = f"mount -t tmpfs -o size=300k tmpfs {tmp_path} && exec {sys.executable} -c '{FULL}' "
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount + str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr:
        pytest.skip("A FULL DISK IS NOT TESTED: this system lets nobody mount one")
    told, last = done.stdout.splitlines()
    assert "No space left on device" in told
    assert "lacks what happens from here on" in told
    first, *_, lost, end = json.loads(last)
    assert first["step"] == 0
    assert "events were not written before this line: No space left on device" in lost["text"]
    assert (end["kind"], end["step"], end["status"]) == ("run.end", 5000, "finished")
