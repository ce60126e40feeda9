"""What would have to change for another method to come first: one input at a time, the least.

Counts are looked for at the stops of their sliders and beyond, then between the last stop where the
method does not come first and the first where it does, until the two are neighbours. Tokens and
requests have three digits, so that what is said is what is applied. Cards are only looked for among
larger ones, models among smaller ones, and neither to have a prompt come first: it fits anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from unfrozen.decision.choices import BOUNDS, CARDS, LEARN, MODELS, STOPS, WANT, Choice
from unfrozen.decision.ranking import ranked

_THREE_DIGITS: Final = ("tokens", "requests")
INPUTS: Final = ("gpus", "tasks", "tokens", "requests", "gpu", "model", "learn", "want")


@dataclass(frozen=True, slots=True)
class Flip:
    """With `key` at `value` and all else as it is, `to` comes first and does what is asked."""

    to: str
    key: str
    value: int | str

    def applied(self, choice: Choice) -> Choice:
        """The choice with the change in it."""
        return _changed(choice, self.key, self.value)


def flips(choice: Choice, to: str) -> list[Flip]:
    """The least changes that put `to` first; none where it is first already."""
    if winner(choice) == to:
        return []
    found: list[Flip] = []
    for key in INPUTS:
        if key in BOUNDS:
            counts = (_count(choice, key, to, stops) for stops in _stops(choice, key))
            found += [Flip(to, key, count) for count in counts if count]
        else:
            looked = () if to == "prompt" and key in ("gpu", "model") else _names(choice, key)
            names = (name for name in looked if winner(_changed(choice, key, name)) == to)
            found += [Flip(to, key, name) for name in islice(names, 1)]
    return found


def winner(choice: Choice) -> str:
    """The method that comes first, if it can be trained and has room; else nothing."""
    best = ranked(choice)[0]
    return best.key if best.does_it else ""


def place(key: str, count: int, up: bool = True) -> int:
    """Where a count stands among those that are looked at; between two of them, the one behind in
    the direction of the search.
    """
    if key not in _THREE_DIGITS or count < 1000:
        return count
    zeros = len(str(count)) - 3
    digits, rest = divmod(count, int(10**zeros))
    return 900 * zeros + digits + (1 if rest and not up else 0)


def count_at(key: str, index: int) -> int:
    """The count at a place."""
    if key not in _THREE_DIGITS or index < 1000:
        return index
    zeros, digits = divmod(index - 100, 900)
    return int((digits + 100) * 10**zeros)


def _stops(choice: Choice, key: str) -> Iterator[list[int]]:
    """Counts to look at first, nearest first: upwards, then downwards."""
    now, (low, high) = getattr(choice, key), BOUNDS[key]
    stops = sorted({low, *STOPS[key], high})
    yield [stop for stop in stops if stop > now]
    yield [stop for stop in stops if stop < now][::-1]


def _count(choice: Choice, key: str, to: str, stops: list[int]) -> int:
    """The count nearest to the present one, in the direction of the stops, at which `to` wins while
    it does not one place before; 0: there is none.
    """
    before = int(getattr(choice, key))
    for stop in stops:
        if winner(_changed(choice, key, stop)) == to:
            up = stop > before
            fails, good = place(key, before, up), place(key, stop)
            while abs(good - fails) > 1:
                middle = (fails + good) // 2
                wins = winner(_changed(choice, key, count_at(key, middle))) == to
                fails, good = (fails, middle) if wins else (middle, good)
            return count_at(key, good)
        before = stop
    return 0


def _names(choice: Choice, key: str) -> Sequence[str]:
    """Names to look at, nearest first."""
    if key == "gpu":
        return CARDS[CARDS.index(choice.gpu) + 1 :]
    if key == "model":
        return MODELS[: MODELS.index(choice.model)][::-1]
    offered = LEARN if key == "learn" else WANT
    return [name for name in offered if name != getattr(choice, key)]


def _changed(choice: Choice, key: str, value: int | str) -> Choice:
    change: dict[str, Any] = {key: value}
    return replace(choice, **change)
