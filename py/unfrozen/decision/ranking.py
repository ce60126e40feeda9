"""Which method comes first, and by which of five questions it beats the next.

    fits     can the GPUs train it?
    learns   has it room for what is to be learned?
    serves   do the same GPUs hold all tasks at once?
    worth    does it save enough GPU-hours? (where "good enough" is wanted)
    taste    what the reader wants, or else what has fewer parts

They are asked in this order, and the first in which two methods differ decides between them.

A flip is the least change of one input that puts another method first. Counts are searched at the
stops of their sliders and beyond, then between the last stop where the method does not come first
and the first where it does, until the two are neighbours. Tokens and requests have three digits, so
that the text and the applied value agree. GPUs are searched among larger ones only, models among
smaller ones, and neither to have a prompt come first: it fits anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from unfrozen.decision.options import Option, options
from unfrozen.decision.task import BOUNDS, GPU_NAMES, LEARN, MODELS, STOPS, WANT, Task

WORTH_GPU_HOURS: Final = 1.0
"""Assumed: below this, saved GPU-hours are no reason. One costs a few dollars at most (H100s were
offered at 2 to 5 dollars an hour, A100s at 0.8 to 3, by Mercatus, cloud GPU pricing, May 2026),
less than the time in which somebody chooses a rank."""
TASTE: Final = {
    "enough": ("prompt", "full", "lora", "qlora"),  # fewer parts first
    "most": ("full", "lora", "qlora", "prompt"),
    "keep": ("prompt", "lora", "qlora", "full"),
}
"""What comes first among methods that can all do it. Full fine-tuning learned at least as much as
LoRA wherever Biderman et al. compared them, but for a thousandth on one set, and mostly forgot
more; a prompt changes no weight."""
QUESTIONS: Final = ("fits", "learns", "serves", "worth", "taste")

Key = tuple[bool, int, bool, float, int]


def ranked(task: Task) -> list[Option]:
    """Return the four methods, the best first."""
    found = options(task)
    keys = sort_keys(found, task.want)
    return sorted(found, key=lambda option: keys[option.key])


def sort_keys(found: list[Option], want: str) -> dict[str, Key]:
    """Return the sort key of each method; smaller is better.

    Costs within `WORTH_GPU_HOURS` of the cheapest that answers the first three questions alike
    count as equal.
    """
    keys: dict[str, Key] = {}
    for option in found:
        can = _can(option)
        alike = [each for each in found if _can(each) == can]
        least = min(each.gpu_hours for each in alike)
        dear = want == "enough" and option.gpu_hours > least + WORTH_GPU_HOURS
        keys[option.key] = (
            *can,
            option.gpu_hours if dear else 0.0,
            TASTE[want].index(option.key),
        )
    return keys


def _can(option: Option) -> tuple[bool, int, bool]:
    return not option.fits, option.lacks, not option.serves


def decided_by(better: Option, worse: Option, keys: dict[str, Key]) -> str:
    """Return the question that puts one before the other."""
    pairs = zip(QUESTIONS, keys[better.key], keys[worse.key], strict=True)
    return next(question for question, ours, theirs in pairs if ours != theirs)


_THREE_DIGITS: Final = ("tokens", "requests")
INPUTS: Final = ("gpus", "tasks", "tokens", "requests", "gpu", "model", "learn", "want")


@dataclass(frozen=True, slots=True)
class Flip:
    """A change, `key` to `value`, that puts the method `to` first."""

    to: str
    key: str
    value: int | str

    def apply(self, task: Task) -> Task:
        """Return the task with the change in it."""
        return _changed(task, self.key, self.value)


def flips(task: Task, to: str) -> list[Flip]:
    """Return the least changes that put `to` first; none where it is first already."""
    if winner(task) == to:
        return []
    found: list[Flip] = []
    for key in INPUTS:
        if key in BOUNDS:
            counts = (_count(task, key, to, stops) for stops in _stops(task, key))
            found += [Flip(to, key, count) for count in counts if count]
        else:
            looked = () if to == "prompt" and key in ("gpu", "model") else _names(task, key)
            names = (name for name in looked if winner(_changed(task, key, name)) == to)
            found += [Flip(to, key, name) for name in islice(names, 1)]
    return found


def winner(task: Task) -> str:
    """Return the method that comes first, if it can be trained and has room; else nothing."""
    best = ranked(task)[0]
    return best.key if best.does_it else ""


def place(key: str, count: int, up: bool = True) -> int:
    """Return the index of a count among those that are looked at.

    Between two of them it is the later one in the direction of the search.
    """
    if key not in _THREE_DIGITS or count < 1000:
        return count
    zeros = len(str(count)) - 3
    digits, rest = divmod(count, int(10**zeros))
    return 900 * zeros + digits + (1 if rest and not up else 0)


def count_at(key: str, index: int) -> int:
    """Return the count at an index."""
    if key not in _THREE_DIGITS or index < 1000:
        return index
    zeros, digits = divmod(index - 100, 900)
    return int((digits + 100) * 10**zeros)


def _stops(task: Task, key: str) -> Iterator[list[int]]:
    """Yield the counts to look at first, nearest first: upwards, then downwards."""
    now, (low, high) = getattr(task, key), BOUNDS[key]
    stops = sorted({low, *STOPS[key], high})
    yield [stop for stop in stops if stop > now]
    yield [stop for stop in stops if stop < now][::-1]


def _count(task: Task, key: str, to: str, stops: list[int]) -> int:
    """Return the nearest count at which `to` wins while it does not one step before, or 0."""
    before = int(getattr(task, key))
    for stop in stops:
        if winner(_changed(task, key, stop)) == to:
            up = stop > before
            fails, good = place(key, before, up), place(key, stop)
            while abs(good - fails) > 1:
                middle = (fails + good) // 2
                wins = winner(_changed(task, key, count_at(key, middle))) == to
                fails, good = (fails, middle) if wins else (middle, good)
            return count_at(key, good)
        before = stop
    return 0


def _names(task: Task, key: str) -> Sequence[str]:
    """Return the names to look at, nearest first."""
    if key == "gpu":
        return GPU_NAMES[GPU_NAMES.index(task.gpu) + 1 :]
    if key == "model":
        return MODELS[: MODELS.index(task.model)][::-1]
    offered = LEARN if key == "learn" else WANT
    return [name for name in offered if name != getattr(task, key)]


def _changed(task: Task, key: str, value: int | str) -> Task:
    change: dict[str, Any] = {key: value}
    return replace(task, **change)
