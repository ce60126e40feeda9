"""Work that a watched loop could do without is done so rarely that it costs next to nothing.

Each kind of work has a share of the loop's own time; it is done again when what it has cost so far
is below that share of all steps so far.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SHARE: Final = 0.003
"""Of the steps' time, for each kind of work."""


class Spending:
    """What watching has cost, by kind, beside what the loop itself has taken."""

    def __init__(self, share: float = SHARE) -> None:
        self._share = share
        self._steps = 0.0
        self._spent: dict[str, float] = defaultdict(float)

    def step(self, seconds: float) -> None:
        """A step of the loop took so long."""
        self._steps += seconds

    def allows(self, kind: str) -> bool:
        """Whether such work may be done now."""
        return self._spent[kind] <= self._share * self._steps

    @contextmanager
    def on(self, kind: str) -> Iterator[None]:
        """Do it inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._spent[kind] += time.perf_counter() - started
