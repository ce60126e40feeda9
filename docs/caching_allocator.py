"""PyTorch's caching allocator: what it reserves for allocations in a given order.

A model of c10/cuda/CUDACachingAllocator.cpp (torch 2.4 to 2.13), for one stream at a time:

    rounding   a request is rounded up to 512 bytes
    pools      one to 1 MiB is cut from a segment of 2 MiB, one below 10 MiB from one of 20 MiB,
               a larger one is a segment of its own, rounded up to 2 MiB
    best fit   the smallest free block of the stream's pool that holds it, split where 512 bytes are
               left in the small pool, more than 1 MiB in the large one
    freeing    a block joins its free neighbours in the segment; segments stay reserved
    full       where the GPU has no room for a segment, all free segments are given back, and the
               request is tried once more; then it is out of memory

With expandable segments a pool has one segment, which grows at its end, by pages of 2 MiB in the
small pool and 20 MiB in the large one, and gives back free pages at its end.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from torch._subclasses.fake_tensor import FakeTensorMode

from docs.traced_job import StepTracker, prepare, read_job
from unfrozen.units import MIB

_ROUND: Final = 512
_SMALL: Final = MIB  # the largest request of the small pool
_SMALL_SEGMENT: Final = 2 * MIB
_LARGE_SEGMENT: Final = 20 * MIB  # of requests below …
_OWN: Final = 10 * MIB
_ROUND_LARGE: Final = 2 * MIB


def _page(pool: tuple[int, bool]) -> int:
    return _SMALL_SEGMENT if pool[1] else _LARGE_SEGMENT


class Request(NamedTuple):
    """What a process allocates, by its number, or frees (0 bytes)."""

    number: int
    size: int


class _Recorder(StepTracker):
    """Writes down when storages appear and go."""

    def __init__(self, model: Any, optimizer: Any) -> None:
        super().__init__(model, optimizer)
        self.requests: list[Request] = []
        self._numbers: dict[int, int] = {}

    def _add(self, storage: Any, kind: str) -> None:
        new = id(storage) not in self._live and storage.nbytes() > 0
        super()._add(storage, kind)
        if new:
            self._numbers[id(storage)] = len(self.requests)
            self.requests.append(Request(len(self.requests), storage.nbytes()))

    def _forget(self, key: int) -> None:
        super()._forget(key)
        number = self._numbers.pop(key, None)
        if number is not None:
            self.requests.append(Request(number, 0))


def record_allocations(given: Mapping[str, Any], steps: int = 3) -> list[Request]:
    """Return what a process allocates and frees in its first `steps` steps of a job, in order."""
    job = read_job(given)
    with FakeTensorMode():
        traced = prepare(given, job)
        with _Recorder(traced.model, traced.optimizer) as recorder:
            for _ in range(steps):
                traced.take_step(recorder)
            return [*recorder.requests]


class NoRoom(Exception):
    """No room for a request, with all free segments given back."""


@dataclass(eq=False, slots=True)
class Piece:
    """A piece of a segment, with its neighbours in it."""

    pool: tuple[int, bool]  # stream, whether small
    segment: int
    start: int
    size: int
    free: bool = False
    before: Piece | None = None
    after: Piece | None = None


class CachingAllocator:
    """Blocks by request, and the bytes allocated and reserved.

    `capacity` is what the GPU can give; None for no limit. `retries` counts how often free segments
    had to be given back.
    """

    def __init__(self, capacity: int | None = None, *, expandable: bool = False) -> None:
        self.allocated = self.reserved = self.most_allocated = self.most_reserved = 0
        self.retries = 0
        self._capacity, self._expandable = capacity, expandable
        self._free: dict[tuple[int, bool], list[tuple[int, int, int]]] = {}
        self._blocks: dict[tuple[int, int], Piece] = {}  # free ones, by segment and start
        self._segments = 0
        self._ends: dict[tuple[int, bool], Piece] = {}  # of expandable segments

    def allocate(self, size: int, stream: int = 0) -> Piece:
        """Return a block for a request of `size` bytes; raises NoRoom."""
        size = max(_ROUND, -(-size // _ROUND) * _ROUND)
        pool = (stream, size <= _SMALL)
        block = self._best_fit(pool, size) or self._new_block(pool, size)
        left = block.size - size
        if left >= _ROUND if pool[1] or self._expandable else left > _SMALL:
            rest = Piece(pool, block.segment, block.start + size, left, True, block, block.after)
            if block.after:
                block.after.before = rest
            elif pool in self._ends and self._ends[pool] is block:
                self._ends[pool] = rest
            block.after, block.size = rest, size
            self._keep(rest)
        self.allocated += block.size
        self.most_allocated = max(self.most_allocated, self.allocated)
        return block

    def free(self, block: Piece) -> None:
        """Give a block back to its pool."""
        self.allocated -= block.size
        block.free = True
        for other in (block.before, block.after):
            if other is not None and other.free:
                self._drop(other)
                self._join(block, other)
        self._keep(block)

    def release(self) -> None:
        """Give the segments that are free as a whole back to the GPU (`empty_cache`)."""
        for block in [*self._blocks.values()]:
            if block.before is None and block.after is None and not self._expandable:
                self._drop(block)
                self.reserved -= block.size
        for end in self._ends.values():
            if end.free:
                pages = end.size // _page(end.pool) * _page(end.pool)
                self._drop(end)
                end.size -= pages
                self.reserved -= pages
                self._keep(end)

    def _best_fit(self, pool: tuple[int, bool], size: int) -> Piece | None:
        free = self._free.get(pool, [])
        index = bisect_left(free, (size, 0, 0))
        if index == len(free):
            return None
        block = self._blocks[free[index][1:]]
        self._drop(block)
        block.free = False
        return block

    def _new_block(self, pool: tuple[int, bool], size: int) -> Piece:
        end = self._ends.get(pool) if self._expandable else None
        wanted = self._growth(pool, size, end)
        if self._capacity is not None and self.reserved + wanted > self._capacity:
            self.retries += 1
            self.release()
            wanted = self._growth(pool, size, end)
            if self.reserved + wanted > self._capacity:
                raise NoRoom
        self.reserved += wanted
        self.most_reserved = max(self.most_reserved, self.reserved)
        if end is None:
            self._segments += 1
            block = Piece(pool, self._segments, 0, wanted)
        elif end.free:
            self._drop(end)
            end.size, end.free = end.size + wanted, False
            return end
        else:
            block = Piece(pool, end.segment, end.start + end.size, wanted, before=end)
            end.after = block
        if self._expandable:
            self._ends[pool] = block
        return block

    def _growth(self, pool: tuple[int, bool], size: int, end: Piece | None) -> int:
        """Return the bytes of the segment, or of the pages, that a request needs."""
        if self._expandable:
            there = end.size if end is not None and end.free else 0
            return -(-(size - there) // _page(pool)) * _page(pool)
        return _page(pool) if size < _OWN else -(-size // _ROUND_LARGE) * _ROUND_LARGE

    def _join(self, block: Piece, other: Piece) -> None:
        first, second = (other, block) if other is block.before else (block, other)
        block.start, block.size = first.start, first.size + second.size
        block.before, block.after = first.before, second.after
        if block.before:
            block.before.after = block
        if block.after:
            block.after.before = block
        elif self._ends.get(block.pool) in (first, second):
            self._ends[block.pool] = block

    def _keep(self, block: Piece) -> None:
        insort(self._free.setdefault(block.pool, []), (block.size, block.segment, block.start))
        self._blocks[block.segment, block.start] = block

    def _drop(self, block: Piece) -> None:
        free = self._free[block.pool]
        del free[bisect_left(free, (block.size, block.segment, block.start))]
        del self._blocks[block.segment, block.start]


def replay(
    requests: Iterable[Request], capacity: int | None = None, *, expandable: bool = False
) -> CachingAllocator:
    """Return the allocator after these requests; raises NoRoom."""
    allocator = CachingAllocator(capacity, expandable=expandable)
    held: dict[int, Piece] = {}
    for number, size in requests:
        if size:
            held[number] = allocator.allocate(size)
        else:
            allocator.free(held.pop(number))
    return allocator


def least_capacity(requests: list[Request], within: int = 32 * MIB) -> int:
    """Return the bytes a GPU must give for the requests to succeed, at most `within` too many."""
    free = replay(requests)
    low, high = free.most_allocated, free.most_reserved
    while high - low > within:
        middle = (low + high) // 2
        try:
            replay(requests, middle)
            high = middle
        except NoRoom:
            low = middle
    return high
