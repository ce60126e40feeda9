"""Where encoded rows are kept: under a name made of everything that they follow from.

Another file, or another choice, makes other arrays; the same ones are never made twice, however
many runs and processes ask. The oldest are removed when they take too much of the disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

from gpu_runner.config.source import RowSource, parse
from gpu_runner.data import hub
from gpu_runner.data.encode import Encoder
from gpu_runner.data.opened import Watch
from gpu_runner.installed import installed_version

CACHE_ENV: Final = "UNFROZEN_CACHE"
LEAST_BYTES: Final = 16 * 2**20  # of a source that is worth it
FEW: Final = 2_000  # rows that are encoded in about a second: these are not worth it
MOST_BYTES: Final = 20 * 2**30  # of everything that is kept
_VERSION: Final = 2  # of how rows are read, encoded and kept
_BLOCK: Final = 4 * 2**20


def is_large(source: str) -> bool:
    """Whether a source is worth keeping encoded: a file, or a set of the hub that can be named.

    Raises `DataError` for what is neither.
    """
    wanted = parse(source)
    try:
        path = Path(wanted.place).expanduser()
    except RuntimeError:  # no home directory of that name: its reader tells
        return False
    if path.exists():
        return path.is_file() and path.stat().st_size >= LEAST_BYTES
    found = hub.loaded(wanted)
    return bool(hub.fingerprint(found)) and hub.size_bytes(found) >= LEAST_BYTES


def place_of(
    source: str, encoder: Encoder, watch: Watch, *, skip: bool, most: int | None = None
) -> Path:
    """The folder of what is made of a source or its first rows, whether it is there or not."""
    wanted = parse(source)
    path = Path(wanted.place).expanduser()
    whole = hashlib.sha256(_content(path, watch) if path.exists() else _named(wanted))
    follows = (
        installed_version(),
        _VERSION,
        wanted.columns,
        skip,
        path.suffixes,
        encoder.identity(),
        *([] if most is None else [most]),
    )
    whole.update(repr(follows).encode("utf-8", "surrogatepass"))
    return _folder() / whole.hexdigest()[:40]


def _content(path: Path, watch: Watch) -> bytes:
    """A hash of what a file holds."""
    whole, done, size = hashlib.sha256(), 0, max(1, path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            whole.update(block)
            done += len(block)
            watch(f"looking at {path.name}", done / size, 0)
    return whole.digest()


def _named(wanted: RowSource) -> bytes:
    """What stands for the rows of a set of the hub: its name, and that of its revision."""
    found = hub.loaded(wanted)
    return repr((wanted.place, wanted.subset, wanted.split, hub.fingerprint(found))).encode()


def _folder() -> Path:
    given = os.environ.get(CACHE_ENV)
    folder = Path(given).expanduser() if given else user_cache_path("unfrozen", appauthor=False)
    return folder / "rows"


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """One process at a time makes or reads what is called `place`; where no lock can be, all do."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = place.with_suffix(".lock").open("a")
    except OSError:
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_room(newest: Path) -> None:
    """Remove the oldest until the rest is small enough; never the newest."""
    folders = [path for path in newest.parent.iterdir() if path.is_dir() and path != newest]
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in folders}
    held = sum(sizes.values()) + sum(file.stat().st_size for file in newest.iterdir())
    for path in sorted(folders, key=lambda path: path.stat().st_mtime):
        if held <= MOST_BYTES:
            return
        shutil.rmtree(path, ignore_errors=True)
        held -= sizes[path]
