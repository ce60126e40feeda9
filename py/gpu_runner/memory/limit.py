"""The memory limit of a device or process, who else uses it, and what is left for tensors.

PyTorch reports its numbers only as text: the requested block, and on a GPU what was free, allocated
and reserved at that moment, before the exception released anything
(c10/cuda/CUDACachingAllocator.cpp; c10/core/impl/alloc_cpu.cpp for the host; NumPy and the
operating system report less).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import torch

from gpu_runner.system import limits
from gpu_runner.system.gpus import Gpus, GpusUnavailable, process_name
from unfrozen.memory.overhead import ROUNDING
from unfrozen.units import format_bytes, parse_bytes

_SIZE: Final = r"(\d[\d.]*(?:e\+?\d+)? (?:[KMGT]iB|bytes?))"
_REQUESTED: Final = (rf"tried to allocate {_SIZE}", rf"unable to allocate {_SIZE}")
"""The second is NumPy's."""
_GPU: Final = {
    "total_bytes": rf"total capac\w*ty of {_SIZE}",
    "free_bytes": rf"of which {_SIZE} is free",
    "allocated_bytes": rf"memory {_SIZE} is allocated by PyTorch",
    "unused_bytes": rf"{_SIZE} is reserved by PyTorch but unallocated",
}
_OTHERS: Final = re.compile(rf"Process (\d+) has {_SIZE} memory in use")
_MOST_READ: Final = 4096  # characters of a message
_LARGEST_ALIVE: Final = 3
"""Largest blocks of a step alive at once: logits, their log-softmax, and its gradient."""


@dataclass(frozen=True, slots=True)
class AllocatorMessage:
    """Bytes that an out-of-memory message names; 0 where it names none.

    `others` are (process, bytes) pairs.
    """

    requested_bytes: int = 0
    total_bytes: int = 0
    free_bytes: int = 0
    allocated_bytes: int = 0
    unused_bytes: int = 0
    """Reserved by the allocator and not allocated: fragmented, if it exceeds the request."""
    others: tuple[tuple[int, int], ...] = ()

    @property
    def is_fragmented(self) -> bool:
        """Whether the allocator had more unused memory than requested, in blocks too small."""
        return 0 < self.requested_bytes < self.unused_bytes

    @staticmethod
    def parse(error: BaseException) -> AllocatorMessage:
        """Return the numbers in an exception's text; 0 for each that is not there. Never raises."""
        text = str(error)[:_MOST_READ]
        found = {name: _first_size([pattern], text) for name, pattern in _GPU.items()}
        others = tuple((int(pid), _parse_size(size)) for pid, size in _OTHERS.findall(text))
        return AllocatorMessage(_first_size(_REQUESTED, text), others=others, **found)


def _first_size(patterns: Iterable[str], text: str) -> int:
    return next((_parse_size(m[1]) for p in patterns if (m := re.search(p, text, re.I))), 0)


def _parse_size(size: str) -> int:
    """Return a size as PyTorch writes it; 0 for anything else, or more than a process can have."""
    try:
        found = parse_bytes(re.sub(r"\.(?= )| bytes?$", "", size))  # "128. TiB" is NumPy's
    except (ValueError, OverflowError):
        return 0
    return found if found < 2**60 else 0


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """The limit that was reached and what counted against it, in bytes; 0 is unknown.

    `allocated_bytes`, `reserved_bytes` and `largest_free_bytes`, the largest free block, are those
    of a GPU's allocator.
    """

    name: str = ""
    total_bytes: int = 0
    free_bytes: int = 0
    allocated_bytes: int = 0
    reserved_bytes: int = 0
    largest_free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class OtherProcess:
    """Another process on the same GPU; 0 bytes means that its memory is unknown."""

    pid: int
    name: str = ""
    size_bytes: int = 0

    def __str__(self) -> str:
        name = f" ({self.name})" if self.name else ""
        size = f" {format_bytes(self.size_bytes)}" if self.size_bytes else ""
        return f"process {self.pid}{name}{size}"


def read_limit(device: torch.device) -> MemoryLimit:
    """Return the limit that applies now: the GPU's memory, or the tightest of this process."""
    if device.type != "cuda":
        limit = limits.tightest()
        return MemoryLimit(limit.name, limit.total_bytes, limit.left_bytes)
    free, total = torch.cuda.mem_get_info(device)
    segments = torch.cuda.memory_snapshot()
    index = torch.cuda.current_device() if device.index is None else device.index
    blocks = [b for s in segments if s["device"] == index for b in s["blocks"]]
    return MemoryLimit(
        "the GPU",
        total,
        free,
        torch.cuda.memory_allocated(device),
        torch.cuda.memory_reserved(device),
        max((int(b["size"]) for b in blocks if b["state"] == "inactive"), default=0),
    )


def find_other_processes(
    message: AllocatorMessage, device: torch.device
) -> tuple[OtherProcess, ...]:
    """Return the other processes on the GPU according to NVML, else those that `message` names."""
    named = tuple(OtherProcess(pid, process_name(pid), size) for pid, size in message.others)
    if device.type != "cuda":
        return named
    properties = torch.cuda.get_device_properties(device)
    try:
        gpus = Gpus.open([str(properties.uuid)])
    except GpusUnavailable:
        return named
    found = gpus.others(0)
    gpus.close()
    return tuple(OtherProcess(*one) for one in found) or named


def bytes_for_tensors(limit: MemoryLimit, alive: Mapping[str, int], *, on_gpu: bool) -> int:
    """Return how many bytes of tensors fit under the limit in all, those in `alive` included.

    On a GPU that is whatever is free or reserved by the allocator, less the rounding of its blocks.
    On a CPU it is what the limit leaves beside the tensors alive now.
    """
    if on_gpu:
        return round((limit.free_bytes + limit.reserved_bytes) / (1 + ROUNDING))
    return sum(alive.values()) + limit.free_bytes


def memory_budget(
    most_bytes: int,
    alive: Mapping[str, int],
    requested_bytes: int,
    peak_bytes: int,
    share: float,
    *,
    on_gpu: bool,
) -> int:
    """Return the `share` of `most_bytes` that settings may fill, and less than what just failed.

    A heap fragments: as many of its largest blocks as are alive at once may lie empty in pieces
    while the next ones are requested. That share of this step's peak is not available to tensors.
    """
    if not on_gpu and peak_bytes:
        share = min(share, peak_bytes / (peak_bytes + _LARGEST_ALIVE * requested_bytes))
    most = round(share * most_bytes)
    if alive and requested_bytes:
        return min(most, sum(alive.values()) + requested_bytes)
    return most
