"""Rows from a file, in an order that is a pure function of (seed, epoch), as padded micro-batches.

Where a run stands in its data is one integer: how many rows it has taken. Nothing else has to be
saved to continue exactly. Nothing is left out silently: rows that were cut or that have nothing to
train on are counted in `RowSet` and shown by the run.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.encode import BadRow, Encoder, Example
from gpu_runner.errors import DataError

IGNORED: Final = -100  # label of a position that does not enter the loss
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowSet:
    """Encoded rows that have something to train on, and the count of everything left out."""

    name: str
    rows: tuple[Row, ...]
    examples: tuple[Example, ...]
    rows_read: int
    cut_rows: int
    cut_tokens: int
    untrainable_rows: int
    sha256: str

    @property
    def tokens(self) -> int:
        """All tokens of all rows, padding not counted."""
        return sum(len(example.ids) for example in self.examples)

    @property
    def trainable_tokens(self) -> int:
        """Predictions that enter the loss in one pass."""
        return sum(example.trainable_tokens for example in self.examples)

    @property
    def longest_tokens(self) -> int:
        """Length of the longest row."""
        return max(len(example.ids) for example in self.examples)

    def remarks(self) -> list[str]:
        """One sentence for each kind of row that was altered or left out."""
        found = []
        if self.cut_rows:
            found.append(
                f"{self.name}: {self.cut_rows} of {self.rows_read} rows were longer than --seq-len"
                f" and lost {self.cut_tokens:,} tokens at their ends."
            )
        if self.untrainable_rows:
            found.append(
                f"{self.name}: {self.untrainable_rows} of {self.rows_read} rows have no trainable"
                " token and are left out."
            )
        return found


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch, padded on the right to its longest row.

    `input_ids`, `attention_mask` (1 where a row has a token) and `labels` (IGNORED where nothing
    is trained) are (B, T) int64; `trainable_tokens` counts the labels, before any forward pass.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    trainable_tokens: int

    @property
    def tokens(self) -> int:
        """B·T, padding included: what the model computes on."""
        return self.input_ids.numel()

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.labels.to(device),
            self.trainable_tokens,
        )


def read_rows(source: str) -> list[tuple[str, Row]]:
    """(where, row) pairs of a `.jsonl` file, or of the `train` split of a Hugging Face data set.

    Raises `DataError` with file, line number and reason for the first line that is not a JSON
    object, and for a source that is neither a file nor a data set that can be loaded.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        raise DataError(f"{path} is a directory: give one .jsonl file.")
    if not path.exists():
        return _hub_rows(source)
    rows = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    rows.append((f"{path}:{number}", _parse(line, f"{path}:{number}")))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start})."
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if not rows:
        raise DataError(f"{path} has no rows: give a file with at least one JSON object a line.")
    return rows


def _parse(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON ({error.msg} at column {error.colno}):"
            f" {line.strip()[:60]!r}. Each line is one object."
        ) from None
    except RecursionError:
        raise DataError(f"{where}: not usable JSON (nested too deeply).") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: a row is a JSON object, but this is a {type(row).__name__}.")
    return row


def _hub_rows(source: str) -> list[tuple[str, Row]]:
    looks_like_file = source.endswith((".jsonl", ".json")) or source.startswith((".", "/", "~"))
    try:
        if looks_like_file:
            raise ImportError
        import datasets  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        hint = (
            "check the path"
            if looks_like_file
            else "check the path; if it is a Hugging Face data set id, first `pip install datasets`"
        )
        raise DataError(f"{source}: there is no such file; {hint}.") from None
    try:
        loaded = datasets.load_dataset(source, split="train")
    except Exception as error:  # the hub, the network, or the data set's own script
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{source}: neither a file nor a data set that can be loaded ({reason})."
        ) from error
    return [(f"{source}[{index}]", dict(row)) for index, row in enumerate(loaded)]


def load_set(name: str, sources: Sequence[tuple[str, Row]], encoder: Encoder) -> RowSet:
    """Encode every row of `read_rows`; refuse a set in which nothing can be trained.

    Raises `DataError`: a row of no known format (where and why); "0 of N rows have trainable
    tokens", with the first row and its mask.
    """
    encoded: list[tuple[Row, Example]] = []
    for where, row in sources:
        try:
            encoded.append((row, encoder.encode(row)))
        except BadRow as error:
            raise DataError(f"{where}: {error}.") from None
    kept = [(row, example) for row, example in encoded if example.trainable_tokens]
    if not kept:
        raise DataError(_nothing_to_train(name, encoded, encoder))
    return RowSet(
        name=name,
        rows=tuple(row for row, _ in kept),
        examples=tuple(example for _, example in kept),
        rows_read=len(encoded),
        cut_rows=sum(example.cut_tokens > 0 for _, example in encoded),
        cut_tokens=sum(example.cut_tokens for _, example in encoded),
        untrainable_rows=len(encoded) - len(kept),
        sha256=fingerprint([example for _, example in kept]),
    )


