"""Held-out rows scored by their loss and by exact match; models between two models.

A row is answered right where, each time all tokens before are given, the likeliest token is the
row's: greedy decoding then writes the completion and ends. So one forward pass scores both, and
nothing is generated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unfrozen.lab.demo import EncodedRow, documents
from unfrozen.lab.llama import Llama, Weights

SCORED_AT_ONCE: Final = 16  # rows


class Exact(NamedTuple):
    """Rows by how they are answered."""

    right: int
    does_not_stop: int
    """The completion is right, and the model writes on where it should end."""
    wrong: int

    def __add__(self, other: object) -> Exact:
        """Return the rows of both."""
        if not isinstance(other, Exact):
            return NotImplemented
        return Exact(*(a + b for a, b in zip(self, other, strict=True)))

    def as_json(self) -> dict[str, int]:
        """Return the counts by name, with `of`, how many rows there are."""
        return self._asdict() | {"of": sum(self)}


class RowScore(NamedTuple):
    """Of some rows: the sum of the losses of their trained tokens, in nats, and the answers."""

    loss_sum: float
    tokens: int
    exact: Exact

    @property
    def loss(self) -> float:
        """The mean over the trained tokens, in nats."""
        return self.loss_sum / self.tokens

    def __add__(self, other: object) -> RowScore:
        """Return the score of both."""
        if not isinstance(other, RowScore):
            return NotImplemented
        return RowScore(
            self.loss_sum + other.loss_sum, self.tokens + other.tokens, self.exact + other.exact
        )


NOTHING: Final = RowScore(0.0, 0, Exact(0, 0, 0))


def score(model: Llama, weights: Weights, rows: Sequence[EncodedRow]) -> Iterator[RowScore]:
    """Yield the scores of these rows, SCORED_AT_ONCE rows at a time."""
    for start in range(0, len(rows), SCORED_AT_ONCE):
        some = rows[start : start + SCORED_AT_ONCE]
        packed = documents(some)
        hits = np.empty(len(packed.targets), bool)
        loss_sum = model.loss(weights, packed, hits)
        ends = np.cumsum([row.trained_tokens for row in some])
        yield RowScore(loss_sum, len(hits), _count(np.split(hits, ends[:-1])))


def _count(answers: Sequence[NDArray[np.bool_]]) -> Exact:
    """Return the kinds of answers: of each row, whether every trained token is the likeliest."""
    right = sum(bool(hits.all()) for hits in answers)
    written = sum(bool(hits[:-1].all()) for hits in answers)
    return Exact(right, written - right, len(answers) - written)


def blend(start: Weights, end: Weights, alpha: float, back: Sequence[str] = ()) -> Weights:
    """Return θ₀ + α(θ − θ₀), with the parts in `back` as they were in θ₀.

    A point on the line between two models, as WiSE-FT takes it (arXiv 2109.01903). A part is one of
    `parts`: names of a model between dots.
    """
    share = np.float32(alpha)

    def is_back(name: str) -> bool:
        return any(f".{part}." in name for part in back)

    return {
        name: first if is_back(name) else first + share * (end[name] - first)
        for name, first in start.items()
    }


def parts(layers: int) -> list[str]:
    """Return the parts of a model that `blend` can put back."""
    return ["embed_tokens", *(f"layers.{index}" for index in range(layers)), "self_attn", "mlp"]
