"""The runs in a directory: which there are, the status of each, and what is wrong with others.

A run is a directory that holds `events.jsonl`. Ids come from listing the directory, and a requested
id is looked up among them: no path is ever built from what a client sends. Links are not followed.

The files may come from anywhere. Of a log one piece from its start and a few from its end are read,
and again when it has changed; what cannot be read is listed with its problem, and no run, whatever
it holds, changes how another one is listed. Who asks again gets what has changed since.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import Any, Final

from gpu_runner.errors import UsageError
from gpu_runner.log.tail import (
    CHUNK_BYTES,
    LOG_NAME,
    MOST_LINE_BYTES,
    lines_backwards,
    parse,
    writer_alive,
)
from gpu_runner.log.writer import Clock
from gpu_runner.text import printable
from unfrozen.events import DEFAULT_BEAT_SECONDS, LIVE_STATUSES, PATIENCE
from unfrozen.plain import NotPlain, read_plain
from unfrozen.schema.event_log import read_event, read_line

CONFIG_NAME: Final = "config.json"
"""Settings of a run of `train`, written before its log."""
UNREADABLE: Final = "unreadable"
NEW_SECONDS: Final = 120.0
"""A folder without an event may be a run that still loads; later it counts as unreadable."""
ANSWER_SECONDS: Final = 0.1
"""The time for reading new logs before a page gets an answer and asks again."""
MOST_AT_START: Final = 200
"""Lines among which the first event is looked for."""
MOST_BACK_BYTES: Final = 4 * CHUNK_BYTES
"""The end of a log that is searched for its newest evaluations."""
SUITES: Final = ("task", "general")
MOST_TEXT: Final = 256
_PEAKS: Final = re.compile(rb'"(?:mem|predicted)"')
_TOLD: Final = re.compile(rb'"(?:mem|eval|expect_next_in)"')
"""The lines that say how a run stands, at the start of its log and at its end."""


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
    data: str = ""
    tool: str = ""
    """What trained it, where that was not `train`: a watched loop, or the tool it is imported from.
    """
    task: dict[str, Any] | None = None
    """At its newest evaluation: `loss`, `delta` since the first, rows that are `right` `of` all."""
    general: dict[str, Any] | None = None
    peak_bytes: int = 0
    predicted_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return what is sent of it; what nothing is known of is left out."""
        found = asdict(self)
        return {k: v for k, v in found.items() if v or k in _ALWAYS}

    def recorded(self) -> dict[str, Any]:
        """Return what a list of recordings says of it beside title and description."""
        return {k: v for k, v in self.as_json().items() if k not in _OF_A_FOLDER}


_OF_A_FOLDER: Final = ("id", "status", "bytes", "problem")
_ALWAYS: Final = ("id", "status", "model", "step", "steps", "started", "updated", "bytes")


@dataclass(frozen=True, slots=True)
class LogSummary:
    """The state of a run by the two pieces of its log that were read."""

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
    data: str = ""
    tool: str = ""
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    peak_bytes: int = 0
    predicted_bytes: int = 0


