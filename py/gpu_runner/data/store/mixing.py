"""Several sets as one: mixed by their weights, or with earlier rows replayed among them.

Small sets are copied, sets on disk only numbered: the whole of them is never in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from gpu_runner.data.example import lengths
from gpu_runner.data.rows import RowSet, fingerprint
from gpu_runner.data.store.sequences import Joined, JoinedExamples, Stored
from gpu_runner.errors import DataError
from unfrozen.training.order import epoch_order, replayed


def mixed(parts: Sequence[tuple[RowSet, float]], seed: int) -> RowSet:
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
    rows, places, examples = (_joined([one[kind] for one in picked]) for kind in range(3))
    return RowSet(
        name="training",
        rows=rows,
        places=places,
        examples=examples,
        rows_read=sum(part.rows_read for part, _ in parts),
        cut_rows=0,
        cut_tokens=0,
        untrainable_rows=0,
        sha256=_fingerprint(examples, [part for part, _ in parts], chosen),
        template_rows=sum(part.template_rows for part, _ in parts),
        parts=tuple(parts),
    )


def with_replay(train: RowSet, replay: RowSet, share: float, seed: int) -> RowSet:
    """`train` and as many rows of `replay` as make `share` of all tokens.

    The shuffled order of an epoch (`unfrozen.training.order`) then mixes them in.
    """
    taken = replayed(train.tokens, lengths(replay.examples), share, seed)
    again = _picked(replay, taken)
    first = (train.rows, train.places, train.examples)
    rows, places, examples = (_joined([one, more]) for one, more in zip(first, again, strict=True))
    return replace(
        train,
        rows=rows,
        places=places,
        examples=examples,
        sha256=_fingerprint(examples, [train, replay], [taken]),
        replayed_rows=len(taken),
        replay=replay,
    )


def _picked(rows: RowSet, which: Any) -> tuple[Sequence[Any], ...]:
    """Some rows of a set: what they were made of, where they were read, and as they are trained."""
    return tuple(
        held.of(which) if isinstance(held, Stored) else tuple(held[index] for index in which)
        for held in (rows.rows, rows.places, rows.examples)
    )


def _joined(parts: Sequence[Sequence[Any]]) -> Sequence[Any]:
    if all(isinstance(part, tuple) for part in parts):
        return tuple(chain.from_iterable(parts))
    flat = [one for part in parts for one in (part.parts if isinstance(part, Joined) else [part])]
    on_disk = all(hasattr(part, "digests") for part in flat)
    return (JoinedExamples if on_disk else Joined)(flat)


def _fingerprint(examples: Sequence[Any], parts: Sequence[RowSet], chosen: Sequence[Any]) -> str:
    """SHA-256 of the rows; of rows on disk it follows from those of their sets, and which."""
    if isinstance(examples, tuple):
        return fingerprint(examples)
    follows = hashlib.sha256("".join(part.sha256 for part in parts).encode())
    for which in chosen:
        follows.update(np.asarray(which, np.int64).tobytes())
    return follows.hexdigest()
