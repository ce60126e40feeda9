"""Untrusted files of a run: only plain files are opened, and only so many bytes are read.

Whoever can write into a folder of runs can leave a link, a pipe or a device in place of a file. A
link leads anywhere, a pipe blocks, a device may act when it is opened. So the path is checked,
opened without following links and without blocking, and checked again.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, Final

UNTRUSTED: Final = os.O_NOFOLLOW | os.O_NONBLOCK
"""Flags that every such `os.open` adds."""
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


def open_plain(path: Path, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of the plain file at `path`. Raises `NotPlain` or `OSError`.

    With `O_CREAT` a missing file is created, readable by its owner only.
    """
    try:
        require_plain(path.lstat().st_mode)
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error)) from None
    descriptor = os.open(path, flags | UNTRUSTED, 0o600)
    try:
        require_plain(os.fstat(descriptor).st_mode)  # it may have been replaced in between
    except NotPlain:
        os.close(descriptor)
        raise
    return descriptor


def read_plain(path: Path, most_bytes: int, start: int = 0, *, own: bool = False) -> bytes:
    """Return at most `most_bytes` from byte `start` of a plain file. Raises like `open_plain`.

    For `own` see `read_whole`.
    """
    descriptor = open_plain(path)
    try:
        found = os.fstat(descriptor)
        if own and (found.st_uid != os.geteuid() or found.st_mode & 0o022):
            raise PermissionError(errno.EPERM, "other users can write it")
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
            file.seek(start)
            parts, left = [], most_bytes
            while left and (part := file.read(left)):
                parts.append(part)
                left -= len(part)
            return b"".join(parts)
    finally:
        os.close(descriptor)


def read_whole(path: Path, most_bytes: int, *, own: bool = False) -> bytes:
    """Return a whole plain file. Raises `OSError` where it is larger than `most_bytes`.

    One's `own` file is one that nobody else owns or can write; of others it is a `PermissionError`.
    """
    data = read_plain(path, most_bytes + 1, own=own)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes")
    return data


def read_json(path: Path, most_bytes: int, *, own: bool = False) -> Any:
    """Return what a small JSON file holds; see `read_whole`. Raises `OSError` or `ValueError`."""
    try:
        return json.loads(read_whole(path, most_bytes, own=own).decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def require_plain(mode: int) -> None:
    """Raise `NotPlain` where the mode of a path is not that of a plain file."""
    if not stat.S_ISREG(mode):
        raise NotPlain(_KINDS.get(stat.S_IFMT(mode), "something else"))
