"""Encoded rows as arrays on disk, mapped into memory: a row is read when it is asked for.

    ids       (T,)    uint32   the tokens of all rows, one row after the other
    trained   (T,)    bool     which of them are learned
    starts    (N + 1,) int64   where each row begins
    cut       (N,)    int64    tokens that truncation dropped
    origin    (N,)    int64    number of the row of the file that each was made of
    digest    (N,)    uint64   of the ids of each row
    texts     bytes, (N + 1,)  the rows themselves, as JSON

They are written by parts, in order, and are whole when `meta.json` is there.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Self, TypeVar, overload

import numpy as np

from gpu_runner.data.examples import Example, ExampleStore, digest_bytes

META: Final = "meta.json"
_TOGETHER: Final = 100_000  # rows whose tokens are looked at in one go
_KINDS: Final[dict[str, Any]] = {
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
class EncodedExamples:
    """Some encoded rows as the bytes of each array, and what is to be said of them."""

    arrays: dict[str, bytes]
    summary: dict[str, Any]


def pack(
    rows: Iterable[tuple[int, dict[str, Any], Example]], summary: dict[str, Any]
) -> EncodedExamples:
    """Encoded rows, each with the number and the text of what it was made of, as bytes."""
    made: dict[str, list[bytes]] = {name: [] for name in _KINDS}
    for origin, row, example in rows:
        ids = np.array(example.ids, np.uint32).tobytes()
        text = json.dumps(row, ensure_ascii=False, default=_as_text).encode(
            "utf-8", "surrogatepass"
        )
        made["ids"].append(ids)
        made["trained"].append(bytes(example.trained))
        made["texts"].append(text)
        for name, number in (
            ("lengths", len(example.ids)),
            ("cut", example.cut_tokens),
            ("origin", origin),
            ("text_lengths", len(text)),
        ):
            made[name].append(number.to_bytes(8, "little"))
        made["digest"].append(digest_bytes(ids))
    return EncodedExamples({name: b"".join(pieces) for name, pieces in made.items()}, summary)


def _as_text(value: object) -> str:
    """What JSON has no word for, in a column that nothing is made of: a date, a picture."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)


def write(
    folder: Path, parts: Iterable[EncodedExamples], meta: dict[str, Any]
) -> list[dict[str, Any]]:
    """Write parts in order and their summaries into the meta data; return the summaries."""
    summaries = []
    with ExitStack() as open_files:
        files = {name: open_files.enter_context((folder / name).open("wb")) for name in _KINDS}
        for part in parts:
            for name, content in part.arrays.items():
                files[name].write(content)
            summaries.append(part.summary)
    (folder / META).write_text(json.dumps({**meta, "summaries": summaries}), "utf-8")
    return summaries


class Arrays:
    """The arrays of a folder. Raises OSError or ValueError where they are not whole."""

    def __init__(self, folder: Path) -> None:
        self.meta: dict[str, Any] = json.loads((folder / META).read_text("utf-8"))
        found = {name: _mapped(folder / name, kind) for name, kind in _KINDS.items()}
        self.ids, self.trained = found["ids"], found["trained"]
        self.cut, self.origin, self.digest = found["cut"], found["origin"], found["digest"]
        self.starts = np.concatenate([[0], np.cumsum(found["lengths"])])
        self.texts = found["texts"]
        self.text_starts = np.concatenate([[0], np.cumsum(found["text_lengths"])])
        if self.starts[-1] != len(self.ids) or self.text_starts[-1] != len(self.texts):
            raise ValueError(f"{folder} is not whole")

    @cached_property
    def trainable(self) -> Any:
        """(N,) how many tokens of each row are learned."""
        full = np.diff(self.starts) > 0
        counts = np.zeros(len(full), np.int64)
        if full.any():
            counts[full] = np.add.reduceat(self.trained, self.starts[:-1][full], dtype=np.int64)
        return counts

    @cached_property
    def last_tokens(self) -> Any:
        """(N,) the last token of each row that is learned; −1 where there is none."""
        found = np.full(len(self.cut), -1, np.int64)
        for low in range(0, len(found), _TOGETHER):
            starts = self.starts[low : low + _TOGETHER + 1]
            learned = np.flatnonzero(self.trained[starts[0] : starts[-1]]) + starts[0]
            before = np.searchsorted(learned, starts[1:]) - 1
            rows = np.flatnonzero(before >= 0)
            rows = rows[learned[before[rows]] >= starts[:-1][rows]]
            found[low + rows] = self.ids[learned[before[rows]]]
        return found

    def example(self, index: int) -> Example:
        """Row number `index`."""
        low, high = self.starts[index], self.starts[index + 1]
        ids, trained = self.ids[low:high].tolist(), self.trained[low:high].tolist()
        return Example(tuple(ids), tuple(trained), int(self.cut[index]))

    def row(self, index: int) -> dict[str, Any]:
        """What row number `index` was made of."""
        low, high = self.text_starts[index], self.text_starts[index + 1]
        text = self.texts[low:high].tobytes().decode("utf-8", "surrogatepass")
        row: dict[str, Any] = json.loads(text)
        return row


def _mapped(path: Path, kind: Any) -> Any:
    if not path.stat().st_size:
        return np.zeros(0, kind)
    return np.memmap(path, kind, "r")


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


class StoredLocations(Stored[str]):
    """Where they were read: the file, and the number of the row in it."""

    def at(self, index: int) -> str:
        """That of row number `index` of the arrays."""
        return f"{self.place}[{int(self.arrays.origin[index])}]"


class StoredExamples(Stored[Example], ExampleStore):
    """The rows as they are trained."""

    def at(self, index: int) -> Example:
        """Row number `index` of the arrays."""
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
        return np.where(self.arrays.cut[self.chosen] > 0, -1, self.arrays.last_tokens[self.chosen])


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
