"""The operations of a Llama, each with its derivative beneath it.

Shapes: T tokens, h width, f ffn, V vocabulary, P positions that predict. Elementwise work on wide
arrays takes ROWS rows at a time, so that temporaries stay small and fit the caches.

In the browser numpy comes without BLAS, and a matmul of this size takes twenty times as long as it
has to. `web/python/matmul.wat` does it with the vector instructions of WebAssembly, adding up in
numpy's own order; a page hands it to `set_kernel`. Everywhere else numpy does it.

Causal attention runs over packed documents, one length of document at a time:

    scores = q kᵀ / √d      p = softmax(scores)      out = p v

Its forward pass saves q, k, v, out and one number a row, the logarithm of the softmax's sum; the
scores are recomputed in the backward pass (Dao et al., arXiv 2205.14135, algorithm 4). There H are
heads, K kv heads, R = H / K, d the width of a head, D documents of L tokens each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unfrozen.memory.loss import LINEAR_CHUNK

Floats = NDArray[np.float32]
_CALL_INTS: Final = 20
_PANEL_FLOATS: Final = 8  # columns the kernel takes at a time
_ROW_FLOATS: Final = 32  # where it puts the rest of a row whose end is no multiple of that

_FRACTIONS: Final = 32  # of an octave, in the table of exponentials
_LARGEST: Final = 88.0  # beyond it e^x is no fp32 number

_kernel: Callable[[int], object] | None = None
_exp_kernel: Callable[[int], object] | None = None
_call = np.zeros(_CALL_INTS, np.int32)
_panel = np.zeros(0, np.float32)
_exp_call = np.zeros(3, np.int32)
_octave = (2 ** (np.arange(_FRACTIONS) / _FRACTIONS)).view(np.int64) - (
    np.arange(_FRACTIONS, dtype=np.int64) << 47
)


def set_kernel(
    kernel: Callable[[int], object] | None, exp: Callable[[int], object] | None = None
) -> None:
    """Let `kernel` multiply fp32 matrices and `exp` take exponentials, or numpy again for None.

    It is called with the address of 20 ints: of a, b and out their address and strides in bytes
    (two of the batch, then rows and columns; out's columns lie side by side), the batch's two
    sizes, m, n, k, and the address of 8·k + 32 floats to work in. `exp` reads three ints, see
    web/python/matmul.wat.
    """
    global _kernel, _exp_kernel
    _kernel, _exp_kernel = kernel, exp


def matmul(a: Floats, b: Floats, out: Floats | None = None) -> Floats:
    """Return a (…, m, k) · b (…, k, n) in fp32, (…, m, n), in `out` where it is given."""
    if _kernel is None or a.ndim > 4 or not (a.dtype == b.dtype == np.float32):
        return np.matmul(a, b, out=out)
    if out is None:
        out = np.empty((*a.shape[:-1], b.shape[-1]), np.float32)
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    nothing = 0 in (*out.shape, k)  # the kernel counts down to none, and from none for ever
    if nothing or out.strides[-1] != out.itemsize or a.shape[:-2] != b.shape[:-2]:
        return np.matmul(a, b, out=out)
    global _panel
    if (wanted := _PANEL_FLOATS * k + _ROW_FLOATS) > len(_panel):
        _panel = np.empty(wanted, np.float32)
    batch = (1, 1, *a.shape[:-2])[-2:]
    _call[:] = (*_place(a), *_place(b), *_place(out)[:-1], *batch, m, n, k, _address(_panel))
    _kernel(_address(_call))
    return out


def exponentiate(x: Floats) -> None:
    """Put e^x in the place of x, which lies in one piece and is at most _LARGEST."""
    if _exp_kernel is None or x.dtype != np.float32:
        np.exp(x, out=x)
        return
    _exp_call[:] = _address(x), x.size, _address(_octave)
    _exp_kernel(_address(_exp_call))


def _place(array: Floats) -> tuple[int, ...]:
    return _address(array), *(0, 0, *array.strides)[-4:]


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


ROWS: Final = 64
DOCUMENTS: Final = 8  # that attend at a time, for the same reason


class Tables(NamedTuple):
    """cos and sin of every position's angles, (T, 1, d): d/2 of them, twice."""

    cos: Floats
    sin: Floats

    @classmethod
    def at(cls, positions: NDArray[np.int64], d: int, theta: float) -> Tables:
        """Return tables of these positions: angle j is position · theta^(−2j/d)."""
        speeds = 1 / theta ** (np.arange(0, d, 2, dtype=np.float32) / np.float32(d))
        angles = positions[:, None].astype(np.float32) * speeds.astype(np.float32)  # (T, d/2)
        twice = np.concatenate([angles, angles], axis=1)[:, None]
        return cls(np.cos(twice), np.sin(twice))

    def back(self) -> Tables:
        """Return the tables of the inverse rotation, which is the derivative."""
        return Tables(self.cos, -self.sin)


def rotate(x: Floats, tables: Tables) -> Floats:
    """Return x (T, H, d) with entries j and j + d/2 turned by the position's angle."""
    half = x.shape[-1] // 2
    turned = x * tables.cos
    turned[..., :half] -= x[..., half:] * tables.sin[..., half:]
    turned[..., half:] += x[..., :half] * tables.sin[..., :half]
    return turned


def inverse_rms(x: Floats, epsilon: float) -> Floats:
    """Return one over the root mean square of each row of x (T, h): (T, 1)."""
    squares = np.einsum("th,th->t", x, x)[:, None] / np.float32(x.shape[-1])
    found: Floats = 1 / np.sqrt(squares + np.float32(epsilon))
    return found


def norm(x: Floats, root: Floats, gain: Floats) -> Floats:
    """Return x · root · gain: rows of length √h, times one number a column."""
    n = x * root
    n *= gain
    return n


def norm_backward(by_n: Floats, unit: Floats, root: Floats, gain: Floats) -> Floats:
    """Return the gradient of gain; by_n (T, h) becomes that of x. `unit` is x · root and is used
    up.

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
    """Return silu(gate) · up, with silu(x) = x / (1 + e^−x): (T, f)."""
    inner = np.empty_like(gate)
    for part in _parts(len(gate)):
        np.divide(gate[part], _one_plus_exp_minus(gate[part]), out=inner[part])
        inner[part] *= up[part]
    return inner


def silu_backward(by_inner: Floats, gate: Floats, up: Floats) -> tuple[Floats, Floats]:
    """Return the gradients of gate and up, (T, f) each; by_inner is used up and becomes the first.

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
    hits: NDArray[np.bool_] | None = None,
) -> float:
    """Return Σ −log softmax(n headᵀ)[target] over the P rows of n (P, h), in nats; head (V, h).

    Fills `hits` (P,) with whether the target is the likeliest token, and by_n and by_head with the
    gradients by n and by the head: softmax − 1[target], made in the place of the logits,
    LINEAR_CHUNK positions at a time.
    """
    total = 0.0
    for start in range(0, len(n), LINEAR_CHUNK):
        part = slice(start, start + LINEAR_CHUNK)
        chosen = np.arange(len(targets[part])), targets[part]
        logits = matmul(n[part], head.T)  # (chunk, V)
        logits -= logits.max(1, keepdims=True)
        below = logits[chosen]
        total -= float(below.sum(dtype=np.float64))
        if hits is not None:
            np.equal(below, 0, out=hits[part])
        exponentiate(logits)
        sums = logits.sum(1, keepdims=True)
        total += float(np.log(sums).sum(dtype=np.float64))
        if by_n is not None and by_head is not None:
            logits /= sums
            logits[chosen] -= 1
            matmul(logits, head, out=by_n[part])
            if start:
                by_head += matmul(logits.T, n[part])
            else:
                matmul(logits.T, n[part], out=by_head)
        del logits
    return total


