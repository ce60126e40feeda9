"""What the message of an allocator that had no memory says, in bytes.

PyTorch throws its numbers as text only: the block that was asked for, and on a card what was free,
allocated and reserved at that moment, before the exception let go of anything
(c10/cuda/CUDACachingAllocator.cpp; c10/core/impl/alloc_cpu.cpp for the host; NumPy and the
system's own errors have fewer words).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from unfrozen.units import parse_bytes

_SIZE: Final = r"(\d[\d.]*(?:e\+?\d+)? (?:[KMGT]iB|bytes?))"
_ASKED: Final = (
    re.compile(rf"ried to allocate {_SIZE}", re.I),
    re.compile(rf"unable to allocate {_SIZE}", re.I),  # NumPy
)
_CARD: Final = {  # of releases since 2.1, and of those before
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
class Thrown:
    """Bytes that a message names; 0 for what it leaves out. `others` are (process, bytes) pairs."""

    asked_bytes: int = 0
    total_bytes: int = 0
    free_bytes: int = 0
    allocated_bytes: int = 0
    unused_bytes: int = 0
    """Reserved by the allocator and not given out: holes, if it is more than was asked for."""
    own_bytes: int = 0
    others: tuple[tuple[int, int], ...] = ()

    @property
    def in_pieces(self) -> bool:
        """Whether the allocator held more than was asked for, in pieces that are all too small."""
        return 0 < self.asked_bytes < self.unused_bytes

    @staticmethod
    def of(error: BaseException) -> Thrown:
        """Read from an exception; what cannot be read is 0. Never raises."""
        text = str(error)[:_MOST_READ]
        found = {name: _first(patterns, text) for name, patterns in _CARD.items()}
        reserved = found.pop("reserved_bytes")
        if reserved and not found["unused_bytes"]:
            found["unused_bytes"] = max(0, reserved - found["allocated_bytes"])
        others = tuple((int(pid), _bytes(size)) for pid, size in _OTHERS.findall(text))
        asked = next((m[1] for p in _ASKED if (m := p.search(text))), "")
        return Thrown(asked_bytes=_bytes(asked), others=others, **found)


def _first(patterns: tuple[str, ...], text: str) -> int:
    return next((_bytes(m[1]) for p in patterns if (m := re.search(p, text))), 0)


def _bytes(size: str) -> int:
    """A size as PyTorch writes one; 0 for what is none, or more than a process can have."""
    try:
        found = parse_bytes(re.sub(r"\.(?= )| bytes?$", "", size))  # "128. TiB" is NumPy's
    except (ValueError, OverflowError):
        return 0
    return found if found < 2**60 else 0
