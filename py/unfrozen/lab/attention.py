"""Causal attention over packed documents, forward and backward, one length of document at a time.

    scores = q kᵀ / √d      p = softmax(scores)      out = p v

What the forward pass keeps is q, k, v, out and one number a row, the logarithm of the softmax's
sum; the scores are made again for the backward pass (Dao et al., arXiv 2205.14135, algorithm 4).

Shapes: T tokens, H heads, K kv heads, R = H / K, d width of a head; D documents of L tokens each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unfrozen.lab.products import Floats, product

Places = NDArray[np.int64]


def places_by_length(lengths: Sequence[int]) -> list[Places]:
    """For each length that occurs, where the tokens of its documents stand: (D, L)."""
    starts = np.cumsum([0, *lengths])[:-1]
    return [
        starts[[i for i, other in enumerate(lengths) if other == length], None] + np.arange(length)
        for length in sorted(set(lengths))
    ]


def attend(q: Floats, k: Floats, v: Floats, documents: list[Places]) -> tuple[Floats, Floats]:
    """out (T, H, d) and the logarithms (T, H), from q (T, H, d) and k, v (T, K, d)."""
    out, logs = np.empty_like(q), np.empty(q.shape[:2], np.float32)
    for places in documents:
        queries, keys, values = _queries(q, k, places), _keys(k, places), _keys(v, places)
        scores = _scores(queries, keys, places)  # (D, K, R·L, L)
        highest = scores.max(-1, keepdims=True)
        scores -= highest
        np.exp(scores, out=scores)
        sums = scores.sum(-1, keepdims=True)
        scores /= sums
        out[places] = _back(product(scores, values), q, places)
        highest += np.log(sums, out=sums)
        logs[places] = _back(highest, logs[..., None], places)[..., 0]
    return out, logs


def attend_backward(
    slope: Floats,
    q: Floats,
    k: Floats,
    v: Floats,
    out: Floats,
    logs: Floats,
    documents: list[Places],
) -> tuple[Floats, Floats, Floats]:
    """Gradients of q, k and v, from `slope` (T, H, d), that of out."""
    by_q, by_k, by_v = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    for places in documents:
        queries, keys, values = _queries(q, k, places), _keys(k, places), _keys(v, places)
        p = _scores(queries, keys, places)  # (D, K, R·L, L)
        p -= _queries(logs[..., None], k, places)
        np.exp(p, out=p)  # the same softmax as before
        slopes = _queries(slope, k, places)  # (D, K, R·L, d)
        by_v[places] = _back(product(p.swapaxes(-1, -2), slopes), v, places)
        by_p = product(slopes, values.swapaxes(-1, -2))
        # softmax: d scores = p · (d p − Σ p · d p), and Σ p · d p = Σ out · d out
        by_p -= (slopes * _queries(out, k, places)).sum(-1, keepdims=True)
        by_p *= p
        by_p *= 1 / math.sqrt(q.shape[-1])
        by_q[places] = _back(product(by_p, keys), q, places)
        by_k[places] = _back(product(by_p.swapaxes(-1, -2), queries), k, places)
    return by_q, by_k, by_v


def _scores(queries: Floats, keys: Floats, places: Places) -> Floats:
    """q kᵀ / √d, and −∞ where a token would look ahead: (D, K, R·L, L)."""
    length = places.shape[1]
    scores = product(queries, keys.swapaxes(-1, -2))
    scores *= 1 / math.sqrt(queries.shape[-1])
    ahead = np.triu(np.ones((length, length), bool), 1)
    by_head = scores.reshape(*scores.shape[:2], -1, length, length)  # (D, K, R, L, L)
    np.copyto(by_head, -np.inf, where=ahead)
    return scores


def _queries(x: Floats, k: Floats, places: Places) -> Floats:
    """(T, H, d) → (D, K, R·L, d): the R heads that share a key stand one after the other."""
    count, length = places.shape
    shared = x[places].reshape(count, length, k.shape[1], -1, x.shape[-1])
    return shared.transpose(0, 2, 3, 1, 4).reshape(count, k.shape[1], -1, x.shape[-1])


def _keys(x: Floats, places: Places) -> Floats:
    """(T, K, d) → (D, K, L, d)."""
    return x[places].transpose(0, 2, 1, 3)


def _back(x: Floats, like: Floats, places: Places) -> Floats:
    """(D, K, R·L, d) → (D, L, H, d), where `like` is (T, H, d)."""
    count, length = places.shape
    shared = x.reshape(count, x.shape[1], -1, length, x.shape[-1])
    return shared.transpose(0, 3, 1, 2, 4).reshape(count, length, *like.shape[1:])
