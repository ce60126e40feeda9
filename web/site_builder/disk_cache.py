"""What takes long to make is made once: a later build reads it from .cache/made.

inputs ──sha256──▶ .cache/made/<digest>, made where it is missing; the last used ones stay

What two processes want at the same time, one of them makes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

CACHE: Final = Path(__file__).resolve().parents[2] / ".cache" / "made"
MOST_FILES: Final = 200


def make_once(inputs: bytes, make: Callable[[], bytes]) -> bytes:
    """Return what `make` makes of `inputs`, which name everything that it depends on."""
    place = CACHE / hashlib.sha256(inputs).hexdigest()
    if not place.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        with place.with_suffix(".making").open("w") as making:
            fcntl.flock(making, fcntl.LOCK_EX)
            if not place.is_file():
                _make(place, make)
    place.touch()
    return place.read_bytes()


def _make(place: Path, make: Callable[[], bytes]) -> None:
    begun = place.with_suffix(f".{os.getpid()}")
    begun.write_bytes(make())
    begun.replace(place)
    with contextlib.suppress(FileNotFoundError):  # another build may be at the same
        for old in sorted(CACHE.iterdir(), key=os.path.getmtime)[:-MOST_FILES]:
            old.unlink()
