"""Data sets made of others: some rows held out, several mixed by weight, some replayed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gpu_runner.config.source import parse
from gpu_runner.data.dataset import (
    EncodedDataset,
    EncodedSource,
    held_out_rows,
    merge_notes,
    select_trainable,
)
from gpu_runner.data.examples import (
    ExampleStore,
    InMemoryExamples,
    Joined,
    JoinedExamples,
    Stored,
    fingerprint,
)
from gpu_runner.errors import DataError
from unfrozen.training_data import epoch_order, replayed

T = TypeVar("T")


def split_task(
    sources: Sequence[EncodedSource], seed: int, most: int
) -> tuple[EncodedDataset, EncodedDataset | None]:
    """Return the training set made of some sources, and what is held out of them.

    At most `most` rows are held out; with 0 none are. Raises `DataError` where nothing can be
    trained of a source, or of what is held out.
    """
    weights = [parse(one.source).weight for one in sources]
    starts = np.cumsum([0, *map(len, sources)])
    if starts[-1] == 1:  # an error in the only row comes before the error that it is alone
        select_trainable(sources[0], "training")
    held = np.array(held_out_rows(int(starts[-1]), seed) if most else [], np.int64)
    train, held_out = [], []
    for one, weight, start in zip(sources, weights, starts, strict=False):
        own = _indices_in(one, held, start)
        if len(own) == len(one):
            raise DataError(f"{one.source}: all of its rows are held out: give --eval-data.")
        name = "training"
        if weights != [1.0]:
            name = f"training {Path(parse(one.source).place).name}"
        rows: Any = np.delete(np.arange(len(one)), own) if len(own) else None
        train.append((select_trainable(one, name, rows), weight))
        few = _indices_in(one, held[:most], start)
        held_out.append(one.select("held-out", few, held_out=True))
    if weights != [1.0]:
        return mix(train, seed), _join("held-out", held_out) if most else None
    if most and not len(held_out[0].examples):
        raise sources[0].no_trainable("held-out", held[:most].tolist())
    return train[0][0], held_out[0] if most else None


def _indices_in(source: EncodedSource, rows: Any, start: int) -> Any:
    """Return which of some rows of all sources are in one that begins at row `start`."""
    return rows[(rows >= start) & (rows < start + len(source))] - start


def _join(name: str, parts: Sequence[EncodedDataset]) -> EncodedDataset:
    """Return a few examples of several data sets as one in memory."""
    examples = InMemoryExamples(chain.from_iterable(part.examples for part in parts))
    untrainable = sum(part.untrainable_rows for part in parts)
    if not examples:
        raise DataError(
            f"0 of {untrainable} examples have trainable tokens in the {name} data: give"
            " --eval-data."
        )
    return EncodedDataset(
        name=name,
        rows=tuple(chain.from_iterable(part.rows for part in parts)),
        examples=examples,
        rows_read=sum(part.rows_read for part in parts),
        cut_rows=sum(part.cut_rows for part in parts),
        cut_tokens=sum(part.cut_tokens for part in parts),
        untrainable_rows=untrainable,
        sha256=fingerprint(examples),
        notes=merge_notes(note for part in parts for note in part.notes),
        split_rows=sum(part.split_rows for part in parts),
        template_rows=sum(part.template_rows for part in parts),
        places=tuple(chain.from_iterable(part.places for part in parts)),
    )


def mix(parts: Sequence[tuple[EncodedDataset, float]], seed: int) -> EncodedDataset:
    """Return data sets as one: each as often as its weight says, a fraction of it in part.

    Which part follows from `seed`. Raises `DataError` where the weights leave no example.
    """
    chosen = []
    for number, (part, weight) in enumerate(parts):
        count = len(part.examples)
        some = epoch_order(count, seed, -2 - number)[: round(weight % 1 * count)]
        whole = np.tile(np.arange(count), int(weight))
        chosen.append(np.concatenate([whole, np.sort(np.array(some, np.int64))]))
    if not any(map(len, chosen)):
        raise DataError("the weights leave no example to train on: give larger ones.")
    picked = [(part, which) for (part, _), which in zip(parts, chosen, strict=True)]
    examples = _concatenate_examples([part.examples.select(which) for part, which in picked])
    return EncodedDataset(
        name="training",
        rows=_concatenate([_select(part.rows, which) for part, which in picked]),
        places=_concatenate([_select(part.places, which) for part, which in picked]),
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
    """Return `train` and after it as many examples of `replay` as make `share` of all tokens.

    The shuffled order of an epoch (`unfrozen.training_data`) then mixes them.
    """
    taken = replayed(train.tokens, replay.examples.lengths, share, seed)
    examples = _concatenate_examples([train.examples, replay.examples.select(taken)])
    return replace(
        train,
        rows=_concatenate([train.rows, _select(replay.rows, taken)]),
        places=_concatenate([train.places, _select(replay.places, taken)]),
        examples=examples,
        sha256=_combined_sha256(examples, [train, replay], [taken]),
        replayed_rows=len(taken),
        replay=replay,
    )


def _select(sequence: Sequence[T], which: Any) -> Sequence[T]:
    if isinstance(sequence, Stored):
        return sequence.select(which)
    return tuple(sequence[index] for index in which)


def _concatenate(parts: Sequence[Sequence[T]]) -> Sequence[T]:
    if all(isinstance(part, tuple) for part in parts):
        return tuple(chain.from_iterable(parts))
    return Joined(_flat(parts))


def _concatenate_examples(parts: Sequence[ExampleStore]) -> ExampleStore:
    if all(isinstance(part, InMemoryExamples) for part in parts):
        return InMemoryExamples(chain.from_iterable(parts))
    return JoinedExamples(_flat(parts))


def _flat(parts: Sequence[Any]) -> list[Any]:
    return [one for part in parts for one in (part.parts if isinstance(part, Joined) else [part])]


def _combined_sha256(
    examples: ExampleStore, parts: Sequence[EncodedDataset], chosen: Sequence[Any]
) -> str:
    """Return the SHA-256 of examples; on disk it follows from those of the sets, and which."""
    if isinstance(examples, InMemoryExamples):
        return fingerprint(examples)
    follows = hashlib.sha256("".join(part.sha256 for part in parts).encode())
    for which in chosen:
        follows.update(np.asarray(which, np.int64).tobytes())
    return follows.hexdigest()
