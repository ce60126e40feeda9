"""Write a run's events to `events.jsonl`: one JSON object a line, one `os.write` a line.

The log is the truth about a run. A kill −9 between two calls loses nothing that `emit` returned
`True` for, because a finished `write` belongs to the kernel and no longer to this process. A kill
inside a write leaves a torn last line; the next `EventLog` on that file ends it with a newline, and
every reader skips and counts it.

The trainer never waits for and never fails because of this file: when the disk is full the event is
counted as dropped, its `seq` stays used (so that readers see the gap), and the first line that fits
again says how many were lost. Such a log ends in a whole line. Some space is reserved in a file
without a name: it is given back when the disk is full, for alerts and the end of the run alone.
Wrong *names*, on the other hand, raise at once: they are mistakes in our own code, and a metric
under a misspelt name would vanish from the page without a sound.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, Protocol

from gpu_runner.errors import CheckpointError
from gpu_runner.locks import wait_for_lock
from gpu_runner.log.tail import LOG_NAME, MOST_DAMAGE_BYTES, is_line_start, last_event
from unfrozen.events import COMPONENTS, INSTANTS, KINDS, STATUSES, VERSION, unknown_metrics
from unfrozen.plain import UNTRUSTED, NotPlain, open_plain

MAX_LINE_BYTES: Final = 16 * 1024
RESERVED_BYTES: Final = 64 * 1024
ESSENTIAL: Final = ("alert", "run.end", "run.start", "run.resume")
"""Kinds that may fill the space that was reserved."""
LOCK_WAIT_SECONDS: Final = 0.5

# ASCII only: U+2028 and its kin end a line for some readers, and lone surrogates stay writable.
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":"), ensure_ascii=True).encode


class Clock(Protocol):
    """Where the time comes from: `SystemClock`, or one of a test."""

    def wall(self) -> float:
        """Seconds since 1970 (UTC)."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never jump back."""


class SystemClock:
    """The clock of this machine."""

    def wall(self) -> float:
        """Seconds since 1970 (UTC)."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never jump back."""
        return time.monotonic()


class Log(Protocol):
    """Where events go: `EventLog`, or `SilentLog` in every process but the first."""

    def emit(self, kind: str, step: int, **payload: object) -> bool:
        """Append one event; return whether it was written."""


class LogError(Exception):
    """The log cannot be opened, or an event uses a name that `unfrozen.events` does not know."""


