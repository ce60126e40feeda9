"""The numbers of a run by attempt, name and step, as a file lists them.

Steps of one name rise. Where they go back, the run was started again before that step, and what
follows is another attempt. Names go back each for itself, because some count epochs where others
count steps. Three arrays hold a name, 24 bytes a number.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby
from typing import Final

from unfrozen.imported.tools import has_place

MOST_POINTS: Final = 2_000_000
MOST_NAMES: Final = 240  # a page holds 256 series of a run
MOST_OTHERS: Final = 200  # names that have no place among ours: these may come last
MOST_ATTEMPTS: Final = 250
LAST_STEP: Final = 10**9

Moment = tuple[int, float, dict[str, float]]
"""A step, Unix seconds (0: not known), and its values by name."""


@dataclass(slots=True)
class Curve:
    """The numbers of one name in one attempt."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    times: array[float] = field(default_factory=lambda: array("d"))


Attempt = dict[str, Curve]


class Points:
    """All numbers of one run, by attempt; `left` counts what was not taken, by reason."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = [{}]
        self.left: dict[str, int] = {}
        self.count = 0
        self._names: set[str] = set()
        self._again = False

    @property
    def names(self) -> list[str]:
        """Every name, in the order in which they came."""
        return list(dict.fromkeys(name for attempt in self.attempts for name in attempt))

    @property
    def last_step(self) -> int:
        """The highest step of the newest attempt; 0 without one."""
        return max((curve.steps[-1] for curve in self.attempts[-1].values()), default=0)

    def add(self, name: str, step: int, value: float, time: float = 0.0) -> None:
        """Take one number. `time` is in Unix seconds, 0 where it is not known."""
        if not 0 <= step <= LAST_STEP:
            return self._leave(f"at steps outside 0 to {LAST_STEP:,}")
        if self.count >= MOST_POINTS:
            return self._leave(f"beyond the first {MOST_POINTS:,}")
        most = MOST_NAMES if has_place(name) else MOST_OTHERS
        if name not in self._names and len(self._names) >= most:
            return self._leave(f"of more than {MOST_OTHERS} names")
        if self._again and len(self.attempts) < MOST_ATTEMPTS:
            self.attempts.append({})
        self._again = False
        curve = self.attempts[-1].get(name)
        if curve is not None and step < curve.steps[-1]:
            if len(self.attempts) >= MOST_ATTEMPTS:
                return self._leave(f"of more than {MOST_ATTEMPTS} attempts")
            self.attempts.append({})
            curve = None
        if curve is None:
            curve = self.attempts[-1][name] = Curve()
            self._names.add(name)
        elif step == curve.steps[-1]:
            before, curve.values[-1], curve.times[-1] = curve.values[-1], value, time
            return (
                None if before == value else self._leave("that a later one of their step replaced")
            )
        curve.steps.append(step)
        curve.values.append(value)
        curve.times.append(time)
        self.count += 1
        return None

    def restart(self, step: int) -> None:
        """The tool says that it goes on from before `step`."""
        self._again = any(curve.steps[-1] >= step for curve in self.attempts[-1].values())

    def _leave(self, reason: str) -> None:
        self.left[reason] = self.left.get(reason, 0) + 1


def moments(attempt: Attempt) -> Iterator[Moment]:
    """Yield the events of an attempt step by step; names in the order in which they came."""
    rising = merge(*(_rising(place, name, curve) for place, (name, curve) in _named(attempt)))
    for step, rows in groupby(rising, key=lambda row: row[0]):
        values, latest = {}, 0.0
        for _, _, name, value, time in rows:
            values[name] = value
            latest = max(latest, time)
        yield step, latest, values


def _named(attempt: Attempt) -> Iterator[tuple[int, tuple[str, Curve]]]:
    return enumerate(attempt.items())


def _rising(place: int, name: str, curve: Curve) -> Iterator[tuple[int, int, str, float, float]]:
    for step, value, time in zip(curve.steps, curve.values, curve.times, strict=True):
        yield step, place, name, value, time


def first_step(attempt: Attempt) -> int:
    """Return the lowest step of an attempt; 0 where it is empty."""
    return min((curve.steps[0] for curve in attempt.values()), default=0)
