"""Memory that a process on a CPU keeps once it has it.

glibc gives a freed block of many megabytes back to the system at once, and the system zeroes and
maps every page of the next one again. A step frees and takes gigabytes in the same sizes as the one
before: on a CPU that is a tenth of its time and more (`docs/speed.md`).
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h
MOST: Final = 2**31 - 1  # bytes: `mallopt` takes an int
LARGEST: Final = (2**30, 2**25)  # bytes of a block; older releases take 32 MiB at most


def keep_freed() -> bool:
    """From now on freed blocks stay with this process for its next ones, the largest ones too.

    Returns whether the C library was told: only glibc has it, and only there is it needed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    larger = any(mallopt(MMAP_THRESHOLD, size) for size in LARGEST)
    return bool(mallopt(TRIM_THRESHOLD, MOST)) and larger