class EventLog:
    """The one writer of one run's `events.jsonl`.

    `attempt=0` starts a new log and refuses a path that exists (`O_EXCL`). `attempt >= 1` continues
    an existing log after a resume: `seq` goes on where the file ends, and `att` is the larger of
    `attempt` and one more than the last attempt in the file. `report` is called with a sentence
    when an event is dropped for the first time.

    With `resumes=False` the attempt stays that of the last event: what is added tells of a run that
    is over. Raises `LogError` when a new log exists already, a resumed log does not, it belongs to
    another run, or another process is writing it.
    """

    def __init__(
        self,
        path: Path,
        *,
        run: str,
        clock: Clock,
        attempt: int = 0,
        report: Callable[[str], None] | None = None,
        resumes: bool = True,
    ) -> None:
        self.path = path
        self.run = run
        self.attempt = attempt
        self.begun = False  # it held a whole event when it was opened
        self.dropped = 0  # events that no write could store, all of them together
        self.cut = 0  # events that lost fields because their line was over MAX_LINE_BYTES
        self._clock = clock
        self._started = clock.monotonic()
        self._next_seq = 0
        self._unreported = 0  # dropped, not yet reported in the log
        self._reason = ""
        self._torn = False  # the file ends inside a line
        self._report = report
        self._reserve = -1  # a file of RESERVED_BYTES; −1 once its space was given back
        self._lock = threading.RLock()  # a finalizer may emit inside of a write
        self._fd = _open_new(path) if attempt == 0 else _open_again(path)
        try:
            _lock_for_writing(self._fd, path)
            if attempt:
                self._continue(resumes=resumes)
            self._reserve = _reserve_space(path)
        except BaseException:
            os.close(self._fd)
            raise

    def emit(self, kind: str, step: int, **payload: object) -> bool:
        """Append one event after `step` finished optimizer steps; True once it is in the file.

        Payload numbers may be non-finite: they are written as "NaN", "Infinity" or "-Infinity".
        Raises `LogError` for names outside `unfrozen.events`, never for a full or broken disk.
        """
        _check_names(kind, payload)
        with self._lock:
            if self._fd < 0:
                raise LogError(f"{self.path} is closed: {kind} at step {step} came too late")
            if self._is_short() and kind not in ESSENTIAL:
                self._drop()
                if self.dropped == 1:
                    self._report_drops(step)
                return False
            if self._unreported and not self._report_drops(step):
                self._drop()
                return False
            return self._append(kind, step, payload)

    def close(self) -> None:
        """Report drops if the disk allows it, flush to the device, close the file."""
        with self._lock:
            if self._fd < 0:
                return
            if self._unreported:
                self._report_drops(0)
            try:
                os.fsync(self._fd)
            except OSError as error:
                self._reason = error.strerror or str(error)
            os.close(self._fd)
            self._fd = -1
            self._give_back()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _continue(self, *, resumes: bool) -> None:
        size = os.fstat(self._fd).st_size
        self._torn = not is_line_start(self.path, size)
        last = last_event(self.path)
        if last is None and size > MOST_DAMAGE_BYTES:
            damage = f"the last {MOST_DAMAGE_BYTES:,} of the {size:,} bytes of {self.path}"
            raise LogError(f"{damage} hold no event: cut them off after its last whole line")
        if last is None:
            return
        self.begun = True
        if last["run"] != self.run:
            raise LogError(f"{self.path} is the log of run {last['run']}, not of {self.run}")
        self._next_seq = int(last["seq"]) + 1
        self.attempt = max(self.attempt, int(last["att"]) + 1) if resumes else int(last["att"])

    def _append(self, kind: str, step: int, payload: Mapping[str, object]) -> bool:
        line = self._line(kind, step, payload)
        too_long = len(line)
        if too_long <= MAX_LINE_BYTES:
            return self._write(line)
        line, names = self._cut_line(kind, step, dict(payload))
        written = self._write(line)
        text = (
            f"{kind} at step {step} was {too_long:,} bytes, more than the {MAX_LINE_BYTES:,} a line"
            f" may have. Left out: {', '.join(names)}."
        )
        self._write(self._line("alert", step, {"level": "warn", "text": text[:1000]}))
        return written

    def _cut_line(
        self, kind: str, step: int, payload: dict[str, object]
    ) -> tuple[bytes, list[str]]:
        """Return the same event without its largest fields, which it names under `cut`."""
        self.cut += 1
        names: list[str] = []
        while True:
            largest = max(payload, key=lambda name: len(_dumps(payload[name])))
            del payload[largest]
            names.append(largest[:80])
            line = self._line(kind, step, {**payload, "cut": names})
            if len(line) <= MAX_LINE_BYTES:
                return line, names

    def _line(self, kind: str, step: int, payload: Mapping[str, object]) -> bytes:
        event = {
            "v": VERSION,
            "run": self.run,
            "seq": self._next_seq,
            "att": self.attempt,
            "t": round(self._clock.wall(), 3),
            "rt": round(self._clock.monotonic() - self._started, 3),
            "kind": kind,
            "step": step,
            **payload,
        }
        return (_dumps(event) + "\n").encode("ascii")

    def _write(self, line: bytes) -> bool:
        """Give `line` to the kernel whole; on failure take back what it took, and count it.

        Where space was reserved, it is given back and the line is tried again.
        """
        data = b"\n" + line if self._torn else line
        if self._write_whole(data) or (self._give_back() and self._write_whole(data)):
            self._torn = False
            self._next_seq += 1
            return True
        self._drop()
        return False

    def _write_whole(self, data: bytes) -> bool:
        written = 0
        try:
            while written < len(data):  # the device may fill up inside the line
                written += os.write(self._fd, data[written:])
        except OSError as error:
            self._reason = error.strerror or str(error)
            self._take_back(written)
            return False
        return True

    def _take_back(self, written: int) -> None:
        """Cut off the first part of a line that was not written whole."""
        try:
            if written:
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
        except OSError:
            self._torn = True

    def _give_back(self) -> bool:
        """Give back the space that was reserved; return whether there was any."""
        if self._reserve < 0:
            return False
        os.ftruncate(self._reserve, 0)  # a forked process may have it open too
        os.close(self._reserve)
        self._reserve = -1
        return True

    def _is_short(self) -> bool:
        """Return whether the disk was full and has hardly more space than was reserved."""
        if self._reserve >= 0:
            return False
        disk = os.fstatvfs(self._fd)
        return disk.f_bavail * disk.f_frsize < 2 * RESERVED_BYTES

    def _drop(self) -> None:
        if not self.dropped and self._report is not None:
            self._report(
                f"{self.path} lacks what happens from here on, because it cannot be written"
                f" ({self._reason}). The run itself goes on."
            )
        self.dropped += 1
        self._unreported += 1
        self._next_seq += 1

    def _report_drops(self, step: int) -> bool:
        lost = self._unreported
        text = f"{lost} events were not written before this line: {self._reason}."
        if self._write(self._line("alert", step, {"level": "error", "text": text})):
            self._unreported = 0
            return True
        self.dropped -= 1  # the report itself is not an event of the run
        self._unreported -= 1
        self._next_seq -= 1
        return False


