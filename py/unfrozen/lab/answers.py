"""What a model answers: greedily, and scored by loss and exact match; models between two models.

Greedy decoding takes the likeliest token, again and again, until the end token. Keys and values of
what was read stay, so that each new token costs one row (the KV cache). Held-out rows are scored by
their loss and by exact match (`unfrozen.held_out`): one forward pass gives both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from unfrozen.held_out import ExactMatch
from unfrozen.lab.demo import END, EncodedRow, documents
from unfrozen.lab.llama import EMBEDDING, LAST_NORM, Layer, Llama, Weights
from unfrozen.lab.operations import Floats, inverse_rms, matmul, norm, rotate, silu_product
from unfrozen.lab.tokenizer import Tokenizer

SCORED_AT_ONCE: Final = 16  # rows
POSITIONS: Final = 128  # the model was made for so many
READ_CHARACTERS: Final = (
    4000  # of the end of a prompt: more tokens than POSITIONS, whatever it says
)


class Answer(NamedTuple):
    """What a model writes, as one text and as the text of each token."""

    text: str
    pieces: tuple[str, ...]
    ended: bool
    """Whether the model ended the answer itself."""
    read_tokens: int
    """How many of the prompt's tokens it has read, at the end of the prompt."""
    whole: bool
    """Whether that was all of it."""


class Reader:
    """One text read by one model; remembers keys and values, (tokens, K, d) in each layer."""

    def __init__(self, model: Llama, weights: Weights) -> None:
        self.model, self.weights = model, weights
        shape = (POSITIONS, model.shape.kv_heads, model.shape.head_dim)
        layers = range(model.shape.layers)
        self._keys = [np.empty(shape, np.float32) for _ in layers]
        self._values = [np.empty(shape, np.float32) for _ in layers]
        self._read = 0

    def read(self, ids: list[int]) -> Floats:
        """Return the logits (V,) after these tokens, which follow all earlier ones."""
        positions = np.arange(self._read, self._read + len(ids))
        tables, x = self.model.tables(positions), self.weights[EMBEDDING][ids]
        for index in range(self.model.shape.layers):
            w = Layer.of(self.weights, index)
            heads = len(x), -1, self.model.shape.head_dim
            n = norm(x, inverse_rms(x, self.model.epsilon), w.norm)
            q = rotate(matmul(n, w.q.T).reshape(heads), tables)
            self._keys[index][positions] = rotate(matmul(n, w.k.T).reshape(heads), tables)
            self._values[index][positions] = matmul(n, w.v.T).reshape(heads)
            x = x + matmul(self._attend(q, index).reshape(len(x), -1), w.o.T)
            n = norm(x, inverse_rms(x, self.model.epsilon), w.middle_norm)
            x = x + matmul(silu_product(matmul(n, w.gate.T), matmul(n, w.up.T)), w.down.T)
        self._read += len(ids)
        last = x[-1:]
        n = norm(last, inverse_rms(last, self.model.epsilon), self.weights[LAST_NORM])
        logits: Floats = matmul(n, self.model.head(self.weights)[1].T)[0]
        return logits

    def _attend(self, q: Floats, index: int) -> Floats:
        """Return the attention output (n, H, d) of the n newest tokens, over all that were read."""
        total = self._read + len(q)
        share = q.shape[1] // self.model.shape.kv_heads
        keys = np.repeat(self._keys[index][:total], share, axis=1)  # (total, H, d)
        values = np.repeat(self._values[index][:total], share, axis=1)
        scores = np.einsum("nhd,thd->hnt", q, keys) / np.float32(math.sqrt(q.shape[-1]))
        ahead = np.arange(total) > (self._read + np.arange(len(q)))[:, None]  # (n, total)
        np.copyto(scores, -np.inf, where=ahead)
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        found: Floats = np.einsum("hnt,thd->nhd", scores, values)
        return found


def generate(
    model: Llama, weights: Weights, tokenizer: Tokenizer, prompt: str, new_tokens: int
) -> Answer:
    """Return what the model writes after `prompt`, at most `new_tokens` tokens and its end.

    Of a long prompt the end is read, as many tokens as leave room for the answer; of an empty one,
    the token that separates texts.
    """
    special = list(tokenizer.special.values())
    new_tokens = min(new_tokens, POSITIONS - 1)
    whole = [token.id for token in tokenizer.encode(prompt[-READ_CHARACTERS:])]
    ids = whole[-(POSITIONS - new_tokens) :] or [special[END]]
    reader, written, ended = Reader(model, weights), list[int](), False
    logits = reader.read(ids)
    while len(written) < new_tokens and not ended:
        token = int(logits.argmax())
        ended = token == special[END]
        written.append(token)
        if not ended and len(written) < new_tokens:
            logits = reader.read([token])
    text_ids = [token for token in written if token not in special]
    pieces = tuple(tokenizer.decode([token]) for token in text_ids)
    read_all = len(ids) >= len(whole) and len(prompt) <= READ_CHARACTERS
    return Answer(tokenizer.decode(text_ids), pieces, ended, len(ids), read_all)


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


def blend(start: Weights, end: Weights, alpha: float) -> Weights:
    """Return θ₀ + α(θ − θ₀).

    A point on the line between two models, as WiSE-FT takes it (arXiv 2109.01903).
    """
    share = np.float32(alpha)
    return {name: first + share * (end[name] - first) for name, first in start.items()}
