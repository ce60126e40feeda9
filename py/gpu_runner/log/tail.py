"""Read a run's `events.jsonl` while it grows: by byte offset, without queues, a piece at a time.

The state of a reader is one number, the offset after the last line it took. A slow reader is
a small number, not a full buffer; a reconnect is the same number sent again.

A line without its newline is a line still being written: wait. A line with its newline that is not
a JSON object was torn by a kill: skip it and count it. A line longer than `MOST_LINE_BYTES` is
damage whatever it holds, and is passed over a piece at a time: no file can make a reader hold more
than a piece of it, or read a byte of it twice.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from gpu_runner.locks import try_lock
from unfrozen.plain import open_plain, read_plain
from unfrozen.schema.event_log import MAX_LINE_LENGTH

LOG_NAME: Final = "events.jsonl"
CHUNK_BYTES: Final = 256 * 1024
MOST_LINE_BYTES: Final = MAX_LINE_LENGTH
MOST_DAMAGE_BYTES: Final = 64 * 1024 * 1024
"""The last event of a log is looked for in this much of its end."""
_HEAD: Final = {"run": str, "seq": int, "att": int, "kind": str}


@dataclass
class Tail:
    """A cursor into one log: `offset` is the byte after the last whole line that was read."""

    path: Path
    offset: int = 0
    bad_lines: int = field(default=0, init=False)
    _long: bool = field(default=False, init=False)
    """Whether `offset` lies inside a line that is too long, and was counted."""
    _size: int = field(default=-1, init=False)
    """The size of the file when no whole line was in it; see `has_grown`."""

    def has_grown(self) -> bool:
        """Return whether reading may give something. Asks for the size only. Raises `OSError`."""
        return self.path.stat(follow_symlinks=False).st_size not in (self.offset, self._size)

    def read(self) -> list[tuple[int, bytes]]:
        """The whole lines that lie ready, at most CHUNK_BYTES of them, as (offset after, line).

        An empty list means that nothing whole has arrived, or, where `offset` has moved, nothing
        but damage. Lines come without their newline. Raises `OSError`.
        """
        data = read_plain(self.path, CHUNK_BYTES, self.offset)
        *whole, rest = data.split(b"\n")
        self._size = -1 if whole else self.offset + len(data)
        known = not self._long and are_events(whole)
        lines = [line for piece in whole if (line := self._take(piece, known)) is not None]
        if len(rest) > MOST_LINE_BYTES or self._long:
            self._pass_over(rest)
        return lines

    def _take(self, piece: bytes, known: bool) -> tuple[int, bytes] | None:
        """A line, `known` to be an event, or the end of a long one; None for damage."""
        self.offset += len(piece) + 1
        if self._long:  # it was counted at its start
            self._long = False
            return None
        if not known and parse(piece) is None:
            self.bad_lines += 1
            return None
        return self.offset, piece

    def _pass_over(self, rest: bytes) -> None:
        self.bad_lines += not self._long
        self._long = True
        self.offset += len(rest)


def parse(line: bytes) -> dict[str, Any] | None:
    """The event in `line`, or None when it is damaged (not JSON, or not an event).

    Its head is what it should be; what else it holds is for `unfrozen.schema` to check.
    """
    if len(line) > MOST_LINE_BYTES or not line.startswith(b"{"):
        return None
    try:
        event = _decode(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return event if _has_head(event) else None


def are_events(lines: list[bytes]) -> bool:
    """Return whether every line holds an event; decoded in one call, in a third of the time.

    Between two lines stands a number that nobody can foresee: torn lines cannot pass as others.
    """
    if not all(line.startswith(b"{") and len(line) <= MOST_LINE_BYTES for line in lines):
        return False
    between = secrets.randbits(60)
    try:
        found = _decode_roughly(f"[{f',{between},'.join(map(bytes.decode, lines))}]")
    except (ValueError, RecursionError):
        return False
    whole = len(found) == max(0, 2 * len(lines) - 1) and found[1::2] == [between] * (len(lines) - 1)
    return whole and all(type(event) is dict and _has_head(event) for event in found[::2])


def _has_head(event: dict[str, Any]) -> bool:
    return all(type(event.get(name)) is kind for name, kind in _HEAD.items())


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)


_decode: Final = json.JSONDecoder(parse_constant=_no_number).decode
_decode_roughly: Final = json.JSONDecoder(parse_constant=_no_number, parse_float=str).decode


def event_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of all whole events of a log, from its beginning. Raises `OSError`."""
    tail, begun = Tail(path), -1
    while tail.offset > begun:
        begun = tail.offset
        yield from (line for _, line in tail.read())


def last_event(path: Path, within: int = MOST_DAMAGE_BYTES) -> dict[str, Any] | None:
    """The last whole event of a log, or None when it holds none in its last `within` bytes."""
    return next(events_backwards(path, within), None)


def events_backwards(path: Path, within: int) -> Iterator[dict[str, Any]]:
    """The whole events in the last `within` bytes of a log, from its end."""
    for line in lines_backwards(path, within):
        if (event := parse(line)) is not None:
            yield event


