"""The operations of a Llama, each with its derivative beneath it.

Shapes: T tokens, h width, f ffn, V vocabulary, P positions that predict. Elementwise work on wide
arrays takes ROWS rows at a time, so that little is held beside what is kept, and caches suffice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unfrozen.lab.products import Floats, product
from unfrozen.memory.loss import LINEAR_CHUNK

ROWS: Final = 64


class Tables(NamedTuple):
    """cos and sin of every position's angles, (T, 1, d): d/2 of them, twice."""

    cos: Floats
    sin: Floats

    @classmethod
    def at(cls, positions: NDArray[np.int64], d: int, theta: float) -> Tables:
        """Angle j of a position is position · theta^(−2j/d), as transformers computes it."""
        speeds = 1 / theta ** (np.arange(0, d, 2, dtype=np.float32) / np.float32(d))
        angles = positions[:, None].astype(np.float32) * speeds.astype(np.float32)  # (T, d/2)
        twice = np.concatenate([angles, angles], axis=1)[:, None]
        return cls(np.cos(twice), np.sin(twice))

    def back(self) -> Tables:
        """A rotation's derivative turns the other way."""
        return Tables(self.cos, -self.sin)


def rotated(x: Floats, tables: Tables) -> Floats:
    """x (T, H, d) with entry j and entry j + d/2 turned by their angle, position by position."""
    half = x.shape[-1] // 2
    turned = x * tables.cos
    turned[..., :half] -= x[..., half:] * tables.sin[..., half:]
    turned[..., half:] += x[..., :half] * tables.sin[..., :half]
    return turned


def inverse_root(x: Floats, epsilon: float) -> Floats:
    """One over the root mean square of each row of x (T, h): (T, 1)."""
    squares = np.einsum("th,th->t", x, x)[:, None] / np.float32(x.shape[-1])
    found: Floats = 1 / np.sqrt(squares + np.float32(epsilon))
    return found


def norm(x: Floats, root: Floats, gain: Floats) -> Floats:
    """x · root · gain: rows of length √h, times one number a column."""
    n = x * root
    n *= gain
    return n


def norm_backward(by_n: Floats, unit: Floats, root: Floats, gain: Floats) -> Floats:
    """The gradient of gain; by_n (T, h) becomes that of x. `unit` is x · root and is used up.

    d gain = Σ by_n · unit            d x = root · (g − unit · mean(g · unit)), g = by_n · gain
    """
    by_gain: Floats = np.einsum("th,th->h", by_n, unit)
    by_n *= gain
    along = np.einsum("th,th->t", by_n, unit)[:, None] / np.float32(unit.shape[-1])
    unit *= along
    by_n -= unit
    by_n *= root
    return by_gain


def silu_product(gate: Floats, up: Floats) -> Floats:
    """silu(gate) · up, with silu(x) = x / (1 + e^−x): (T, f)."""
    inner = np.empty_like(gate)
    for part in _parts(len(gate)):
        np.divide(gate[part], _one_plus_exp_minus(gate[part]), out=inner[part])
        inner[part] *= up[part]
    return inner


def silu_backward(by_inner: Floats, gate: Floats, up: Floats) -> tuple[Floats, Floats]:
    """Gradients of gate and up, (T, f) each; by_inner is used up and becomes the first.

    d up = by_inner · silu(gate)      d gate = by_inner · up · σ · (1 + gate · (1 − σ))
    """
    by_up = np.empty_like(up)
    for part in _parts(len(gate)):
        sigma = 1 / _one_plus_exp_minus(gate[part])
        np.multiply(gate[part], sigma, out=by_up[part])
        by_up[part] *= by_inner[part]
        by_inner[part] *= up[part]
        by_inner[part] *= sigma * (1 + gate[part] * (1 - sigma))
    return by_inner, by_up


def cross_entropy(
    n: Floats,
    head: Floats,
    targets: NDArray[np.int64],
    by_n: Floats | None = None,
    by_head: Floats | None = None,
) -> float:
    """Σ −log softmax(n headᵀ)[target] over the P rows of n (P, h), in nats; head (V, h).

    Fills by_n and by_head with its gradients by n and by the head: softmax − 1[target], made in the
    place of the logits, LINEAR_CHUNK positions at a time.
    """
    total = 0.0
    for start in range(0, len(n), LINEAR_CHUNK):
        part = slice(start, start + LINEAR_CHUNK)
        chosen = np.arange(len(targets[part])), targets[part]
        logits = product(n[part], head.T)  # (chunk, V)
        logits -= logits.max(1, keepdims=True)
        total -= float(logits[chosen].sum(dtype=np.float64))
        np.exp(logits, out=logits)
        sums = logits.sum(1, keepdims=True)
        total += float(np.log(sums).sum(dtype=np.float64))
        if by_n is not None and by_head is not None:
            logits /= sums
            logits[chosen] -= 1
            product(logits, head, out=by_n[part])
            if start:
                by_head += product(logits.T, n[part])
            else:
                product(logits.T, n[part], out=by_head)
        del logits
    return total


def _one_plus_exp_minus(x: Floats) -> Floats:
    found = np.negative(x)
    np.minimum(found, np.float32(88), out=found)  # beyond it e^x is no fp32 number
    np.exp(found, out=found)
    found += 1
    return found


def _parts(rows: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, rows, ROWS))
