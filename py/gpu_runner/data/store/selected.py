"""Some of the rows that lie on disk, as a set of a run."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np

from gpu_runner.data.rows import Note, RowSet, hold_out
from gpu_runner.data.store.arrays import Arrays, StoredExamples, StoredPlaces, StoredRows
from gpu_runner.data.store.encoding import notes, total
from gpu_runner.errors import DataError


def every(name: str, found: Arrays, place: str, bad: list[str] | None) -> RowSet:
    """All rows that have something to train on. Raises `DataError` for none."""
    return _noted(_set(name, found, np.ones(len(found.origin), np.bool_), place), found, bad)


def split(
    found: Arrays, place: str, seed: int, bad: list[str] | None, most: int
) -> tuple[RowSet, RowSet]:
    """(training rows, at most `most` held-out ones), told apart as those of small files are.

    Raises `DataError` where either has nothing to train on, or there is only one row.
    """
    _, held = hold_out(np.unique(found.origin).tolist(), seed)
    train = _set("training", found, ~np.isin(found.origin, held), place)
    scored = _set("held-out", found, np.isin(found.origin, held[:most]), place)
    return _noted(train, found, bad), scored


def _set(name: str, found: Arrays, wanted: Any, place: str) -> RowSet:
    trainable = found.trainable > 0
    chosen = np.flatnonzero(wanted & trainable)
    if not len(chosen):
        raise DataError(
            f"0 of {int(wanted.sum())} rows have trainable tokens in the {name} data: look at some"
            " with `unfrozen data`."
        )
    cut = found.cut[wanted]
    follows = hashlib.sha256(found.digest[chosen].tobytes())
    follows.update(found.trained.data)
    return RowSet(
        name=name,
        rows=StoredRows(found, chosen),
        examples=StoredExamples(found, chosen),
        rows_read=len(np.unique(found.origin[wanted])),
        cut_rows=int((cut > 0).sum()),
        cut_tokens=int(cut.sum()),
        untrainable_rows=int((wanted & ~trainable).sum()),
        sha256=follows.hexdigest(),
        places=StoredPlaces(found, chosen, place),
    )


def _noted(rows: RowSet, found: Arrays, bad: list[str] | None) -> RowSet:
    """The set with all that is to be said of the file it is of."""
    return replace(
        rows,
        rows_read=total(found, "read") + len(bad or ()),
        bad_rows=tuple(bad or ()),
        notes=tuple(Note(*note) for note in notes(found)),
        split_rows=total(found, "split"),
        template_rows=total(found, "in_template"),
    )
