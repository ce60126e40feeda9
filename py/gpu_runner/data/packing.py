"""Which rows of a step go through the model together: without padding, in as few parts as fit.

A step still sees the rows that its number says, so packing changes what a step costs, never what it
computes. Each part is a sequence of whole documents, one after the other; `attention` keeps them
from seeing each other.
"""

from __future__ import annotations

from collections.abc import Sequence


def bins(lengths: Sequence[int], capacity: int, multiple: int = 1) -> list[list[int]]:
    """Indices of `lengths` in bins of at most `capacity` each: few bins, of like weight.

    As many bins as first-fit decreasing needs (at most 11/9 of the fewest possible), rounded up to
    a `multiple` so that every rank gets as many; then each length goes, the longest first, where
    least is so far, which makes the heaviest bin light. Within a bin the order is the given one.
    No length may exceed `capacity`; there must be at least `multiple` of them.
    """
    longest_first = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    fewest = _first_fit(lengths, longest_first, capacity)
    count = min(len(lengths) // multiple * multiple, -(-len(fewest) // multiple) * multiple)
    balanced: list[list[int]] = [[] for _ in range(count)]
    weights = [0] * count
    for index in longest_first:
        lightest = weights.index(min(weights))
        balanced[lightest].append(index)
        weights[lightest] += lengths[index]
    if max(weights) > capacity and count == len(fewest):
        balanced = fewest
    return sorted(sorted(found) for found in balanced)


def _first_fit(lengths: Sequence[int], order: Sequence[int], capacity: int) -> list[list[int]]:
    found: list[list[int]] = []
    room: list[int] = []
    for index in order:
        place = next((i for i, left in enumerate(room) if left >= lengths[index]), len(room))
        if place == len(room):
            found.append([])
            room.append(capacity)
        found[place].append(index)
        room[place] -= lengths[index]
    return found
