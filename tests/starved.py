"""A process that may take only so much more memory: the kernel refuses the next block."""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 2**20


@contextmanager
def at_most_more(size: int) -> Iterator[None]:
    """Inside, this process's data may grow by `size` bytes, as under `ulimit -d`."""
    gc.collect()  # what is garbage now would be room later
    status = Path("/proc/self/status").read_text("ascii", "replace")
    used = 1024 * int(status.partition("VmData:")[2].split()[0])
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