def _one_plus_exp_minus(x: Floats) -> Floats:
    found = np.negative(x)
    np.minimum(found, np.float32(_LARGEST), out=found)
    exponentiate(found)
    found += 1
    return found


def _parts(rows: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, rows, ROWS))


Places = NDArray[np.int64]


def places_by_length(lengths: Sequence[int]) -> list[Places]:
    """Return the token indices of documents of one length, D at most DOCUMENTS: (D, L) each."""
    starts = np.cumsum([0, *lengths])[:-1]
    found = []
    for length in sorted(set(lengths)):
        same = starts[[i for i, other in enumerate(lengths) if other == length], None]
        found += [
            same[first : first + DOCUMENTS] + np.arange(length)
            for first in range(0, len(same), DOCUMENTS)
        ]
    return found


def attend(q: Floats, k: Floats, v: Floats, documents: list[Places]) -> tuple[Floats, Floats]:
    """Return the output (T, H, d) and the logsumexp (T, H), from q (T, H, d) and k, v (T, K, d)."""
    out, logs = np.empty_like(q), np.empty(q.shape[:2], np.float32)
    for places in documents:
        queries, keys, values = _queries(q, k, places), _keys(k, places), _keys(v, places)
        scores = _scores(queries, keys, places)  # (D, K, R·L, L)
        highest = scores.max(-1, keepdims=True)
        scores -= highest
        np.exp(scores, out=scores)
        sums = scores.sum(-1, keepdims=True)
        scores /= sums
        out[places] = _back(matmul(scores, values), q, places)
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
    """Return the gradients of q, k and v, from `slope` (T, H, d), that of the output."""
    by_q, by_k, by_v = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    for places in documents:
        queries, keys, values = _queries(q, k, places), _keys(k, places), _keys(v, places)
        p = _scores(queries, keys, places)  # (D, K, R·L, L)
        p -= _queries(logs[..., None], k, places)
        np.exp(p, out=p)  # the same softmax as before
        slopes = _queries(slope, k, places)  # (D, K, R·L, d)
        by_v[places] = _back(matmul(p.swapaxes(-1, -2), slopes), v, places)
        by_p = matmul(slopes, values.swapaxes(-1, -2))
        # softmax: d scores = p · (d p − Σ p · d p), and Σ p · d p = Σ out · d out
        by_p -= (slopes * _queries(out, k, places)).sum(-1, keepdims=True)
        by_p *= p
        by_p *= 1 / math.sqrt(q.shape[-1])
        by_q[places] = _back(matmul(by_p, keys), q, places)
        by_k[places] = _back(matmul(by_p.swapaxes(-1, -2), queries), k, places)
    return by_q, by_k, by_v