class RunIndex:
    """Lists a directory each time it is asked; a directory that does not exist is empty."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[_Sign, LogSummary | str]] = {}
        self._left, self._unread = math.inf, 0
        self._life = secrets.token_hex(4)
        self._version = 0
        self._sent: dict[str, tuple[int, RunInfo | None]] = {}
        """By id the version in which a run last changed, and how it was; None: it is gone."""

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
        with self._lock:
            self._left = math.inf
            named = (each for each in self._folders() if printable(each[0]) == run_id)
            return next((info.problem for each in named if (info := self._info(*each))), "")

    def ended_run(self, run_id: str) -> Path:
        """Return the folder of a run that is over. Raises `UsageError` for another, or for none."""
        if (log := self.log(run_id)) is None:
            raise UsageError(f"There is no run {run_id!r} in {self._root}.")
        info = describe(run_id, log, self._clock.wall())
        if writer_alive(log) or (info is not None and info.status in LIVE_STATUSES):
            raise UsageError(
                f"Run {run_id} is {info.status if info else 'starting'}: stop it first."
            )
        return log.parent

    def infos(self) -> list[RunInfo]:
        """Return all runs, the newest first, then what cannot be read, with its problem."""
        self.read_ahead()
        return self._list(math.inf)[0]

    def _list(self, seconds: float) -> tuple[list[RunInfo], int]:
        """Return what is listed, and how many logs have to wait, because reading took so long."""
        with self._lock:  # one reader at a time, and the others find what it has read
            self._left, self._unread = seconds, 0
            folders = sorted(self._folders(), key=_changed, reverse=True)
            there = {name for name, _ in folders}
            self._known = {n: known for n, known in self._known.items() if n in there}
            found = [info for name, entry in folders if (info := self._info(name, entry))]
            unread = self._unread
        found.sort(key=lambda info: (bool(info.problem), -info.started, info.id))
        return found, unread

    def read_ahead(self) -> None:
        """Read every log once, the newest first; who asks meanwhile waits for one of them."""
        for name, entry in sorted(self._folders(), key=_changed, reverse=True):
            if name in self._known:
                continue
            with self._lock:
                self._left = math.inf
                self._info(name, entry)
            time.sleep(0.001)  # a lock that is free for no time is taken by nobody else

    def changes(self, after: str) -> dict[str, Any]:
        """Return the lines that have changed since the answer of version `after`, and what is gone.

        All lines where that was no answer of this index; there is `more` where the time was short.
        """
        listed, unread = self._list(ANSWER_SECONDS)
        infos = {info.id: info for info in listed}
        with self._lock:
            new: dict[str, RunInfo | None] = dict.fromkeys(self._sent.keys() - infos.keys())
            new = {n: i for n, i in (new | infos).items() if self._sent.get(n, (0, None))[1] != i}
            if new:
                self._version += 1
                self._sent |= {name: (self._version, info) for name, info in new.items()}
            life, _, number = after.partition(".")
            is_ours = life == self._life and number.isdecimal() and len(number) < 16
            since = int(number) if is_ours else 0
            found = {n: info for n, (at, info) in self._sent.items() if at > since}
            return {
                "version": f"{self._life}.{self._version}",
                "whole": since == 0,
                "more": unread > 0,
                "runs": [info.as_json() for info in found.values() if info is not None],
                "gone": [name for name, info in found.items() if info is None],
            }

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
            return self._described(name, entry.path)
        except OSError as error:
            return _unreadable(name, f"it cannot be read ({error.strerror})")

    def _described(self, name: str, place: str) -> RunInfo | None:
        folder, now = Path(place), self._clock.wall()
        try:
            sign = file_sign(f"{place}/{LOG_NAME}")
        except FileNotFoundError:
            if not (folder / CONFIG_NAME).exists() or now - folder.stat().st_mtime < NEW_SECONDS:
                return None
            return _unreadable(name, f"it has no {LOG_NAME}: it ended before its first event")
        if name not in self._known and self._left <= 0:
            self._unread += 1
            return None
        if name not in self._known or self._known[name][0] != sign:
            begun = self._clock.monotonic()
            before = self._known.get(name, (sign, ""))
            grown = before[0][0] == sign[0] and before[0][1] < sign[1]
            try:
                summary = read_summary(folder / LOG_NAME, before[1] if grown else "")
                self._known[name] = sign, summary
            except NotPlain as error:
                return _unreadable(name, f"its {LOG_NAME}: {error.strerror}")
            self._left -= self._clock.monotonic() - begun
        summary = self._known[name][1]
        if isinstance(summary, LogSummary):
            return _info_of(name, summary, folder, now)
        if not summary and now - sign[2] / 1e9 < NEW_SECONDS:
            return None
        return _unreadable(name, f"its {LOG_NAME}: {summary or 'no whole event is in it'}", sign[1])


def describe(run_id: str, log: Path, now: float) -> RunInfo | None:
    """Return the run in `log` at `now` (Unix seconds); None when it holds no whole event."""
    summary = read_summary(log)
    return _info_of(run_id, summary, log.parent, now) if isinstance(summary, LogSummary) else None


def read_summary(log: Path, before: LogSummary | str = "") -> LogSummary | str:
    """Summarize a log by its start and its end, or return why not; "" for no whole line yet.

    `before` is its summary when it was shorter. Raises `OSError` for what cannot be opened.
    """
    *lines, rest = read_plain(log, CHUNK_BYTES).split(b"\n")
    verdicts = map(read_line, lines[:MOST_AT_START])
    opening = list(islice(verdicts, 1))
    first = next((one.value for one in chain(opening, verdicts) if one.value), None)
    ending = _read_ending(log)
    if first is None or not ending:
        long = len(rest) > MOST_LINE_BYTES
        problem = opening[0].problem if opening else ""
        return problem or (f"it has a line of more than {MOST_LINE_BYTES:,} bytes" if long else "")
    told = [event for line in lines[1:] if _PEAKS.search(line) and (event := _event(line))]
    known = before if isinstance(before, LogSummary) else None
    return _summarize(file_sign(log)[1], first, [*ending, *reversed(told)], known)


def _read_ending(log: Path) -> list[dict[str, Any]]:
    """Return the last event, and those before it that say how the run stands, the newest first.

    It looks no further back than to the newest evaluations.
    """
    found: list[dict[str, Any]] = []
    missing = set(SUITES)
    for line in lines_backwards(log, MOST_BACK_BYTES):
        if (found and not _TOLD.search(line)) or (event := _event(line)) is None:
            continue
        if event["kind"] == "blend":  # it came after the run
            continue
        found.append(event)
        missing.discard(event.get("suite", ""))
        if not missing:
            break
    return found


def _event(line: bytes) -> dict[str, Any] | None:
    """Return the event in a line, if it has its shape."""
    event = parse(line)
    return None if event is None else read_event(event).value


def processes_of(log: Path) -> int:
    """Return how many processes launched the run, as far as its log says; else 1."""
    summary = read_summary(log)
    return summary.processes if isinstance(summary, LogSummary) else 1


def _summarize(
    size: int, first: dict[str, Any], told: list[dict[str, Any]], before: LogSummary | None
) -> LogSummary:
    """Summarize from its first event and from others that tell something, the newest first."""
    last = told[0]
    beat = next((event for event in told if "expect_next_in" in event), {})
    ended = last["status"] if last["kind"] == "run.end" else ""
    scores = before.scores if before else {}
    for suite in SUITES:
        if event := next((event for event in told if event.get("suite") == suite), None):
            right = {k: v for k, v in event.get("exact", {}).items() if k in ("right", "of")}
            scores = scores | {
                suite: {k: event[k] for k in ("loss", "delta") if k in event} | right
            }
    peaks = [event["total_bytes"] for event in told if event["kind"] == "mem"]
    summary = last.get("summary")
    peak = summary.get("measured_peak_bytes") if isinstance(summary, dict) else None
    peaks += [peak] if type(peak) is int else []
    predicted: dict[str, Any] = next(
        (event["predicted"] for event in (*told, first) if "predicted" in event), {}
    )
    config = first.get("config")
    data = config.get("data") if isinstance(config, dict) else None
    return LogSummary(
        bytes=size,
        model=_model(first),
        steps=first.get("plan", {}).get("steps", 0),
        processes=first.get("hardware", {}).get("processes", 1),
        started=first["t"],
        step=last.get("step", 0),
        updated=last["t"],
        attempt=last["att"],
        ended=ended,
        promised_seconds=beat.get("expect_next_in", DEFAULT_BEAT_SECONDS),
        paused=beat.get("paused", False),
        data=PurePath(data).name[:MOST_TEXT] if isinstance(data, str) else "",
        tool=_tool(first)[:MOST_TEXT],
        scores=scores,
        peak_bytes=max([*peaks, before.peak_bytes if before else 0]),
        predicted_bytes=predicted.get("peak_bytes", 0),
    )


def _model(first: dict[str, Any]) -> str:
    """Return the name of its model; of one that was loaded from a folder, the folder's name."""
    name: str = first.get("model", {}).get("name", "")
    return (PurePath(name).name or name) if name.startswith(("/", "~", ".")) else name