def _dumps(value: object) -> str:
    try:
        return _encode(value)
    except ValueError:  # a non-finite number somewhere: rare, so the walk is paid only then
        return _encode(_spelled(value))


def _spelled(value: object) -> object:
    """`value` with non-finite numbers as the strings that JavaScript's `Number()` understands."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    return value


def _check_names(kind: str, payload: Mapping[str, object]) -> None:
    if kind not in KINDS:
        raise LogError(f"unknown event kind {kind!r}: one of {', '.join(KINDS)}")
    metrics = payload.get("m")
    if isinstance(metrics, Mapping) and (unknown := unknown_metrics(metrics)):
        listed = ", ".join(unknown)
        raise LogError(f"unknown metric {listed}: add it to unfrozen.events.METRICS first")
    if kind == "mem":
        components = payload.get("components")
        names = set(components) if isinstance(components, Mapping) else set()
        if payload.get("instant") not in INSTANTS or not names <= COMPONENTS.keys():
            raise LogError(
                f"mem at {payload.get('instant')!r} with {sorted(names)}: instants are"
                f" {', '.join(INSTANTS)}; components are {', '.join(COMPONENTS)}"
            )
    if kind == "run.end" and payload.get("status") not in STATUSES:
        raise LogError(f"run.end status {payload.get('status')!r}: one of {', '.join(STATUSES)}")


def _open_new(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | UNTRUSTED
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError:
        raise LogError(f"{path} exists: choose another run id, or resume that run") from None


def _open_again(path: Path) -> int:
    try:
        return open_plain(path, os.O_RDWR | os.O_APPEND)
    except FileNotFoundError:
        raise LogError(f"{path} does not exist: there is no run to resume") from None
    except NotPlain as error:
        raise LogError(f"{path}: {error.strerror}") from None


def _reserve_space(path: Path) -> int:
    """Return a file without a name that takes RESERVED_BYTES beside the log; −1 where none can."""
    try:
        with tempfile.TemporaryFile(dir=path.parent, buffering=0) as file:
            file.write(os.urandom(RESERVED_BYTES))  # zeros would be compressed
            return os.dup(file.fileno())
    except OSError:
        return -1


def _lock_for_writing(fd: int, path: Path) -> None:
    """Hold an advisory lock: one writer a file, and readers can ask whether it still lives."""
    if wait_for_lock(fd, LOCK_WAIT_SECONDS) is False:  # a reader may hold it for a moment to ask
        raise LogError(f"{path} is being written by another process: stop it first")


class SilentLog:
    """The log of every process but the first, which writes nothing."""

    def emit(self, kind: str, step: int, **payload: object) -> bool:
        """Write nothing; return True."""
        del kind, step, payload
        return True


def open_log(directory: Path, attempt: int, *, first: bool) -> AbstractContextManager[Log]:
    """Open the log of the run in `directory`, a new one for attempt 0. Raises `CheckpointError`."""
    if not first:
        return nullcontext(SilentLog())
    try:
        path = directory / LOG_NAME
        return EventLog(path, run=directory.name, clock=SystemClock(), attempt=attempt)
    except LogError as error:
        raise CheckpointError(str(error)) from None


def log_later(
    directory: Path, kind: str, step: int, payloads: Iterable[Mapping[str, object]]
) -> str:
    """Append events to the log of a run that is over, to its last attempt.

    Return why they are not there; "" if they are.
    """
    path = directory / LOG_NAME
    try:
        last = last_event(path)
        if last is None:
            return f"{path} holds no event"
        named = {"run": last["run"], "clock": SystemClock()}
        with EventLog(path, attempt=1, resumes=False, **named) as log:
            written = [log.emit(kind, step, **payload) for payload in payloads]
        return "" if all(written) else f"{path} cannot be written"
    except (OSError, LogError) as error:
        return str(error)
