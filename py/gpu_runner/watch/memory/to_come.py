"""The heaviest batch to come: whether it will fit, told before it is there.

A batch that is padded has as many tokens a row as its longest one. So the heaviest there can be
has the longest row of all in it, and a loop over every row comes to it; laid end to end, without
padding, it has the longest rows of all. Which of both it is shows in the first batch. Its memory is
foretold like that of any other, and held against what is free beside what lives already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import torch

from gpu_runner.oom.bound import room
from gpu_runner.oom.scene import Held
from gpu_runner.system import limits
from gpu_runner.train.measure import known_bytes
from gpu_runner.watch.memory.forecasts import HEAVIER, Forecasts, aside
from gpu_runner.watch.memory.foretelling import Autocast, foretell
from gpu_runner.watch.memory.in_parts import Owned
from gpu_runner.watch.memory.settings import LoopStep, Words, settings_for
from unfrozen.units import format_bytes

SHARE: Final = 0.9  # of the room that a setting may fill
MOST_SECONDS: Final = 1.0
"""For looking through the rows, at the beginning."""
MOST_ROWS: Final = 4096  # of the longest that are remembered
_SLICE: Final = 4096
_IDS: Final = "input_ids"


class Outlook:
    """Tells once that a batch will not fit; `lengths` of rows in tokens, `at_once` rows a batch."""

    def __init__(
        self,
        device: torch.device,
        words: Words,
        lengths: Sequence[int],
        at_once: int,
        tell: Callable[[str], None],
    ) -> None:
        self._device, self._words, self._tell = device, words, tell
        self._longest = sorted((int(n) for n in lengths), reverse=True)[:MOST_ROWS]
        self._at_once = at_once
        self._told = False

    def look(self, forecasts: Forecasts, autocast: Autocast) -> None:
        """After a forecast was made: hold it, or that of a heavier batch, against what is free."""
        step, newest = forecasts.step(autocast), forecasts.newest
        if self._told or step is None or newest is None:
            return
        now, ahead = step.given.shape, self.heaviest(*step.given.shape)
        if ahead[0] * ahead[1] > HEAVIER * now[0] * now[1]:
            step = step.of(step.given.cut(*ahead))
            given = step.model, step.states, step.given, step.habits, autocast
            newest = aside(lambda: foretell(*given))
        if newest is None or newest.peak_bytes <= (most := self._room(step)):
            return
        self._told = True
        rows, length = step.given.shape
        which = "A batch that is to come" if step.given.shape != now else "This step"
        found = aside(lambda: settings_for(step, newest.instants, round(SHARE * most), self._words))
        fits = [one for one in found if one.fits]
        change = "; or ".join(str(one.options) for one in fits or found)
        told = "To make it fit" if fits else "It needs least with"
        self._tell(
            f"{which} will not fit: {rows:,} × {length:,} tokens are foretold to hold"
            f" {format_bytes(newest.peak_bytes)}, and there are {format_bytes(most)}."
            + (f" {told}: {change}." if change else "")
        )

    def heaviest(self, rows: int, length: int) -> tuple[int, int]:
        """(rows, tokens a row) of the heaviest batch to come, after one of this shape."""
        if not self._longest:
            return rows, length
        if rows == 1 and self._at_once > 1:  # laid end to end
            return 1, max(length, sum(self._longest[: self._at_once]))
        return max(rows, self._at_once), max(length, self._longest[0])

    def _room(self, step: LoopStep) -> int:
        """Bytes that tensors may hold in all, those that live counted."""
        card = self._device.type == "cuda"
        if card:
            free, total = torch.cuda.mem_get_info(self._device)
            reserved = torch.cuda.memory_reserved(self._device)
            held = Held("the card", total, free, reserved_bytes=reserved)
        else:
            limit = limits.tightest()
            held = Held(limit.name, limit.total_bytes, limit.left_bytes)
        return room(held, known_bytes(Owned(step.model), step.states), card=card)  # type: ignore[arg-type]


def lengths_of(dataset: Any, collator: Any = None) -> list[int]:
    """Tokens of the rows of a data set as its collator pads or cuts them; none of one that would
    have to be asked row by row in code of somebody's own, which might draw random numbers.

    What is not seen within MOST_SECONDS is left out.
    """
    multiple = getattr(collator, "pad_to_multiple_of", None) or 1
    most = getattr(collator, "max_length", None)
    found = []
    until = time.monotonic() + MOST_SECONDS
    for lengths in _slices(dataset):
        found += [-(-n // multiple) * multiple for n in lengths]
        if time.monotonic() > until:
            break
    return [min(n, most) for n in found] if isinstance(most, int) else found


def _slices(dataset: Any) -> Iterator[list[int]]:
    if isinstance(dataset, list | tuple):
        for start in range(0, len(dataset), _SLICE):
            rows = dataset[start : start + _SLICE]
            yield list(chain.from_iterable(_length(row) for row in rows))
    elif _IDS in (getattr(dataset, "column_names", None) or ()) and _is_table(dataset):
        table = dataset.select_columns([_IDS]).with_format("arrow")
        for start in range(0, len(table), _SLICE):
            yield [len(row) for row in table[start : start + _SLICE].column(0)]


def _is_table(dataset: Any) -> bool:
    """Whether rows come out of it as they lie in it."""
    return getattr(dataset, "format", {}).get("type") != "custom" and hasattr(dataset, "data")


def _length(row: Any) -> Iterator[int]:
    ids = row.get(_IDS) if isinstance(row, Mapping) or hasattr(row, "get") else None
    if ids is not None and hasattr(ids, "__len__"):
        yield len(ids)