def _nothing_to_train(name: str, encoded: list[tuple[Row, Example]], encoder: Encoder) -> str:
    first = encoded[0][1]
    why = (
        "the rows end (at --seq-len) before their answers begin: raise --seq-len"
        if any(example.cut_tokens for _, example in encoded)
        else "the answers are empty: fill in completion, output, or an assistant message"
    )
    return (
        f"0 of {len(encoded)} rows have trainable tokens in the {name} data: {why}."
        f" The first row, with trained tokens in [brackets]: {encoder.show(first)}"
    )


def fingerprint(examples: Sequence[Example]) -> str:
    """SHA-256 of the encoded rows: a resumed run must see the same numbers in the same order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.ids, example.trained)).encode())
    return digest.hexdigest()


def hold_out(sources: list[tuple[str, Row]], seed: int) -> tuple[list[Any], list[Any]]:
    """Split rows into (training, held out): every tenth of a seeded order, at most 64, at least 1.

    Raises `DataError` for a single row.
    """
    if len(sources) < 2:
        raise DataError("1 row cannot be split into training and held-out rows: give --eval-data.")
    order = epoch_order(len(sources), seed, -1)
    held = set(order[: min(64, max(1, len(sources) // 10))])
    return (
        [row for index, row in enumerate(sources) if index not in held],
        [row for index, row in enumerate(sources) if index in held],
    )


@lru_cache(maxsize=4)
def epoch_order(rows: int, seed: int, epoch: int) -> tuple[int, ...]:
    """A permutation of 0 … rows−1 that depends on nothing but its arguments."""
    order = list(range(rows))
    random.Random(f"unfrozen order {seed} {epoch}").shuffle(order)
    return tuple(order)


def row_at(position: int, rows: int, seed: int) -> int:
    """Index of the row at `position`, counted from the start of the run through all epochs."""
    epoch, offset = divmod(position, rows)
    return epoch_order(rows, seed, epoch)[offset]


def steps_in(epochs: float, rows: int, rows_per_step: int) -> int:
    """Optimizer steps that see every row `epochs` times (rounded up, at least 1)."""
    return max(1, math.ceil(epochs * rows / rows_per_step - 1e-9))


def collate(examples: Sequence[Example], pad_id: int) -> Batch:
    """Pad on the right; padding has label IGNORED and attention 0."""
    longest = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), longest), pad_id)  # (B, T)
    labels = torch.full((len(examples), longest), IGNORED)  # (B, T)
    attention = torch.zeros((len(examples), longest), dtype=torch.int64)  # (B, T)
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length] = torch.tensor(example.ids)
        attention[row, :length] = 1
        trained = torch.tensor(example.trained)
        labels[row, :length][trained] = ids[row, :length][trained]
    return Batch(ids, attention, labels, sum(example.trainable_tokens for example in examples))


@dataclass(frozen=True, slots=True)
class Feed:
    """The training rows as micro-batches by step number (1, 2, …)."""

    examples: tuple[Example, ...]
    seed: int
    micro_batch: int
    grad_accum: int
    pad_id: int

    @property
    def rows_per_step(self) -> int:
        """Rows that one optimizer step sees."""
        return self.micro_batch * self.grad_accum

    def step(self, number: int) -> Iterator[Batch]:
        """The micro-batches of step `number` (1-based), each (B, T)."""
        for chosen in self._chosen(number):
            yield collate(chosen, self.pad_id)

    def trainable_tokens(self, number: int) -> int:
        """Trainable tokens of all micro-batches of a step, known before any is computed."""
        return sum(e.trainable_tokens for chosen in self._chosen(number) for e in chosen)

    def padded_tokens(self, number: int) -> int:
        """Tokens of the largest micro-batch of a step, padding included: B·T."""
        return max(len(c) * max(len(e.ids) for e in c) for c in self._chosen(number))

    def _chosen(self, number: int) -> Iterator[list[Example]]:
        first = (number - 1) * self.rows_per_step
        for start in range(first, first + self.rows_per_step, self.micro_batch):
            positions = range(start, start + self.micro_batch)
            indices = [row_at(p, len(self.examples), self.seed) for p in positions]
            yield [self.examples[index] for index in indices]
