"""The runs in a directory: which there are, how each of them stands, and what is wrong with others.

A run is a directory that holds `events.jsonl`. Ids come from listing the directory, and a requested
id is looked up among them: no path is ever built from what a client sends. Links are not followed.

What lies there may come from anywhere. Of a log one piece from its start and one from its end are
read, and again when it has changed; what cannot be read is listed with its fault, and no run, by
whatever it holds, changes how another one is listed.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from gpu_runner.log.tail import (
    CHUNK_BYTES,
    LOG_NAME,
    MOST_LINE_BYTES,
    events_backwards,
    writer_alive,
)
from gpu_runner.log.writer import Clock
from gpu_runner.plain import NotPlain, open_plain, read_plain
from gpu_runner.text import printable
from unfrozen.events import DEFAULT_BEAT_SECONDS, PATIENCE
from unfrozen.schema.event_log import read_event, read_line

CONFIG_NAME: Final = "config.json"
"""Of a run of `train`, written before its log."""
UNREADABLE: Final = "unreadable"
NEW_SECONDS: Final = 120.0
"""A folder without an event may be a run that still loads; after this it is listed as a fault."""
MOST_LISTED: Final = 2000
MOST_AT_START: Final = 200
"""Lines among which the first event is looked for."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One line of `GET /api/runs`.

    `status` is that of `run.end`; before it `running`, `paused` (somebody asked it to), `stalled`
    (its process lives but is silent for longer than it promised) or `gone` (its process ended
    without a `run.end`). `started` and `updated` are Unix seconds; `steps` is 0 while the log does
    not say how many are planned. A folder that is no run, though it looks like one, is
    `unreadable`, and `problem` says why; it is "" for all others.
    """

    id: str
    status: str
    model: str = ""
    step: int = 0
    steps: int = 0
    started: float = 0.0
    updated: float = 0.0
    bytes: int = 0
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """What is sent of it; `problem` only where there is one."""
        found = asdict(self)
        return found if self.problem else {k: v for k, v in found.items() if k != "problem"}


@dataclass(frozen=True, slots=True)
class Told:
    """What a log says of its run in the two pieces of it that were read."""

    bytes: int
    model: str
    steps: int
    processes: int
    started: float
    step: int
    updated: float
    attempt: int
    ended: str
    """Status of its `run.end`, if that is its last event."""
    promised_seconds: float
    paused: bool


class RunIndex:
    """Looks a directory up each time it is asked; a directory that does not exist is empty."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[_Sign, Told | str]] = {}

    def logs(self) -> dict[str, Path]:
        """Every run id with the path of its log."""
        found = ((name, self._log(name)) for name, entry in self._folders() if _is_plain(entry))
        return {name: log for name, log in found if log is not None}

    def log(self, run_id: str) -> Path | None:
        """The log of `run_id`, or None when there is no such run."""
        named = (name for name, entry in self._folders() if name == run_id and _is_plain(entry))
        return next((self._log(name) for name in named), None)

    def problem(self, run_id: str) -> str:
        """Why the folder that is listed as `run_id` cannot be read; "" where there is none."""
        return next((info.problem for info in self.infos() if info.id == run_id), "")

    def infos(self) -> list[RunInfo]:
        """All runs, the newest first, then what cannot be read, with its fault."""
        with self._lock:  # one reader at a time, and the others find what it has read
            folders = list(self._folders())
            self._known = {n: self._known[n] for n, _ in folders if n in self._known}
            found = [info for name, entry in folders if (info := self._info(name, entry))]
        found.sort(key=lambda info: (bool(info.problem), -info.started, info.id))
        if (more := len(found) - MOST_LISTED) > 0:
            text = f"{more:,} more are not listed: move old ones into another folder"
            return [*found[:MOST_LISTED], RunInfo("", UNREADABLE, problem=text)]
        return found

    def _folders(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        try:
            with os.scandir(self._root) as entries:
                for entry in entries:
                    yield entry.name, entry
        except OSError:  # not there yet, or not ours to read
            return

    def _log(self, name: str) -> Path | None:
        """The path of its log if that is a plain file."""
        path = self._root / name / LOG_NAME
        try:
            return path if stat.S_ISREG(path.lstat().st_mode) else None
        except (OSError, ValueError):
            return None

    def _info(self, name: str, entry: os.DirEntry[str]) -> RunInfo | None:
        """One line of the list; None for what is no run at all."""
        try:
            if not entry.is_dir():
                return None
            if entry.is_symlink():
                return _fault(
                    name, "it is a link, which is not followed: give its folder as --runs"
                )
            if not _is_plain(entry):
                return _fault(name, "its name is not UTF-8: rename its folder")
            return self._described(name)
        except OSError as error:
            return _fault(name, f"it cannot be read ({error.strerror})")

    def _described(self, name: str) -> RunInfo | None:
        folder, now = self._root / name, self._clock.wall()
        log = folder / LOG_NAME
        try:
            sign = _sign(log)
        except FileNotFoundError:
            if not (folder / CONFIG_NAME).exists() or now - folder.stat().st_mtime < NEW_SECONDS:
                return None
            return _fault(name, f"it has no {LOG_NAME}: it ended before its first event")
        except NotPlain as error:
            return _fault(name, f"its {LOG_NAME}: {error.strerror}")
        if name not in self._known or self._known[name][0] != sign:
            self._known[name] = sign, read_told(log)
        told = self._known[name][1]
        if isinstance(told, Told):
            return _line(name, told, log, now)
        if not told and now - log.stat().st_mtime < NEW_SECONDS:
            return None
        return _fault(name, f"its {LOG_NAME}: {told or 'no whole event is in it'}", sign[1])


def describe(run_id: str, log: Path, now: float) -> RunInfo | None:
    """How the run in `log` stands at `now` (Unix seconds); None when it holds no whole event."""
    told = read_told(log)
    return _line(run_id, told, log, now) if isinstance(told, Told) else None


def read_told(log: Path) -> Told | str:
    """What a log says at its start and its end, or why that is nothing; "" for no whole line yet.

    Raises `OSError` for what cannot be opened.
    """
    *lines, rest = read_plain(log, CHUNK_BYTES).split(b"\n")
    verdicts = map(read_line, lines[:MOST_AT_START])
    heard = list(islice(verdicts, 1))
    first = next((one.value for one in chain(heard, verdicts) if one.value), None)
    recent = (
        event for raw in events_backwards(log, CHUNK_BYTES) if (event := read_event(raw).value)
    )
    last = next(recent, None)
    if first is None or last is None:
        long = len(rest) > MOST_LINE_BYTES
        problem = heard[0].problem if heard else ""
        return problem or (f"it has a line of more than {MOST_LINE_BYTES:,} bytes" if long else "")
    return _told(log, first, last, recent)


def processes_of(log: Path) -> int:
    """How many processes began the run, as far as its log says; else 1."""
    told = read_told(log)
    return told.processes if isinstance(told, Told) else 1


def _told(
    log: Path, first: dict[str, Any], last: dict[str, Any], before: Iterator[dict[str, Any]]
) -> Told:
    """From its first event, its last, and those before that, the newest first."""
    beat = last if "expect_next_in" in last else {}
    if last["kind"] != "run.end" and not beat:
        beat = next((event for event in before if "expect_next_in" in event), {})
    return Told(
        bytes=_sign(log)[1],
        model=first.get("model", {}).get("name", ""),
        steps=first.get("plan", {}).get("steps", 0),
        processes=first.get("hardware", {}).get("processes", 1),
        started=first["t"],
        step=last.get("step", 0),
        updated=last["t"],
        attempt=last["att"],
        ended=last["status"] if last["kind"] == "run.end" else "",
        promised_seconds=beat.get("expect_next_in", DEFAULT_BEAT_SECONDS),
        paused=beat.get("paused", False),
    )


def _line(name: str, told: Told, log: Path, now: float) -> RunInfo:
    return RunInfo(
        id=name,
        status=told.ended or _under_way(told, log, now),
        model=told.model,
        step=told.step,
        steps=max(told.steps, told.step) if told.steps else 0,  # resumed to a later end
        started=told.started,
        updated=told.updated,
        bytes=told.bytes,
    )


def _under_way(told: Told, log: Path, now: float) -> str:
    if writer_alive(log) is False:
        return "gone"
    if now - told.updated > PATIENCE * told.promised_seconds:
        return "stalled"
    return "paused" if told.paused else "running"


_Sign = tuple[int, int, int]


def _sign(log: Path) -> _Sign:
    """What changes with every write: which file it is, how long, and when it was written."""
    descriptor = open_plain(log)
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _is_plain(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, no link, under a name that can be sent."""
    try:
        entry.name.encode("utf-8")
        return entry.is_dir(follow_symlinks=False)
    except (OSError, UnicodeEncodeError):
        return False


def _fault(name: str, problem: str, size: int = 0) -> RunInfo:
    return RunInfo(printable(name), UNREADABLE, bytes=size, problem=problem)
