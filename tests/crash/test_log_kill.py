"""The trainer's log under kill −9: a hundred deaths, one file, nothing acknowledged lost."""

import os
import random
import signal
import time
from itertools import count
from pathlib import Path

import pytest

from gpu_runner.log.tail import Tail, parse
from gpu_runner.log.writer import EventLog, SystemClock

pytestmark = pytest.mark.slow

KILLS = 100


def write(path: Path, attempt: int, says: int) -> None:
    """Write events for as long as this process lives, and say of each that it is safe."""
    log = EventLog(path, run="r", clock=SystemClock(), attempt=attempt)
    for step in count():
        assert log.emit("metrics", step, m={"train/loss": step / 7, "opt/lr": 1e-5})
        os.write(says, f"{log.attempt} {step}\n".encode())


def die_while_writing(path: Path, attempt: int, seconds: float) -> list[tuple[int, int]]:
    """Let a writer run for `seconds` after its first event, kill it, return what it saw safe."""
    heard, says = os.pipe()
    writer = os.fork()
    if writer == 0:
        try:
            write(path, attempt, says)
        finally:
            os._exit(1)
    os.close(says)
    with os.fdopen(heard) as lines:
        first = lines.readline()
        time.sleep(seconds)
        os.kill(writer, signal.SIGKILL)
        rest = lines.read()
    os.waitpid(writer, 0)
    whole = [line.split() for line in (first + rest).split("\n")[:-1]]
    return [(int(attempt_text), int(step)) for attempt_text, step in whole]


def test_no_acknowledged_event_is_lost_in_many_kills(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kills = KILLS if request.config.option.all else KILLS // 5
    chance = random.Random(20261125)
    path = tmp_path / "r" / "events.jsonl"
    safe: list[tuple[int, int]] = []
    for kill in range(kills):
        safe += die_while_writing(path, kill, chance.uniform(0, 0.02))
        if chance.random() < 0.3:  # a write that a dying machine cut short
            with path.open("ab") as file:
                file.write(b'{"v":1,"run":"r","seq":' + b"9" * chance.randint(0, 30))
    tail, events = Tail(path), []
    while lines := tail.read():
        events += [parse(line) or {} for _, line in lines]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert set(safe) <= {(event["att"], event["step"]) for event in events}
    assert len(events) - len(safe) <= kills  # written, and killed before it could say so
    assert {event["att"] for event in events} == set(range(kills))
    assert len(safe) > kills


def test_the_lock_of_a_killed_writer_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "r" / "events.jsonl"
    die_while_writing(path, 0, 0.0)
    EventLog(path, run="r", clock=SystemClock(), attempt=1).close()
