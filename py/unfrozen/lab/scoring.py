"""Held-out rows scored by their loss and by exact match; models between two models.

One forward pass gives both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from unfrozen.exact_match import ExactMatch
from unfrozen.lab.demo import EncodedRow, documents
from unfrozen.lab.llama import Llama, Weights

SCORED_AT_ONCE: Final = 16  # rows


class RowScore(NamedTuple):
    """Of some rows: the sum of the losses of their trained tokens, in nats, and the answers."""

    loss_sum: float
    tokens: int
    exact: ExactMatch

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


NOTHING: Final = RowScore(0.0, 0, ExactMatch())


def score(model: Llama, weights: Weights, rows: Sequence[EncodedRow]) -> Iterator[RowScore]:
    """Yield the scores of these rows, SCORED_AT_ONCE rows at a time."""
    for start in range(0, len(rows), SCORED_AT_ONCE):
        some = rows[start : start + SCORED_AT_ONCE]
        packed = documents(some)
        hits = np.empty(len(packed.targets), bool)
        loss_sum = model.loss(weights, packed, hits)
        ends = np.cumsum([row.trained_tokens for row in some])
        yield RowScore(
            loss_sum, len(hits), ExactMatch.of(part.tolist() for part in np.split(hits, ends[:-1]))
        )


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
