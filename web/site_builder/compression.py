"""The compressed form of the site's files, and what a host that sends it transfers."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Final

GZIP_MIN_BYTES: Final = 1000
GZIP_MAX_RATIO: Final = 0.9


def compress(folder: Path) -> None:
    """Write `NAME.gz` next to each file below `folder` that it makes smaller, without a date.

    `gpu_runner.serve.site` sends them, and so does nginx with `gzip_static on`.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".gz" and (packed := gzip_form(path.read_bytes())):
            path.with_name(f"{path.name}.gz").write_bytes(packed)


def gzip_form(data: bytes) -> bytes:
    """Return the gzip form of a file; empty where it would not be much smaller."""
    packed = gzip.compress(data, 6, mtime=0) if len(data) >= GZIP_MIN_BYTES else data
    return packed if len(packed) <= GZIP_MAX_RATIO * len(data) else b""


def transferred_bytes(files: Iterable[bytes]) -> int:
    """Return the bytes of `files` as a host that compresses sends them."""
    return sum(len(gzip_form(data) or data) for data in files)
