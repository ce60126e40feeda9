"""Data sets made of others: mixed by weight, with replay, or some of the examples on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gpu_runner.config.source import parse
from gpu_runner.data.cache import load_encoded, notes, total
from gpu_runner.data.dataset import EncodedDataset, Note, fingerprint, hold_out
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import ExampleStore, InMemoryExamples
from gpu_runner.data.files import Watch
from gpu_runner.data.sources import Row
from gpu_runner.data.stored import (
    Arrays,
    Joined,
    JoinedExamples,
    Stored,
    StoredExamples,
    StoredLocations,
    StoredRows,
)
from gpu_runner.errors import DataError
from unfrozen.data_order import epoch_order, replayed

T = TypeVar("T")


def mix(parts: Sequence[tuple[EncodedDataset, float]], seed: int) -> EncodedDataset:
    """Sets of rows as one: of each all rows as often as its weight says, of a fraction some.

    Which ones follows from `seed`. Raises `DataError` where that leaves no row.
    """
    chosen = []
    for number, (part, weight) in enumerate(parts):
        count = len(part.examples)
        some = epoch_order(count, seed, -2 - number)[: round(weight % 1 * count)]
        whole = np.tile(np.arange(count), int(weight))
        chosen.append(np.concatenate([whole, np.sort(np.array(some, np.int64))]))
    if not any(map(len, chosen)):
        raise DataError("the weights leave no row to train on: give larger ones.")
    picked = [_picked(part, which) for (part, _), which in zip(parts, chosen, strict=True)]
    examples = _joined_examples([some for _, _, some in picked])
    return EncodedDataset(
        name="training",
        rows=_joined([some for some, _, _ in picked]),
        places=_joined([some for _, some, _ in picked]),
        examples=examples,
        rows_read=sum(part.rows_read for part, _ in parts),
        cut_rows=0,
        cut_tokens=0,
        untrainable_rows=0,
        sha256=_combined_sha256(examples, [part for part, _ in parts], chosen),
        template_rows=sum(part.template_rows for part, _ in parts),
        parts=tuple(parts),
    )


def add_replay(
    train: EncodedDataset, replay: EncodedDataset, share: float, seed: int
) -> EncodedDataset:
    """`train` and as many rows of `replay` as make `share` of all tokens.

    The shuffled order of an epoch (`unfrozen.data_order`) then mixes them in.
    """
    taken = replayed(train.tokens, replay.examples.lengths, share, seed)
    rows, places, again = _picked(replay, taken)
    examples = _joined_examples([train.examples, again])
    return replace(
        train,
        rows=_joined([train.rows, rows]),
        places=_joined([train.places, places]),
        examples=examples,
        sha256=_combined_sha256(examples, [train, replay], [taken]),
        replayed_rows=len(taken),
        replay=replay,
    )


def _picked(rows: EncodedDataset, which: Any) -> tuple[Sequence[Row], Sequence[str], ExampleStore]:
    """Return the rows of a set with the indices `which`, where they were read, and their tokens."""
    examples = rows.examples
    if isinstance(examples, StoredExamples):
        return _select(rows.rows, which), _select(rows.places, which), examples.of(which)
    chosen = InMemoryExamples(examples[index] for index in which)
    return _select(rows.rows, which), _select(rows.places, which), chosen


def _select(sequence: Sequence[T], which: Any) -> Sequence[T]:
    if isinstance(sequence, Stored):
        return sequence.of(which)
    return tuple(sequence[index] for index in which)


def _joined(parts: Sequence[Sequence[T]]) -> Sequence[T]:
    if all(isinstance(part, tuple) for part in parts):
        return tuple(chain.from_iterable(parts))
    return Joined(_flat(parts))


def _joined_examples(parts: Sequence[ExampleStore]) -> ExampleStore:
    if all(isinstance(part, InMemoryExamples) for part in parts):
        return InMemoryExamples(chain.from_iterable(parts))
    return JoinedExamples(_flat(parts))


def _flat(parts: Sequence[Any]) -> list[Any]:
    return [one for part in parts for one in (part.parts if isinstance(part, Joined) else [part])]


def _combined_sha256(
    examples: ExampleStore, parts: Sequence[EncodedDataset], chosen: Sequence[Any]
) -> str:
    """SHA-256 of the rows; of rows on disk it follows from those of their sets, and which."""
    if isinstance(examples, InMemoryExamples):
        return fingerprint(examples)
    follows = hashlib.sha256("".join(part.sha256 for part in parts).encode())
    for which in chosen:
        follows.update(np.asarray(which, np.int64).tobytes())
    return follows.hexdigest()


@dataclass(frozen=True, slots=True)
class Encoded:
    """One source whose rows lie on disk, and what was bad in it, if that does not stop the run."""

    source: str
    arrays: Arrays
    bad: list[str] | None

    @property
    def place(self) -> str:
        """The file, or the name of the set."""
        return parse(self.source).place

    @property
    def sha256(self) -> str:
        """Of all of its rows, held out or not."""
        return _digest(self.arrays, np.arange(len(self.arrays.origin)))


def encode_source(source: str, encoder: Encoder, watch: Watch, *, skip: bool) -> Encoded:
    """A source on disk; with `skip` its bad rows are left out and told. Raises `DataError`."""
    bad: list[str] | None = [] if skip else None
    return Encoded(source, load_encoded(source, encoder, bad, watch), bad)


def encode_first(
    name: str, source: str, encoder: Encoder, watch: Watch, *, skip: bool, most: int
) -> EncodedDataset:
    """The first rows of a source, at most `most`, as a set that nothing is trained on.

    Its fingerprint is that of the same rows in memory. Raises `DataError`.
    """
    bad: list[str] | None = [] if skip else None
    found = load_encoded(source, encoder, bad, watch, most)
    return replace(all_examples(name, found, parse(source).place, bad), sha256=found.meta["sha256"])


def split_task(
    sources: Sequence[Encoded], seed: int, most: int
) -> tuple[EncodedDataset, EncodedDataset | None, list[tuple[str, float]]]:
    """The training rows of all sources, the held-out ones, and SHA-256 and weight of each source.

    At most `most` rows are held out; for 0 none are. Raises `DataError`.
    """
    made_of = [(one.sha256, parse(one.source).weight) for one in sources]
    first = sources[0]
    if len(sources) > 1 or made_of[0][1] != 1:
        parts, scored = split_sources(sources, seed, most)
        return mix(parts, seed), scored, made_of
    if most:
        return *split_held_out(first.arrays, first.place, seed, first.bad, most), made_of
    return all_examples("training", first.arrays, first.place, first.bad), None, made_of


def all_examples(name: str, found: Arrays, place: str, bad: list[str] | None) -> EncodedDataset:
    """All rows that have something to train on. Raises `DataError` for none."""
    return _noted(_set(name, found, np.ones(len(found.origin), np.bool_), place), found, bad)


def split_held_out(
    found: Arrays, place: str, seed: int, bad: list[str] | None, most: int
) -> tuple[EncodedDataset, EncodedDataset]:
    """(training rows, at most `most` held-out ones), told apart as those of small files are.

    Raises `DataError` where either has nothing to train on, or there is only one row.
    """
    _, held = hold_out(np.unique(found.origin).tolist(), seed)
    train = _set("training", found, ~np.isin(found.origin, held), place)
    scored = _set("held-out", found, np.isin(found.origin, held[:most]), place)
    return _noted(train, found, bad), scored


def split_sources(
    sources: Sequence[Encoded], seed: int, most: int
) -> tuple[list[tuple[EncodedDataset, float]], EncodedDataset | None]:
    """The training rows of each source with its weight, and the held-out rows of all of them.

    Those are told apart as the rows of small files are, at most `most`; for 0 none is held out.
    Raises `DataError` where nothing of a source, or nothing of what is held out, can be trained.
    """
    origins = [np.unique(one.arrays.origin) for one in sources]
    starts = np.cumsum([0, *map(len, origins)])
    held = np.array(hold_out(list(range(starts[-1])), seed)[1] if most else [], np.int64)
    parts, scored = [], []
    for one, rows, start in zip(sources, origins, starts, strict=False):
        mine = held[(held >= start) & (held < start + len(rows))]
        if len(mine) == len(rows):
            raise DataError(f"{one.source}: all of its rows are held out: give --eval-data.")
        found, weight = one.arrays, parse(one.source).weight
        wanted = ~np.isin(found.origin, rows[mine - start])
        name = f"training {Path(one.place).name}"
        parts.append((_noted(_set(name, found, wanted, one.place), found, one.bad), weight))
        few = mine[mine < held[most]] if most < len(held) else mine
        scored.append(np.flatnonzero(np.isin(found.origin, rows[few - start])))
    return parts, _scored(sources, scored) if most else None


def _scored(sources: Sequence[Encoded], chosen: Sequence[Any]) -> EncodedDataset:
    """Held-out rows of several sources, of which there are few: read into memory."""
    there = [(one, int(index)) for one, some in zip(sources, chosen, strict=True) for index in some]
    read = [(one, index, one.arrays.example(index)) for one, index in there]
    kept = [found for found in read if found[2].trainable_tokens]
    if not kept:
        raise DataError(
            f"0 of {len(read)} rows have trainable tokens in the held-out data: give --eval-data."
        )
    examples = InMemoryExamples(example for _, _, example in kept)
    return EncodedDataset(
        name="held-out",
        rows=tuple(one.arrays.row(index) for one, index, _ in kept),
        examples=examples,
        rows_read=len({(one.source, int(one.arrays.origin[index])) for one, index in there}),
        cut_rows=sum(example.cut_tokens > 0 for _, _, example in read),
        cut_tokens=sum(example.cut_tokens for _, _, example in read),
        untrainable_rows=len(read) - len(kept),
        sha256=fingerprint(examples),
        places=tuple(f"{one.place}[{int(one.arrays.origin[index])}]" for one, index, _ in kept),
    )


def _set(name: str, found: Arrays, wanted: Any, place: str) -> EncodedDataset:
    trainable = found.trainable > 0
    chosen = np.flatnonzero(wanted & trainable)
    if not len(chosen):
        raise DataError(
            f"0 of {int(wanted.sum())} rows have trainable tokens in the {name} data: look at some"
            " with `unfrozen data`."
        )
    cut = found.cut[wanted]
    return EncodedDataset(
        name=name,
        rows=StoredRows(found, chosen),
        examples=StoredExamples(found, chosen),
        rows_read=len(np.unique(found.origin[wanted])),
        cut_rows=int((cut > 0).sum()),
        cut_tokens=int(cut.sum()),
        untrainable_rows=int((wanted & ~trainable).sum()),
        sha256=_digest(found, chosen),
        places=StoredLocations(found, chosen, place),
    )


def _digest(found: Arrays, chosen: Any) -> str:
    """SHA-256 of some rows by the hashes of their tokens, and of what is trained in all of them."""
    follows = hashlib.sha256(found.digest[chosen].tobytes())
    follows.update(found.trained.data)
    return follows.hexdigest()


def _noted(rows: EncodedDataset, found: Arrays, bad: list[str] | None) -> EncodedDataset:
    """The set with all that is to be said of the file it is of."""
    return replace(
        rows,
        rows_read=total(found, "read") + len(bad or ()),
        bad_rows=tuple(bad or ()),
        notes=tuple(Note(*note) for note in notes(found)),
        split_rows=total(found, "split"),
        template_rows=total(found, "in_template"),
    )
