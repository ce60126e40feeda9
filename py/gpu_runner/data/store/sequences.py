"""Rows on disk as sequences: some of one file's, and those of several files one after the other.

Nothing is read before it is asked for, and no sequence holds more of a row than its number.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, Self, TypeVar, overload

import numpy as np

from gpu_runner.data.example import Example
from gpu_runner.data.store.arrays import Arrays, digest

T = TypeVar("T")


class Stored(Sequence[T]):
    """Some rows of arrays, in order; a subclass says as what. `place` is the file they are of."""

    def __init__(self, arrays: Arrays, chosen: Any, place: str = "") -> None:
        self.arrays = arrays
        self.chosen = chosen
        self.place = place

    @abstractmethod
    def at(self, index: int) -> T:
        """Row number `index` of the arrays."""

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> T | Self:
        return self.of(index) if isinstance(index, slice) else self.at(int(self.chosen[index]))

    def __iter__(self) -> Iterator[T]:
        return (self.at(int(index)) for index in self.chosen)

    def of(self, which: Any) -> Self:
        """Some of these: a slice, or their places among these."""
        return type(self)(self.arrays, self.chosen[which], self.place)


class StoredRows(Stored[dict[str, Any]]):
    """What the rows were made of."""

    def at(self, index: int) -> dict[str, Any]:
        """Row number `index` of the arrays."""
        return self.arrays.row(index)


class StoredPlaces(Stored[str]):
    """Where they were read: the file, and the number of the row in it."""

    def at(self, index: int) -> str:
        """That of row number `index` of the arrays."""
        return f"{self.place}[{int(self.arrays.origin[index])}]"


class _OnDisk(Sequence[Example]):
    """What is known of many examples by one number each."""

    @property
    @abstractmethod
    def digests(self) -> Any:
        """(N,) of the ids of each row."""

    @property
    @abstractmethod
    def last(self) -> Any:
        """(N,) the last token of each row that is learned; −1 where the row is cut."""

    def known(self, examples: Sequence[Example]) -> list[bool]:
        """Which of some rows are among these, token for token."""
        wanted = np.array([digest(example.ids) for example in examples], np.uint64)
        found: list[bool] = np.isin(wanted, self.digests).tolist()
        return found

    def among(self, examples: Sequence[Example]) -> int:
        """How many of these are among some other rows, token for token."""
        there = getattr(examples, "digests", None)
        if there is None:
            there = np.array([digest(example.ids) for example in examples], np.uint64)
        return int(np.isin(self.digests, there).sum())

    def repeated(self) -> list[int]:
        """Which of these rows are there before, token for token."""
        first = np.unique(self.digests, return_index=True)[1]
        again = np.ones(len(self), np.bool_)
        again[first] = False
        found: list[int] = np.flatnonzero(again).tolist()
        return found

    def ends(self) -> Iterator[tuple[int, int, Any]]:
        """(token, how many, which) of the rows that are whole, by their last learned token."""
        last = self.last
        order = np.argsort(last, kind="stable")
        order = order[last[order] >= 0]
        tokens, starts = np.unique(last[order], return_index=True)
        for token, places in zip(tokens, np.split(order, starts[1:]), strict=True):
            yield int(token), len(places), places


class StoredExamples(Stored[Example], _OnDisk):
    """The rows as they are trained."""

    def at(self, index: int) -> Example:
        """Row number `index` of the arrays."""
        return self.arrays.example(index)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        found: list[int] = np.diff(self.arrays.starts)[self.chosen].tolist()
        return found

    @cached_property
    def trainable_tokens(self) -> int:
        """Tokens of all rows that are learned."""
        return int(self.arrays.trainable[self.chosen].sum())

    @property
    def digests(self) -> Any:
        """(N,) of the ids of each row."""
        return self.arrays.digest[self.chosen]

    @property
    def last(self) -> Any:
        """(N,) the last token of each row that is learned; −1 where the row is cut."""
        return np.where(self.arrays.cut[self.chosen] > 0, -1, self.arrays.last[self.chosen])


class Joined(Sequence[T]):
    """Sequences one after the other, none of them copied."""

    def __init__(self, parts: Sequence[Sequence[T]]) -> None:
        self.parts = [part for part in parts if len(part)]
        self._starts = [0, *accumulate(map(len, self.parts))]

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if not isinstance(index, slice):
            place = range(len(self))[index]
            part = bisect_right(self._starts, place) - 1
            return self.parts[part][place - self._starts[part]]
        low, high, step = index.indices(len(self))
        if step != 1:
            return [self[place] for place in range(low, high, step)]
        cuts = zip(self.parts, self._starts, strict=False)
        return type(self)([part[max(0, low - at) : max(0, high - at)] for part, at in cuts])

    def __iter__(self) -> Iterator[T]:
        return (one for part in self.parts for one in part)


class JoinedExamples(Joined[Example], _OnDisk):
    """Examples of several files that are all on disk."""

    parts: list[Any]

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [length for part in self.parts for length in part.lengths]

    @cached_property
    def trainable_tokens(self) -> int:
        """Tokens of all rows that are learned."""
        return sum(part.trainable_tokens for part in self.parts)

    @property
    def digests(self) -> Any:
        """(N,) of the ids of each row."""
        return np.concatenate([part.digests for part in self.parts])

    @property
    def last(self) -> Any:
        """(N,) the last token of each row that is learned; −1 where the row is cut."""
        return np.concatenate([part.last for part in self.parts])
