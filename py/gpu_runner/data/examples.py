"""Encoded examples: the tokens of each and which of them are trained, in memory or on disk.

On disk they are arrays that are mapped into memory, so that an example is read when it is used:

    ids       (T,)     uint32   the tokens of all examples, one example after the other
    trained   (T,)     bool     which of them are trained
    lengths   (N,)     int64    tokens of each example
    cut       (N,)     int64    tokens that truncation dropped
    origin    (N,)     int64    index of the source row that each example was made of
    digest    (N,)     uint64   hash of the ids of each example
    texts     bytes, with text_lengths (N,) int64: the rows themselves, as JSON
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Self, TypeVar, overload

import numpy as np

from unfrozen import held_out

T = TypeVar("T")
_AT_ONCE: Final = 100_000  # examples whose tokens are looked at in one go
_DTYPES: Final[dict[str, Any]] = {
    "ids": np.uint32,
    "trained": np.bool_,
    "lengths": np.int64,
    "cut": np.int64,
    "origin": np.int64,
    "digest": np.uint64,
    "texts": np.uint8,
    "text_lengths": np.int64,
}


@dataclass(frozen=True, slots=True)
class Example:
    """An encoded example: `ids` (T,) and `trained` (T,), truncated on the right to `--seq-len`.

    The first token has nothing before it to be predicted from, so it is never trained.
    """

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    cut_tokens: int = 0
    """The number of tokens that truncation dropped."""

    @property
    def trainable_tokens(self) -> int:
        """The number of tokens that enter the loss."""
        return sum(self.trained)

    @property
    def trained_positions(self) -> list[int]:
        """The positions of those tokens, in ascending order."""
        return [position for position, trained in enumerate(self.trained) if trained]


def _digest(ids: bytes) -> bytes:
    """Return eight bytes of a hash of an example's tokens, which are given as uint32."""
    return hashlib.blake2b(ids, digest_size=8).digest()


def fingerprint(examples: Iterable[Example]) -> str:
    """Return the SHA-256 of examples in order, so that a resumed run is known to see the same."""
    return held_out.fingerprint((example.ids, example.trained) for example in examples)


class ExampleStore(Sequence[Example]):
    """Encoded examples in memory or on disk, with a few numbers of each that are ready to use."""

    @property
    @abstractmethod
    def lengths(self) -> list[int]:
        """The number of tokens of each example."""

    @property
    @abstractmethod
    def trainable_tokens(self) -> int:
        """The number of tokens in all examples that enter the loss."""

    @property
    @abstractmethod
    def digests(self) -> Any:
        """(N,) uint64: a hash of the tokens of each example."""

    @property
    @abstractmethod
    def last_tokens(self) -> Any:
        """(N,) int64: the last trained token of each example; −1 where the example is truncated."""

    @property
    @abstractmethod
    def cuts(self) -> Any:
        """(N,) int64: how many tokens truncation dropped of each example."""

    def select(self, which: Any) -> ExampleStore:
        """Return the examples with these indices."""
        return InMemoryExamples(self[index] for index in which)

    def count_in(self, others: ExampleStore) -> int:
        """Return how many of these examples are also in `others`, token for token."""
        return int(np.isin(self.digests, others.digests).sum())

    def duplicates(self) -> list[int]:
        """Return the indices of examples that have occurred before, in ascending order."""
        first = np.unique(self.digests, return_index=True)[1]
        again = np.ones(len(self), np.bool_)
        again[first] = False
        found: list[int] = np.flatnonzero(again).tolist()
        return found

    def by_last_token(self) -> list[tuple[int, Sequence[int]]]:
        """Return (token, indices of the examples that end in it), in order of first occurrence.

        Truncated examples are left out.
        """
        last = self.last_tokens
        order = np.argsort(last, kind="stable")
        order = order[last[order] >= 0]
        tokens, starts = np.unique(last[order], return_index=True)
        groups = np.split(order, starts[1:]) if len(order) else []
        found: list[tuple[int, Any]] = list(zip(tokens.tolist(), groups, strict=True))
        return sorted(found, key=lambda group: int(group[1][0]))


