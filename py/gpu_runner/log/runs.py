"""The runs in a directory: which there are, the status of each, and what is wrong with others.

A run is a directory that holds `events.jsonl`. Ids come from listing the directory, and a requested
id is looked up among them: no path is ever built from what a client sends. Links are not followed.

The files may come from anywhere. Of a log one piece from its start and one from its end are read,
and again when it has changed; what cannot be read is listed with its problem, and no run, whatever
it holds, changes how another one is listed.
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
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
"""Settings of a run of `train`, written before its log."""
RUN_ID_ENV: Final = "UNFROZEN_RUN_ID"
"""By this environment variable `serve` gives a run that it launches the id it will have."""
UNREADABLE: Final = "unreadable"
NEW_SECONDS: Final = 120.0
"""A folder without an event may be a run that still loads; later it counts as unreadable."""
MOST_LISTED: Final = 2000
MOST_AT_START: Final = 200
"""Lines among which the first event is looked for."""


def new_run_id() -> str:
    """Return a fresh id: the date, the time and four random hex digits."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One line of `GET /api/runs`.

    `status` is that of `run.end`; before it `running`, `paused` (on command), `stalled` (its
    process lives but is silent for longer than it announced) or `gone` (its process ended without
    a `run.end`). `started` and `updated` are Unix seconds; `steps` is 0 while the log does
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
        """Return what is sent of it; `problem` only where there is one."""
        found = asdict(self)
        return found if self.problem else {k: v for k, v in found.items() if k != "problem"}


@dataclass(frozen=True, slots=True)
class LogSummary:
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
    """Lists a directory each time it is asked; a directory that does not exist is empty."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[_Sign, LogSummary | str]] = {}

    def logs(self) -> dict[str, Path]:
        """Return every run id with the path of its log."""
        found = ((name, self._log(name)) for name, entry in self._folders() if _is_plain(entry))
        return {name: log for name, log in found if log is not None}

    def log(self, run_id: str) -> Path | None:
        """Return the log of `run_id`, or None when there is no such run."""
        named = (name for name, entry in self._folders() if name == run_id and _is_plain(entry))
        return next((self._log(name) for name in named), None)

    def problem(self, run_id: str) -> str:
        """Return why the folder that is listed as `run_id` cannot be read; "" if it can."""
        return next((info.problem for info in self.infos() if info.id == run_id), "")

    def infos(self) -> list[RunInfo]:
        """Return all runs, the newest first, then what cannot be read, with its problem."""
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
        """Return the path of its log if that is a plain file."""
        path = self._root / name / LOG_NAME
        try:
            return path if stat.S_ISREG(path.lstat().st_mode) else None
        except (OSError, ValueError):
            return None

    def _info(self, name: str, entry: os.DirEntry[str]) -> RunInfo | None:
        """Return one line of the list; None for what is no run at all."""
        try:
            if not entry.is_dir():
                return None
            if entry.is_symlink():
                return _unreadable(
                    name, "it is a link, which is not followed: give its folder as --runs"
                )
            if not _is_plain(entry):
                return _unreadable(name, "its name is not UTF-8: rename its folder")
            return self._described(name)
        except OSError as error:
            return _unreadable(name, f"it cannot be read ({error.strerror})")

    def _described(self, name: str) -> RunInfo | None:
        folder, now = self._root / name, self._clock.wall()
        log = folder / LOG_NAME
        try:
            sign = _sign(log)
        except FileNotFoundError:
            if not (folder / CONFIG_NAME).exists() or now - folder.stat().st_mtime < NEW_SECONDS:
                return None
            return _unreadable(name, f"it has no {LOG_NAME}: it ended before its first event")
        except NotPlain as error:
            return _unreadable(name, f"its {LOG_NAME}: {error.strerror}")
        if name not in self._known or self._known[name][0] != sign:
            self._known[name] = sign, read_summary(log)
        summary = self._known[name][1]
        if isinstance(summary, LogSummary):
            return _info_of(name, summary, log, now)
        if not summary and now - log.stat().st_mtime < NEW_SECONDS:
            return None
        return _unreadable(name, f"its {LOG_NAME}: {summary or 'no whole event is in it'}", sign[1])


def describe(run_id: str, log: Path, now: float) -> RunInfo | None:
    """Return the run in `log` at `now` (Unix seconds); None when it holds no whole event."""
    summary = read_summary(log)
    return _info_of(run_id, summary, log, now) if isinstance(summary, LogSummary) else None


def read_summary(log: Path) -> LogSummary | str:
    """Summarize a log by its start and its end, or return why not; "" for no whole line yet.

    Raises `OSError` for what cannot be opened.
    """
    *lines, rest = read_plain(log, CHUNK_BYTES).split(b"\n")
    verdicts = map(read_line, lines[:MOST_AT_START])
    opening = list(islice(verdicts, 1))
    first = next((one.value for one in chain(opening, verdicts) if one.value), None)
    recent = (
        event for raw in events_backwards(log, CHUNK_BYTES) if (event := read_event(raw).value)
    )
    last = next(recent, None)
    if first is None or last is None:
        long = len(rest) > MOST_LINE_BYTES
        problem = opening[0].problem if opening else ""
        return problem or (f"it has a line of more than {MOST_LINE_BYTES:,} bytes" if long else "")
    return _summarize(log, first, last, recent)


def processes_of(log: Path) -> int:
    """Return how many processes launched the run, as far as its log says; else 1."""
    summary = read_summary(log)
    return summary.processes if isinstance(summary, LogSummary) else 1


def _summarize(
    log: Path, first: dict[str, Any], last: dict[str, Any], before: Iterator[dict[str, Any]]
) -> LogSummary:
    """Summarize from its first event, its last, and those before that, the newest first."""
    beat = last if "expect_next_in" in last else {}
    if last["kind"] != "run.end" and not beat:
        beat = next((event for event in before if "expect_next_in" in event), {})
    return LogSummary(
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


def _info_of(name: str, summary: LogSummary, log: Path, now: float) -> RunInfo:
    return RunInfo(
        id=name,
        status=summary.ended or _live_status(summary, log, now),
        model=summary.model,
        step=summary.step,
        steps=max(summary.steps, summary.step) if summary.steps else 0,  # resumed to a later end
        started=summary.started,
        updated=summary.updated,
        bytes=summary.bytes,
    )


def _live_status(summary: LogSummary, log: Path, now: float) -> str:
    if writer_alive(log) is False:
        return "gone"
    if now - summary.updated > PATIENCE * summary.promised_seconds:
        return "stalled"
    return "paused" if summary.paused else "running"


_Sign = tuple[int, int, int]


def _sign(log: Path) -> _Sign:
    """Return what changes with every write: which file it is, its size and modification time."""
    descriptor = open_plain(log)
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _is_plain(entry: os.DirEntry[str]) -> bool:
    """Return whether it is a folder, no link, under a name that can be sent."""
    try:
        entry.name.encode("utf-8")
        return entry.is_dir(follow_symlinks=False)
    except (OSError, UnicodeEncodeError):
        return False


def _unreadable(name: str, problem: str, size: int = 0) -> RunInfo:
    return RunInfo(printable(name), UNREADABLE, bytes=size, problem=problem)
