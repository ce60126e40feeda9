"""Encoded rows as padded micro-batches, in an order that is a pure function of (seed, epoch).

Where a run stands in its data is one integer: how many rows it has taken. Nothing else has to be
saved to continue exactly.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

import torch
from torch import Tensor

from gpu_runner.encode import Example

IGNORED: Final = -100  # label of a position that does not enter the loss


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch, padded on the right to its longest row.

    `input_ids` and `labels` (IGNORED where nothing is trained) are (B, T) int64; `trainable_tokens`
    counts the labels, before any forward pass. There is no attention mask: in a causal model no
    token sees what comes after it, so padding on the right changes nothing before it, and attention
    without a mask is faster and keeps less for the backward pass.
    """

    input_ids: Tensor
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
            self.labels.to(device),
            self.trainable_tokens,
        )


class Shape(NamedTuple):
    """What a micro-batch costs: `rows` × `length` tokens, logits at `loss_tokens` of them."""

    rows: int
    length: int
    loss_tokens: int


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
    """Pad on the right with `pad_id`; padding has label IGNORED."""
    longest = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), longest), pad_id)  # (B, T)
    labels = torch.full((len(examples), longest), IGNORED)  # (B, T)
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length] = torch.tensor(example.ids)
        trained = torch.tensor(example.trained)
        labels[row, :length][trained] = ids[row, :length][trained]
    return Batch(ids, labels, sum(example.trainable_tokens for example in examples))


def predicting_positions(labels: Tensor) -> Tensor:
    """Ascending positions t (K,) whose next label, t + 1, is trained in some row of (B, T)."""
    trained = (labels[:, 1:] != IGNORED).any(dim=0)  # (T-1,)
    return torch.nonzero(trained).flatten()


@dataclass(frozen=True, slots=True)
class Feed:
    """The training rows as micro-batches by step number (1, 2, …)."""

    examples: tuple[Example, ...]
    seed: int
    micro_batch: int
    grad_accum: int
    pad_id: int
    rank: int = 0
    ranks: int = 1
    """Of the micro-batches of a step this process takes number `rank`, `rank` + `ranks`, …"""

    @property
    def rows_per_step(self) -> int:
        """Rows that one optimizer step sees."""
        return self.micro_batch * self.grad_accum

    def step(self, number: int) -> Iterator[Batch]:
        """This process's micro-batches of step `number` (1-based), each (B, T)."""
        for chosen in islice(self._chosen(number), self.rank, None, self.ranks):
            yield collate(chosen, self.pad_id)

    def trainable_tokens(self, number: int) -> int:
        """Trainable tokens of all micro-batches of a step, known before any is computed."""
        return sum(e.trainable_tokens for chosen in self._chosen(number) for e in chosen)

    def shapes(self, number: int) -> Iterator[Shape]:
        """The shapes of a step's micro-batches, without making them."""
        for chosen in self._chosen(number):
            length = max(len(example.ids) for example in chosen)
            positions = {t for example in chosen for t in example.trained_positions}  # K of them
            yield Shape(len(chosen), length, len(chosen) * len(positions))

    def _chosen(self, number: int) -> Iterator[list[Example]]:
        first = (number - 1) * self.rows_per_step
        for start in range(first, first + self.rows_per_step, self.micro_batch):
            positions = range(start, start + self.micro_batch)
            indices = [row_at(p, len(self.examples), self.seed) for p in positions]
            yield [self.examples[index] for index in indices]
