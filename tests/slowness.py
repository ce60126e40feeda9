"""How slow this machine is just now: what a bound that tells a wait from a hang is multiplied by.

No test asks for speed: benches do. Where the promise itself is one of time ("ends at once"), its
bound is that of a quiet machine with two cores, times this.
"""

from __future__ import annotations

from time import perf_counter
from typing import Final

QUIET_SECONDS: Final = 0.12  # of the work below


def slowness() -> float:
    """A fixed piece of work: its time now by that on a quiet machine, at least 1."""
    started = perf_counter()
    sum(number * number for number in range(2_000_000))
    return max(1.0, (perf_counter() - started) / QUIET_SECONDS)
