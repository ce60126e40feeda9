"""Files that somebody else wrote: only plain ones are opened, and only so many bytes are read.

Whoever can write into a folder of runs can leave a link, a pipe or a device in place of a file. A
link leads anywhere, a pipe blocks, a device may act when it is opened. So the path is checked,
opened without following links and without blocking, and checked again. Where a user has named the
file, or a model's folder holds it, links are followed: the hub's cache is made of them.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from io import FileIO
from pathlib import Path
from typing import IO, Any, Final

MOST_NAMED_BYTES: Final = 64 * 2**20
"""Of a file of settings, jobs or tokens that a user names, or a model has."""
_PART_BYTES: Final = 2**20
_NAMED: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Flags of a file that a user names; Windows has the second of them alone."""
UNTRUSTED: Final = _NAMED | getattr(os, "O_NOFOLLOW", 0)
"""Flags that every `os.open` of a file of a run adds."""
_KINDS: Final = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotPlain(OSError):
    """The path is no plain file; the message says what it is instead."""

    def __init__(self, kind: str) -> None:
        super().__init__(errno.EINVAL, f"it is {kind}, not a file")


def open_plain(path: Path, flags: int = os.O_RDONLY, *, links: bool = False) -> int:
    """Return a descriptor of the plain file at `path`. Raises `NotPlain` or `OSError`.

    With `O_CREAT` a missing file is created, readable by its owner only. `links` are followed.
    """
    try:
        require_plain(path.stat(follow_symlinks=links).st_mode)
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error)) from None
    descriptor = os.open(path, flags | (_NAMED if links else UNTRUSTED), 0o600)
    try:
        require_plain(os.fstat(descriptor).st_mode)  # it may have been replaced in between
    except NotPlain:
        os.close(descriptor)
        raise
    return descriptor


def read_plain(path: Path, most_bytes: int, start: int = 0) -> bytes:
    """Return at most `most_bytes` from byte `start` of a plain file. Raises like `open_plain`."""
    with os.fdopen(open_plain(path), "rb", buffering=0) as file:
        file.seek(start)
        return _read(file, most_bytes)


def read_whole(path: Path, most_bytes: int, *, own: bool = False, links: bool = False) -> bytes:
    """Return a whole plain file. Raises `OSError` where it is larger than `most_bytes`.

    One's `own` file is one that nobody else owns or can write; of others it is a `PermissionError`.
    """
    with os.fdopen(open_plain(path, links=links), "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if (
            own
            and hasattr(os, "geteuid")
            and (found.st_uid != os.geteuid() or found.st_mode & 0o022)
        ):
            raise PermissionError(errno.EPERM, "other users can write it")
        return _read_all(file, most_bytes, found.st_size)


def read_named(name: str, most_bytes: int = MOST_NAMED_BYTES) -> bytes:
    """Return the file that a user names, "-" for stdin. Raises `OSError`, also for a pipe."""
    if name == "-":
        return _read_all(sys.stdin.buffer, most_bytes)
    return read_whole(Path(name), most_bytes, links=True)


def read_json(path: Path, most_bytes: int, *, own: bool = False, links: bool = False) -> Any:
    """Return what a small JSON file holds; see `read_whole`. Raises `OSError` or `ValueError`."""
    try:
        return json.loads(read_whole(path, most_bytes, own=own, links=links).decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _read(file: IO[bytes] | FileIO, most_bytes: int) -> bytes:
    parts, left = [], most_bytes
    while left and (part := file.read(min(left, _PART_BYTES))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _read_all(file: IO[bytes] | FileIO, most_bytes: int, size: int = 0) -> bytes:
    data = b"" if size > most_bytes else _read(file, most_bytes + 1)
    if max(size, len(data)) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes")
    return data


def require_plain(mode: int) -> None:
    """Raise `NotPlain` where the mode of a path is not that of a plain file."""
    if not stat.S_ISREG(mode):
        raise NotPlain(_KINDS.get(stat.S_IFMT(mode), "something else"))