def _tool(first: dict[str, Any]) -> str:
    """Return which watched trainer, or which other tool, logged a run; "" for one of `train`."""
    kind = first.get("source", "")
    name = first.get("trainer" if kind == "watched" else "tool", "")
    return f"{kind}: {name}" if kind and name else kind


def _info_of(name: str, summary: LogSummary, folder: Path, now: float) -> RunInfo:
    return RunInfo(
        id=name,
        status=summary.ended or _live_status(summary, folder / LOG_NAME, now),
        model=summary.model,
        step=summary.step,
        steps=max(summary.steps, summary.step) if summary.steps else 0,  # resumed to a later end
        started=summary.started,
        updated=summary.updated,
        bytes=summary.bytes,
        data=summary.data,
        tool=summary.tool,
        task=summary.scores.get("task"),
        general=summary.scores.get("general"),
        peak_bytes=summary.peak_bytes,
        predicted_bytes=summary.predicted_bytes,
    )


def _live_status(summary: LogSummary, log: Path, now: float) -> str:
    if writer_alive(log) is False:
        return "gone"
    if now - summary.updated > PATIENCE * summary.promised_seconds:
        return "stalled"
    return "paused" if summary.paused else "running"


_Sign = tuple[int, int, int]


def file_sign(file: str | Path) -> _Sign:
    """Return what changes with every write: which file it is, its size and modification time."""
    found = os.lstat(file)  # of a text: thousands are looked at again and again
    return found.st_ino, found.st_size, found.st_mtime_ns


def _changed(folder: tuple[str, os.DirEntry[str]]) -> float:
    """Return when something was last created in a folder: those of newer runs are read first."""
    try:
        return folder[1].stat(follow_symlinks=False).st_mtime
    except OSError:
        return 0.0


def _is_plain(entry: os.DirEntry[str]) -> bool:
    """Return whether it is a folder, no link, under a name that can be sent."""
    try:
        entry.name.encode("utf-8")
        return entry.is_dir(follow_symlinks=False)
    except (OSError, UnicodeEncodeError):
        return False


def _unreadable(name: str, problem: str, size: int = 0) -> RunInfo:
    return RunInfo(printable(name), UNREADABLE, bytes=size, problem=problem)
