"""How slow this machine is just now: what a bound that tells a wait from a hang is multiplied by.

No test asks for speed: benches do. Where the promise itself is one of time ("ends at once"), its
bound is that of a quiet machine with two cores, times this.
"""

from __future__ import annotations

from time import perf_counter
from typing import Final

QUIET_SECONDS: Final = 0.12  # of the work below


def slowness() -> float:
    """The longest of three goes at some work, by its time on a quiet machine; at least 1.

    One go may fall between two turns of the other processes.
    """
    return max(1.0, *(_seconds() / QUIET_SECONDS for _ in range(3)))


def _seconds() -> float:
    started = perf_counter()
    sum(number * number for number in range(2_000_000))
    return perf_counter() - started