class InMemoryExamples(tuple[Example, ...], ExampleStore):
    """Examples that are all in memory."""

    @cached_property
    def lengths(self) -> list[int]:
        """The number of tokens of each example."""
        return [len(example.ids) for example in self]

    @cached_property
    def trainable_tokens(self) -> int:
        """The number of tokens in all examples that enter the loss."""
        return sum(example.trainable_tokens for example in self)

    @cached_property
    def digests(self) -> Any:
        """(N,) uint64: a hash of the tokens of each example."""
        ids = (np.array(example.ids, np.uint32).tobytes() for example in self)
        return np.array([int.from_bytes(_digest(one), "little") for one in ids], np.uint64)

    @cached_property
    def last_tokens(self) -> Any:
        """(N,) int64: the last trained token of each example; −1 where the example is truncated."""
        return np.array([_last_token(example) for example in self], np.int64)

    @property
    def cuts(self) -> Any:
        """(N,) int64: how many tokens truncation dropped of each example."""
        return np.array([example.cut_tokens for example in self], np.int64)


def _last_token(example: Example) -> int:
    positions = example.trained_positions
    return example.ids[positions[-1]] if positions and not example.cut_tokens else -1


def as_store(examples: Sequence[Example]) -> ExampleStore:
    """Return `examples` itself if it is a store, else a store in memory with the same examples."""
    return examples if isinstance(examples, ExampleStore) else InMemoryExamples(examples)


def pack(rows: Iterable[tuple[int, dict[str, Any], Example]]) -> dict[str, bytes]:
    """Return the arrays of examples as bytes; before each its origin and the row it is made of."""
    pieces: dict[str, list[bytes]] = {name: [] for name in _DTYPES}
    for origin, row, example in rows:
        ids = np.array(example.ids, np.uint32).tobytes()
        text = json.dumps(row, ensure_ascii=False, default=_as_text).encode(
            "utf-8", "surrogatepass"
        )
        pieces["ids"].append(ids)
        pieces["trained"].append(bytes(example.trained))
        pieces["texts"].append(text)
        for name, number in (
            ("lengths", len(example.ids)),
            ("cut", example.cut_tokens),
            ("origin", origin),
            ("text_lengths", len(text)),
        ):
            pieces[name].append(number.to_bytes(8, "little"))
        pieces["digest"].append(_digest(ids))
    return {name: b"".join(some) for name, some in pieces.items()}


