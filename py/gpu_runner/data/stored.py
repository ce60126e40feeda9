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

import hashlib
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

from gpu_runner.data.examples import Example

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
class EncodedRows:
    """Some encoded rows as the bytes of each array, and what is to be said of them."""

    arrays: dict[str, bytes]
    told: dict[str, Any]


def pack(rows: Iterable[tuple[int, dict[str, Any], Example]], told: dict[str, Any]) -> EncodedRows:
    """Encoded rows, each with the number and the text of what it was made of, as bytes."""
    made: dict[str, list[bytes]] = {name: [] for name in _KINDS}
    for origin, row, example in rows:
        ids = np.array(example.ids, np.uint32).tobytes()
        text = json.dumps(row, ensure_ascii=False, default=_told).encode("utf-8", "surrogatepass")
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
        made["digest"].append(_digest(ids))
    return EncodedRows({name: b"".join(pieces) for name, pieces in made.items()}, told)


def _told(value: object) -> str:
    """What JSON has no word for, in a column that nothing is made of: a date, a picture."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)


def digest(ids: Sequence[int]) -> int:
    """Eight bytes of a hash of the ids of a row, as a number."""
    return int.from_bytes(_digest(np.array(ids, np.uint32).tobytes()), "little")


def _digest(ids: bytes) -> bytes:
    return hashlib.blake2b(ids, digest_size=8).digest()


def write(folder: Path, parts: Iterable[EncodedRows], meta: dict[str, Any]) -> list[dict[str, Any]]:
    """Write parts in order, and what was told with each into the meta data. Returns that too."""
    told = []
    with ExitStack() as open_files:
        files = {name: open_files.enter_context((folder / name).open("wb")) for name in _KINDS}
        for part in parts:
            for name, content in part.arrays.items():
                files[name].write(content)
            told.append(part.told)
    (folder / META).write_text(json.dumps({**meta, "told": told}), "utf-8")
    return told


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
    def last(self) -> Any:
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
