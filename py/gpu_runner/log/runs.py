"""The runs in a directory: which there are, and how each of them stands.

A run is a directory that holds `events.jsonl`. Ids come from listing the directory, and a requested
id is looked up among them: no path is ever built from what a client sends. Links are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_runner.log.tail import CHUNK_BYTES, LOG_NAME, parse, writer_alive
from gpu_runner.log.writer import Clock
from unfrozen.events import DEFAULT_BEAT_SECONDS, PATIENCE


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One line of `GET /api/runs`.

    `status` is that of `run.end`; before it `running`, `paused` (somebody asked it to), `stalled`
    (its process lives but is silent for longer than it promised) or `gone` (its process ended
    without a `run.end`). `started` and `updated` are Unix seconds; `steps` is 0 while the log does
    not say how many are planned.
    """

    id: str
    status: str
    model: str
    step: int
    steps: int
    started: float
    updated: float
    bytes: int


class RunIndex:
    """Looks a directory up each time it is asked; a directory that does not exist is empty."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock

    def logs(self) -> dict[str, Path]:
        """Every run id with the path of its log."""
        try:
            with os.scandir(self._root) as entries:
                found = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return {}
        logs = {entry.name: Path(entry.path) / LOG_NAME for entry in found}
        return {name: log for name, log in logs.items() if log.is_file() and not log.is_symlink()}

    def log(self, run_id: str) -> Path | None:
        """The log of `run_id`, or None when there is no such run."""
        return self.logs().get(run_id)

    def infos(self) -> list[RunInfo]:
        """All runs, the newest first. A log without one whole event is left out."""
        infos = (describe(name, log, self._clock.wall()) for name, log in self.logs().items())
        return sorted((info for info in infos if info), key=lambda info: -info.started)


def describe(run_id: str, log: Path, now: float) -> RunInfo | None:
    """How the run in `log` stands at `now` (Unix seconds); None when it holds no whole event."""
    size = log.stat().st_size
    first = next(_events(log, 0), None)
    last = next(_events(log, size, backwards=True), None)
    if first is None or last is None:
        return None
    return RunInfo(
        id=run_id,
        status=_status(log, size, last, now),
        model=str(_inside(first, "model", "name") or ""),
        step=int(_number(last.get("step"), 0)),
        steps=int(_number(_inside(first, "plan", "steps"), 0)),
        started=_number(first.get("t"), 0),
        updated=_number(last.get("t"), 0),
        bytes=size,
    )


def processes_of(log: Path) -> int:
    """How many processes began the run, as far as its log says; else 1."""
    first = next(_events(log, 0), {})
    return max(1, int(_number(_inside(first, "hardware", "processes"), 1)))


def _status(log: Path, size: int, last: dict[str, Any], now: float) -> str:
    if last["kind"] == "run.end":
        return str(last.get("status"))
    if writer_alive(log) is False:
        return "gone"
    recent = _events(log, size, backwards=True)
    beat = next((event for event in recent if "expect_next_in" in event), {})
    promised_seconds = _number(beat.get("expect_next_in"), DEFAULT_BEAT_SECONDS)
    silent_seconds = now - _number(last.get("t"), now)
    if silent_seconds > PATIENCE * promised_seconds:
        return "stalled"
    return "paused" if beat.get("paused") is True else "running"


def _events(log: Path, offset: int, *, backwards: bool = False) -> Iterator[dict[str, Any]]:
    """The whole events of one chunk after `offset`, or before it and from its end."""
    start = max(0, offset - CHUNK_BYTES) if backwards else offset
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read(CHUNK_BYTES).split(b"\n")[:-1]
    for line in reversed(lines) if backwards else lines:
        if (event := parse(line)) is not None:
            yield event


def _inside(event: dict[str, Any], outer: str, inner: str) -> object:
    part = event.get(outer)
    return part.get(inner) if isinstance(part, dict) else None


def _number(value: object, default: float) -> float:
    """`value` if it is a number: a log from elsewhere must not break the list of all runs."""
    return value if isinstance(value, int | float) else default
