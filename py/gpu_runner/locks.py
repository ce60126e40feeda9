"""Advisory locks of open files: whoever can take one knows that its holder is done, or dead.

A lock belongs to what is open and ends with it. POSIX has them in `fcntl`; Windows locks bytes, for
writing alone, so one far behind the end of every file stands for all of it there.
"""

from __future__ import annotations

import math
import os
import time

try:
    import fcntl
except ImportError:
    import msvcrt

_FAR_BYTE = 2**31 - 2  # the last that `locking` reaches
_TICK_SECONDS = 0.01


def try_lock(fd: int, *, shared: bool = False) -> bool | None:
    """Return whether a file is locked now for this process; None where there are no locks.

    Several processes may hold a `shared` lock at once, on systems other than Windows.
    """
    try:
        if "fcntl" in globals():
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        else:
            place = os.lseek(fd, 0, os.SEEK_CUR)
            os.lseek(fd, _FAR_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            finally:
                os.lseek(fd, place, os.SEEK_SET)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return None
    return True


def wait_for_lock(fd: int, seconds: float = math.inf) -> bool | None:
    """Return what `try_lock` does, after waiting up to `seconds` for another holder to end."""
    deadline = time.monotonic() + seconds
    while (held := try_lock(fd)) is False and time.monotonic() < deadline:
        time.sleep(_TICK_SECONDS)
    return held
