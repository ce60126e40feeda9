"""Read a run's `events.jsonl` while it grows: by byte offset, without queues.

The state of a reader is one number, the offset after the last line it took. A slow reader is
a small number, not a full buffer; a reconnect is the same number sent again.

A line without its newline is a line still being written: wait. A line with its newline that is not
a JSON object was torn by a kill: skip it and count it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

if sys.platform != "win32":
    import fcntl

LOG_NAME: Final = "events.jsonl"
CHUNK_BYTES: Final = 256 * 1024


@dataclass
class Tail:
    """A cursor into one log: `offset` is the byte after the last whole line that was read."""

    path: Path
    offset: int = 0
    bad_lines: int = field(default=0, init=False)

    def read(self) -> list[tuple[int, bytes]]:
        """The whole lines that lie ready, at most CHUNK_BYTES of them, as (offset after, line).

        An empty list means that nothing whole has arrived. Lines come without their newline.
        """
        lines: list[tuple[int, bytes]] = []
        for end, line in _whole_lines(self.path, self.offset):
            self.offset = end
            if parse(line) is None:
                self.bad_lines += 1
            else:
                lines.append((end, line))
        return lines


def _whole_lines(path: Path, offset: int) -> Iterator[tuple[int, bytes]]:
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        data = file.read(CHUNK_BYTES)
        while data and b"\n" not in data and len(data) % CHUNK_BYTES == 0:
            data += (more := file.read(CHUNK_BYTES))  # damage: a line longer than a chunk
            if not more:
                break
    *whole, _ = data.split(b"\n")
    for line in whole:
        offset += len(line) + 1
        yield offset, line


def parse(line: bytes) -> dict[str, Any] | None:
    """The event in `line`, or None when it is damaged (not JSON, or not an event)."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(event, dict) and {"run", "seq", "att", "kind"} <= event.keys():
        return event
    return None


def last_event(path: Path) -> dict[str, Any] | None:
    """The last whole event of a log, or None when it holds none."""
    size = path.stat().st_size
    window = CHUNK_BYTES
    while True:
        start = max(0, size - window)
        with path.open("rb") as file:
            file.seek(start)
            lines = file.read(size - start).split(b"\n")
        for line in reversed(lines[:-1]):  # the piece after the last newline is not whole
            if (event := parse(line)) is not None:
                return event
        if start == 0:
            return None
        window *= 4


def is_line_start(path: Path, offset: int) -> bool:
    """Whether a reader may continue at `offset`: the start of the file or the byte after a line."""
    if offset == 0:
        return True
    with path.open("rb") as file:
        file.seek(offset - 1)
        return file.read(1) == b"\n"


def writer_alive(log: Path) -> bool | None:
    """Whether a process holds the log open for writing; None where the system cannot tell.

    `EventLog` holds an advisory lock as long as its process lives, so a kill −9 lets go of it.
    """
    if sys.platform == "win32":
        return None
    fd = os.open(log, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(fd)  # lets go of the lock, if it was taken
    return False
