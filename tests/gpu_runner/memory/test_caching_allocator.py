"""The model of PyTorch's caching allocator: rounding, pools, splitting, and a GPU that is full."""

from __future__ import annotations

import pytest

from docs.caching_allocator import CachingAllocator, NoRoom, Request, least_capacity, replay
from unfrozen.units import GIB, MIB


@pytest.mark.parametrize(
    ("size", "allocated", "reserved"),
    [
        (1, 512, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        (11 * MIB, 12 * MIB, 12 * MIB),  # one MiB is left whole
        (13 * MIB + 512, 14 * MIB, 14 * MIB),
    ],
)
def test_a_request_takes_a_block_of_a_segment(size: int, allocated: int, reserved: int) -> None:
    allocator = CachingAllocator()
    allocator.allocate(size)
    assert (allocator.allocated, allocator.reserved) == (allocated, reserved)


def test_freed_neighbours_join_and_serve_what_is_larger() -> None:
    allocator = CachingAllocator()
    first = allocator.allocate(40 * MIB)
    allocator.free(first)
    halves = [allocator.allocate(20 * MIB) for _ in range(2)]
    assert allocator.reserved == 40 * MIB
    for block in halves:
        allocator.free(block)
    allocator.allocate(40 * MIB)
    assert (allocator.allocated, allocator.reserved) == (40 * MIB, 40 * MIB)


def test_the_smallest_block_that_holds_a_request_is_taken() -> None:
    allocator = CachingAllocator()
    large, small, between = (allocator.allocate(n * MIB) for n in (100, 30, 60))
    for block in (large, small, between):
        allocator.free(block)
    allocator.allocate(40 * MIB)
    allocator.allocate(100 * MIB)
    assert allocator.reserved == 190 * MIB


def test_streams_share_no_blocks() -> None:
    allocator = CachingAllocator()
    allocator.free(allocator.allocate(64 * MIB, stream=0))
    allocator.allocate(64 * MIB, stream=1)
    assert allocator.reserved == 128 * MIB


def test_a_full_gpu_gives_free_segments_back_but_not_those_in_use() -> None:
    allocator = CachingAllocator(capacity=100 * MIB)
    allocator.free(allocator.allocate(60 * MIB))
    allocator.allocate(70 * MIB)
    assert (allocator.retries, allocator.reserved) == (1, 70 * MIB)
    broken = CachingAllocator(capacity=100 * MIB)
    broken.free(broken.allocate(60 * MIB))
    broken.allocate(20 * MIB)  # of the same segment
    with pytest.raises(NoRoom):
        broken.allocate(70 * MIB)


def test_an_expandable_segment_grows_over_what_is_free_at_its_end() -> None:
    sizes = (30, 50, 80)
    fixed, growing = CachingAllocator(), CachingAllocator(expandable=True)
    for allocator in (fixed, growing):
        for size in sizes:
            allocator.free(allocator.allocate(size * MIB))
    assert fixed.reserved == sum(sizes) * MIB
    assert growing.reserved == 80 * MIB


def test_an_expandable_segment_gives_back_only_its_free_end() -> None:
    allocator = CachingAllocator(capacity=100 * MIB, expandable=True)
    allocator.allocate(60 * MIB)
    allocator.free(allocator.allocate(30 * MIB))
    allocator.allocate(40 * MIB, stream=1)
    assert (allocator.retries, allocator.reserved) == (1, 100 * MIB)
    with pytest.raises(NoRoom):
        allocator.allocate(2 * MIB)


REQUESTS = [
    Request(0, GIB),
    Request(1, GIB // 2),
    Request(0, 0),
    Request(2, GIB // 4),
    Request(1, 0),
    Request(3, GIB),
]


def test_a_replay_tells_what_is_reserved_and_what_is_needed() -> None:
    found = replay(REQUESTS)
    assert found.most_allocated == 3 * GIB // 2
    assert found.most_reserved == 5 * GIB // 2
    needed = least_capacity(REQUESTS)
    assert needed == pytest.approx(2 * GIB, abs=32 * MIB)  # what holds a quarter cannot go
    replay(REQUESTS, needed)
    with pytest.raises(NoRoom):
        replay(REQUESTS, needed - 64 * MIB)
