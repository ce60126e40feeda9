"""The compressed forms of the site's files, and what a host that sends them transfers."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import brotli

from site_builder.disk_cache import make_once

COMPRESSED: Final = (".gz", ".br")
GZIP_MIN_BYTES: Final = 1000
GZIP_MAX_RATIO: Final = 0.9
BROTLI_QUALITY: Final = 11
LARGE: Final = 5_000_000  # bytes: the best quality takes half a minute there, and 9 four seconds
LARGE_QUALITY: Final = 9


def compress(folder: Path) -> None:
    """Write `NAME.gz` and `NAME.br` next to each file below `folder` that gzip makes smaller.

    `gpu_runner.serve.site` sends them, and so does nginx with `gzip_static on; brotli_static on`.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.suffix not in COMPRESSED]
    with ThreadPoolExecutor() as pool:
        list(pool.map(_compress, filter(Path.is_file, files)))


def _compress(path: Path) -> None:
    data = path.read_bytes()
    if packed := gzip_form(data):
        path.with_name(f"{path.name}.gz").write_bytes(packed)
        path.with_name(f"{path.name}.br").write_bytes(_brotli_form(data))


def _brotli_form(data: bytes) -> bytes:
    quality = BROTLI_QUALITY if len(data) < LARGE else LARGE_QUALITY
    make = partial(brotli.compress, data, quality=quality, lgwin=24)
    return make_once(f"brotli {brotli.__version__} {quality} ".encode() + data, make)


def gzip_form(data: bytes) -> bytes:
    """Return the gzip form of a file; empty where it would not be much smaller."""
    packed = gzip.compress(data, 6, mtime=0) if len(data) >= GZIP_MIN_BYTES else data
    return packed if len(packed) <= GZIP_MAX_RATIO * len(data) else b""


def transferred_bytes(files: Iterable[bytes]) -> int:
    """Return the bytes of `files` as a host that compresses sends them."""
    return sum(len(_brotli_form(data) if gzip_form(data) else data) for data in files)
