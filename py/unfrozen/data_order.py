"""The order in which rows are seen, a pure function of (seed, epoch): of the runner and the lab.

The position of a run in its data is one integer, the number of rows taken. Nothing else has to be
saved to continue exactly, and two trainers with the same seed see the same rows in the same steps.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import lru_cache


@lru_cache(maxsize=4)
def epoch_order(rows: int, seed: int, epoch: int) -> tuple[int, ...]:
    """Return a permutation of 0 … rows−1 that depends on nothing but its arguments."""
    order = list(range(rows))
    random.Random(f"unfrozen order {seed} {epoch}").shuffle(order)
    return tuple(order)


def row_at(position: int, rows: int, seed: int) -> int:
    """Return the index of the row at `position`, counted through all epochs."""
    epoch, offset = divmod(position, rows)
    return epoch_order(rows, seed, epoch)[offset]


def step_rows(number: int, rows_per_step: int, rows: int, seed: int) -> list[int]:
    """Return the indices of the rows that step `number` (1, 2, …) sees."""
    first = (number - 1) * rows_per_step
    return [row_at(position, rows, seed) for position in range(first, first + rows_per_step)]


def steps_in(epochs: float, rows: int, rows_per_step: int) -> int:
    """Return the number of optimizer steps that see every row `epochs` times, rounded up."""
    return max(1, math.ceil(epochs * rows / rows_per_step - 1e-9))


def replayed(trained_tokens: int, lengths: Sequence[int], share: float, seed: int) -> list[int]:
    """Return the indices of the earlier rows, of `lengths` tokens, that make `share` of all tokens.

    Rows are taken whole in a seeded order, the last one if that comes nearer; if more are needed
    than there are, they are gone through again. At least one is taken; `share` is below 1.
    """
    wanted = trained_tokens * share / (1 - share)
    taken: list[int] = []
    tokens = 0
    while True:
        epoch, offset = divmod(len(taken), len(lengths))
        index = epoch_order(len(lengths), seed, -2 - epoch)[offset]
        if taken and tokens + lengths[index] / 2 > wanted:
            return taken
        taken.append(index)
        tokens += lengths[index]


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` of the indices 0 … count−1, evenly spaced."""
    kept = min(most, count)
    return [index * count // kept for index in range(kept)]