def _as_text(value: object) -> str:
    """Return a text for what JSON cannot hold, in an unused column: a date, a picture."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)


@contextmanager
def open_arrays(folder: Path) -> Iterator[Callable[[dict[str, bytes]], None]]:
    """Open the arrays of a folder; what is yielded appends packed examples to them."""
    with ExitStack() as open_files:
        files = {name: open_files.enter_context((folder / name).open("xb")) for name in _DTYPES}

        def append(part: dict[str, bytes]) -> None:
            for name, content in part.items():
                files[name].write(content)

        yield append


class ExampleArrays:
    """The arrays of a folder. Raises OSError or ValueError where they are incomplete."""

    def __init__(self, folder: Path) -> None:
        found = {name: _mapped(folder / name, dtype) for name, dtype in _DTYPES.items()}
        self.ids, self.trained = found["ids"], found["trained"]
        self.cut, self.origin, self.digest = found["cut"], found["origin"], found["digest"]
        self.starts = np.concatenate([[0], np.cumsum(found["lengths"])])
        self.texts = found["texts"]
        self.text_starts = np.concatenate([[0], np.cumsum(found["text_lengths"])])
        if self.starts[-1] != len(self.ids) or self.text_starts[-1] != len(self.texts):
            raise ValueError(f"{folder} is incomplete")

    @cached_property
    def trainable(self) -> Any:
        """(N,) int64: the number of trained tokens of each example."""
        full = np.diff(self.starts) > 0
        counts = np.zeros(len(full), np.int64)
        if full.any():
            counts[full] = np.add.reduceat(self.trained, self.starts[:-1][full], dtype=np.int64)
        return counts

    @cached_property
    def last_tokens(self) -> Any:
        """(N,) int64: the last trained token of each example; −1 where there is none."""
        found = np.full(len(self.cut), -1, np.int64)
        for low in range(0, len(found), _AT_ONCE):
            starts = self.starts[low : low + _AT_ONCE + 1]
            trained = np.flatnonzero(self.trained[starts[0] : starts[-1]]) + starts[0]
            before = np.searchsorted(trained, starts[1:]) - 1
            indices = np.flatnonzero(before >= 0)
            indices = indices[trained[before[indices]] >= starts[:-1][indices]]
            found[low + indices] = self.ids[trained[before[indices]]]
        return found

    def example(self, index: int) -> Example:
        """Return the example of that index."""
        low, high = self.starts[index], self.starts[index + 1]
        ids, trained = self.ids[low:high].tolist(), self.trained[low:high].tolist()
        return Example(tuple(ids), tuple(trained), int(self.cut[index]))

    def row(self, index: int) -> dict[str, Any]:
        """Return the row that the example of that index was made of."""
        low, high = self.text_starts[index], self.text_starts[index + 1]
        text = self.texts[low:high].tobytes().decode("utf-8", "surrogatepass")
        row: dict[str, Any] = json.loads(text)
        return row


def _mapped(path: Path, dtype: Any) -> Any:
    if not path.stat().st_size:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, "r")


class Stored(Sequence[T]):
    """Something of each of the `chosen` examples of arrays, in order; a subclass says what.

    `source` is the file or data set that they were read from.
    """

    def __init__(self, arrays: ExampleArrays, chosen: Any, source: str = "") -> None:
        self.arrays = arrays
        self.chosen = chosen
        self.source = source

    @abstractmethod
    def at(self, index: int) -> T:
        """Return that of the example with that index in the arrays."""

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> T | Self:
        return self.select(index) if isinstance(index, slice) else self.at(int(self.chosen[index]))

    def __iter__(self) -> Iterator[T]:
        return (self.at(int(index)) for index in self.chosen)

    def select(self, which: Any) -> Self:
        """Return some of them, by a slice or by their indices among the chosen."""
        return type(self)(self.arrays, self.chosen[which], self.source)


class StoredRows(Stored[dict[str, Any]]):
    """The rows that the examples were made of."""

    def at(self, index: int) -> dict[str, Any]:
        """Return the row of the example with that index in the arrays."""
        return self.arrays.row(index)


class StoredPlaces(Stored[str]):
    """Where the rows were read: the source, and the index of the row in it."""

    def at(self, index: int) -> str:
        """Return the place of the example with that index in the arrays."""
        return f"{self.source}[{int(self.arrays.origin[index])}]"


class StoredExamples(Stored[Example], ExampleStore):
    """The examples themselves."""

    def at(self, index: int) -> Example:
        """Return the example with that index in the arrays."""
        return self.arrays.example(index)

    @cached_property
    def lengths(self) -> list[int]:
        """The number of tokens of each example."""
        found: list[int] = np.diff(self.arrays.starts)[self.chosen].tolist()
        return found

    @cached_property
    def trainable_tokens(self) -> int:
        """The number of tokens in all examples that enter the loss."""
        return int(self.arrays.trainable[self.chosen].sum())

    @property
    def digests(self) -> Any:
        """(N,) uint64: a hash of the tokens of each example."""
        return self.arrays.digest[self.chosen]

    @property
    def last_tokens(self) -> Any:
        """(N,) int64: the last trained token of each example; −1 where the example is truncated."""
        return np.where(self.cuts > 0, -1, self.arrays.last_tokens[self.chosen])

    @property
    def cuts(self) -> Any:
        """(N,) int64: how many tokens truncation dropped of each example."""
        return self.arrays.cut[self.chosen]


class Joined(Sequence[T]):
    """Sequences one after the other, without a copy of any."""

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


class JoinedExamples(Joined[Example], ExampleStore):
    """Examples of several files that are all on disk."""

    parts: list[Any]  # stores

    @cached_property
    def lengths(self) -> list[int]:
        """The number of tokens of each example."""
        return [length for part in self.parts for length in part.lengths]

    @cached_property
    def trainable_tokens(self) -> int:
        """The number of tokens in all examples that enter the loss."""
        return sum(part.trainable_tokens for part in self.parts)

    @property
    def digests(self) -> Any:
        """(N,) uint64: a hash of the tokens of each example."""
        return np.concatenate([part.digests for part in self.parts])

    @property
    def last_tokens(self) -> Any:
        """(N,) int64: the last trained token of each example; −1 where the example is truncated."""
        return np.concatenate([part.last_tokens for part in self.parts])

    @property
    def cuts(self) -> Any:
        """(N,) int64: how many tokens truncation dropped of each example."""
        return np.concatenate([part.cuts for part in self.parts])
