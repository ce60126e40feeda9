"""The numbers in an allocator's out-of-memory message, in bytes.

PyTorch reports its numbers only as text: the requested block, and on a GPU what was free, allocated
and reserved at that moment, before the exception released anything
(c10/cuda/CUDACachingAllocator.cpp; c10/core/impl/alloc_cpu.cpp for the host; NumPy and the
operating system report less).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from unfrozen.units import parse_bytes

_SIZE: Final = r"(\d[\d.]*(?:e\+?\d+)? (?:[KMGT]iB|bytes?))"
_REQUESTED: Final = (
    re.compile(rf"ried to allocate {_SIZE}", re.I),
    re.compile(rf"unable to allocate {_SIZE}", re.I),  # NumPy
)
_GPU: Final = {  # releases since 2.1, and those before
    "total_bytes": (rf"total capac\w*ty of {_SIZE}", rf"{_SIZE} total capacity"),
    "free_bytes": (rf"of which {_SIZE} is free", rf"{_SIZE} free"),
    "allocated_bytes": (
        rf"memory {_SIZE} is allocated by PyTorch",
        rf"{_SIZE} already allocated",
    ),
    "unused_bytes": (rf"{_SIZE} is reserved by PyTorch but unallocated",),
    "reserved_bytes": (rf"{_SIZE} reserved in total",),
    "own_bytes": (rf"this process has {_SIZE} memory in use",),
}
_OTHERS: Final = re.compile(rf"Process (\d+) has {_SIZE} memory in use")
_MOST_READ: Final = 4096  # characters of a message


@dataclass(frozen=True, slots=True)
class AllocatorMessage:
    """Bytes that a message names; 0 where it names none. `others` are (process, bytes) pairs."""

    requested_bytes: int = 0
    total_bytes: int = 0
    free_bytes: int = 0
    allocated_bytes: int = 0
    unused_bytes: int = 0
    """Reserved by the allocator and not allocated: fragmented, if it exceeds the request."""
    own_bytes: int = 0
    others: tuple[tuple[int, int], ...] = ()

    @property
    def is_fragmented(self) -> bool:
        """Whether the allocator had more unused memory than requested, in blocks too small."""
        return 0 < self.requested_bytes < self.unused_bytes

    @staticmethod
    def parse(error: BaseException) -> AllocatorMessage:
        """Return the numbers in an exception's text; 0 for each that is not there. Never raises."""
        text = str(error)[:_MOST_READ]
        found = {name: _first_size(patterns, text) for name, patterns in _GPU.items()}
        reserved = found.pop("reserved_bytes")
        if reserved and not found["unused_bytes"]:
            found["unused_bytes"] = max(0, reserved - found["allocated_bytes"])
        others = tuple((int(pid), _parse_size(size)) for pid, size in _OTHERS.findall(text))
        requested = next((m[1] for p in _REQUESTED if (m := p.search(text))), "")
        return AllocatorMessage(requested_bytes=_parse_size(requested), others=others, **found)


def _first_size(patterns: tuple[str, ...], text: str) -> int:
    return next((_parse_size(m[1]) for p in patterns if (m := re.search(p, text))), 0)


def _parse_size(size: str) -> int:
    """Return a size as PyTorch writes it; 0 for anything else, or more than a process can have."""
    try:
        found = parse_bytes(re.sub(r"\.(?= )| bytes?$", "", size))  # "128. TiB" is NumPy's
    except (ValueError, OverflowError):
        return 0
    return found if found < 2**60 else 0