def _scores(queries: Floats, keys: Floats, places: Places) -> Floats:
    """Return q kᵀ / √d with a causal mask: (D, K, R·L, L)."""
    length = places.shape[1]
    scores = matmul(queries, keys.swapaxes(-1, -2))
    scores *= 1 / math.sqrt(queries.shape[-1])
    ahead = np.triu(np.ones((length, length), bool), 1)
    by_head = scores.reshape(*scores.shape[:2], -1, length, length)  # (D, K, R, L, L)
    np.copyto(by_head, -np.inf, where=ahead)
    return scores


def _queries(x: Floats, k: Floats, places: Places) -> Floats:
    """Return (T, H, d) as (D, K, R·L, d): the R heads of a key, one after another."""
    count, length = places.shape
    shared = x[places].reshape(count, length, k.shape[1], -1, x.shape[-1])
    return shared.transpose(0, 2, 3, 1, 4).reshape(count, k.shape[1], -1, x.shape[-1])


def _keys(x: Floats, places: Places) -> Floats:
    """Return (T, K, d) as (D, K, L, d)."""
    return x[places].transpose(0, 2, 1, 3)


def _back(x: Floats, like: Floats, places: Places) -> Floats:
    """Return (D, K, R·L, d) as (D, L, H, d), where `like` is (T, H, d)."""
    count, length = places.shape
    shared = x.reshape(count, x.shape[1], -1, length, x.shape[-1])
    return shared.transpose(0, 3, 1, 2, 4).reshape(count, length, *like.shape[1:])
