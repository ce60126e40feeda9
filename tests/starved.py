"""A process that may take only so much more memory: the kernel refuses the next block."""

from __future__ import annotations

import ctypes
import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 2**20
_M_MMAP_THRESHOLD = -3  # glibc's malloc.h: blocks from so many bytes on are the kernel's own
_libc = ctypes.CDLL(None)
_libc.malloc.restype, _libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
_libc.free.restype, _libc.free.argtypes = None, [ctypes.c_void_p]


def _gaps_filled() -> list[int]:
    """What fills the heaps' gaps of a MiB or more, once the kernel gives nothing.

    A thread that was refused goes over to another heap, and comes back for the gaps of the first.
    """
    held, size = [], 2048 * MIB
    while size >= MIB:
        if block := _libc.malloc(size):
            held.append(block)
        else:
            size //= 2
    return held


@contextmanager
def at_most_more(size: int) -> Iterator[None]:
    """Inside, this process's data may grow by `size` bytes, as under `ulimit -d`.

    No tensor fills a gap that another left in the heap: with gaps there would be more room.
    """
    gc.collect()  # what is garbage now would be room later
    _libc.mallopt(_M_MMAP_THRESHOLD, 64 * 1024)
    status = Path("/proc/self/status").read_text("ascii", "replace")
    used = 1024 * int(status.partition("VmData:")[2].split()[0])
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used, before[1]))
    filled = _gaps_filled()
    resource.setrlimit(resource.RLIMIT_DATA, (used + size, before[1]))
    try:
        yield
    finally:
        _libc.mallopt(_M_MMAP_THRESHOLD, 32 * MIB)  # the most it grows to by itself
        resource.setrlimit(resource.RLIMIT_DATA, before)
        for block in filled:
            _libc.free(block)