def last_value(path: Path, metric: str, within: int = 8 * CHUNK_BYTES) -> float | None:
    """The newest finite value of a metric in the last `within` bytes of a log; None without one."""
    for event in events_backwards(path, within):
        values = event.get("m")
        value = values.get(metric) if isinstance(values, dict) else None
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    return None


def lines_backwards(path: Path, within: int) -> Iterator[bytes]:
    """Lines that end in a newline, the last one first; long ones come cut, and so as damage."""
    descriptor = open_plain(path)
    try:
        end = os.fstat(descriptor).st_size
        low = max(0, end - within)
        rest: bytes | None = None  # the end of a line whose start lies before; None: not whole
        while end > low:
            start = max(low, end - CHUNK_BYTES)
            os.lseek(descriptor, start, os.SEEK_SET)
            first, *others = os.read(descriptor, end - start).split(b"\n")
            end = start
            if not others:
                rest = None if rest is None else (first + rest)[-MOST_LINE_BYTES - 1 :]
                continue
            last = others.pop()
            if rest is not None:
                yield last + rest
            yield from reversed(others)
            rest = first[-MOST_LINE_BYTES - 1 :]
        if low == 0 and rest is not None:
            yield rest
    finally:
        os.close(descriptor)


def is_line_start(path: Path, offset: int) -> bool:
    """Return whether a line begins at `offset`, so that a reader may continue there."""
    return offset == 0 or read_plain(path, 1, offset - 1) == b"\n"


def writer_alive(log: Path) -> bool | None:
    """Return whether a process holds the log open for writing; None where the system cannot tell.

    `EventLog` holds an advisory lock as long as its process lives, so kill −9 releases it.
    """
    fd = open_plain(log)
    free = try_lock(fd, shared=True)
    os.close(fd)  # releases the lock, if it was taken
    return None if free is None else not free


OUTLINE_BYTES: Final = 256 * 1024
"""Bytes of metrics in an outline; evaluations, the machine and all others get as many each."""
MOST_OUTLINED_BYTES: Final = 4 * 2**30
"""The size of the longest log that is read for its outline."""
_TOGETHER: Final = 64  # lines of a step: more are not evaluations
_METRICS: Final = b'"kind":"metrics"'
_REPEATED: Final = re.compile(rb'"kind":"(?:(eval|drift)|sys|beat)","step":(\d+)')


def outline(path: Path) -> bytes:
    """A log as it is now in about a megabyte: of lines that are too many some, evenly spread.

    The last ones are always among them. It is what a reader who looks at many long logs sees first.
    Damaged lines are for `parse` to find. Raises `OSError`.
    """
    size = path.stat(follow_symlinks=False).st_size
    if size > MOST_OUTLINED_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MOST_OUTLINED_BYTES // 2**30} GiB")
    every = 1 + size // OUTLINE_BYTES
    kept: dict[int, bytes] = {}
    scores, machine, others = _Spread(), _Spread(), _Spread()
    count, offset, rest, last = 0, 0, b"", (-1, b"")
    while data := read_plain(path, 4 * CHUNK_BYTES, offset):
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[-MOST_LINE_BYTES - 1 :]
        rare = {place: line for place, line in enumerate(lines) if _METRICS not in line}
        for place, line in rare.items():
            if found := _REPEATED.search(line):
                (scores if found[1] else machine).add(count + place, line, found[2])
            elif len(line) <= MOST_LINE_BYTES:
                others.add(count + place, line, b"%d" % (count + place))
        for place in range(-count % every, len(lines), every):
            if place not in rare and len(lines[place]) <= MOST_LINE_BYTES:
                kept[count + place] = lines[place]
        place = next((n for n in range(len(lines) - 1, -1, -1) if n not in rare), -1)
        last = (count + place, lines[place]) if place >= 0 else last
        count += len(lines)
        offset += len(data)
    kept |= dict([*scores.lines(), *machine.lines(), *others.lines()])
    kept |= {last[0]: last[1]} if last[0] >= 0 else {}
    return b"".join(b"%s\n" % kept[number] for number in sorted(kept))


class _Spread:
    """Groups of lines, evenly spread: every second one goes whenever they have become too many."""

    def __init__(self) -> None:
        self._groups: list[list[tuple[int, bytes]]] = []
        self._last: list[tuple[int, bytes]] = []
        self._step = b""
        self._every, self._seen, self._size = 1, -1, 0

    def add(self, number: int, line: bytes, step: bytes) -> None:
        """Take the line of that number; lines of one step stay together."""
        if step != self._step or len(self._last) == _TOGETHER:
            self._step, self._last = step, []
            self._seen += 1
            if self._seen % self._every == 0:
                self._groups.append(self._last)
        self._last.append((number, line))
        self._size += len(line) * (self._seen % self._every == 0)
        if self._size > OUTLINE_BYTES:
            self._every *= 2
            self._groups = self._groups[::2]
            self._size = sum(len(line) for group in self._groups for _, line in group)

    def lines(self) -> list[tuple[int, bytes]]:
        """Return what was kept, and the last group."""
        return [pair for group in (*self._groups, self._last) for pair in group]
