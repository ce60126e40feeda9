"""Work of one layer (matmuls, scans, bytes moved, kernels), and seconds of a matmul from its sizes.

A matmul of m x k and k x n numbers takes 2·m·n·k operations. The GPU computes its result in tiles,
one per multiprocessor at a time, so that a last wave of few tiles costs as much as a full one
(NVIDIA, Matrix Multiplication Background User's Guide, sections 4.1 and 5). No matmul is faster
than its operands can be read and its result written.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NamedTuple

from unfrozen.memory.layer_setup import LayerSetup
from unfrozen.model import Architecture
from unfrozen.model.architecture import Absent, Convolution, Delta, Dual, Latent, Mixer, Selective

_TILES: Final = ((256, 128), (128, 256), (128, 128))
"""The tiles of that guide's section 4.1 that lose nothing to reading their own operands."""
FILL_SECONDS: Final = 1e-6
"""Of a tile, to fetch its first operands and to write its result: two trips to memory, of 466 to
479 cycles on A100 and H100 (Luo et al., arXiv 2402.13499, table 4)."""


class Matmul(NamedTuple):
    """T x `inputs` by `inputs` x `outputs`, so many `times`; those of experts, which tokens are
    `routed` to, run as `groups` in one kernel, each of which sees `share` of the tokens.
    """

    outputs: int
    inputs: int
    times: int = 1
    groups: int = 1
    share: float = 1.0
    routed: bool = False

    @property
    def weights(self) -> int:
        """Weights of all of them."""
        return self.outputs * self.inputs * self.times * self.groups


class Moved(NamedTuple):
    """Bytes per token through memory and kernels, forward and backward."""

    forward: float = 0.0
    backward: float = 0.0
    kernels: float = 0.0
    kernels_back: float = 0.0

    def plus(self, other: Moved, times: float = 1.0) -> Moved:
        """Return the sum with `times` the other."""
        return Moved(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))


class Rates(NamedTuple):
    """Rates for matmuls: FLOP/s, multiprocessors, bytes of memory per second."""

    flops: float
    multiprocessors: int
    memory: float


@lru_cache(maxsize=16384)
def matmul_seconds(
    m: int, n: int, k: int, rates: Rates, width: int = 2, out: int = 2, groups: int = 1
) -> float:
    """Return the seconds of `groups` m × k by k × n matmuls in one kernel, of numbers `width` bytes
    wide and results of `out` bytes.

    Pure bandwidth where that is slower. Any size of 0 takes no time.
    """
    if not m * n * k * groups:
        return 0.0
    each = 2 * k * rates.multiprocessors / rates.flops
    fastest = math.inf
    for high, wide in _TILES:
        tiles = groups * -(-m // high) * -(-n // wide)
        waves = -(-tiles // rates.multiprocessors)
        fastest = min(fastest, waves * (high * wide * each + FILL_SECONDS))
    return max(fastest, groups * (width * (m * k + k * n) + out * m * n) / rates.memory)


def bias_seconds(rows: float) -> float:
    """Return the seconds for the gradients of two biases that `rows` tokens of an expert gathered:
    one sum after the other, two dependent reads each (PyTorch, aten/src/ATen/native/cuda/
    Indexing.cu, `indexing_backward_kernel`: a warp takes all rows of an index).
    """
    return 2 * rows * FILL_SECONDS


DELTA_CHUNK: Final = 64
"""Tokens of a chunk (flash-linear-attention, fla/ops/gated_delta_rule/chunk.py)."""
GPT_OSS: Final = (26, 46)
"""Times that the function of gpt-oss' experts moves a number of their width, forward and backward,
in transformers, with Liger's kernels too (monkey_patch.py: `swiglu=False`): biases are gathered for
each token and added; every second column is clamped, scaled and multiplied, a kernel each; backward
a half is a matrix of zeros before it is one of gradients (modeling_gpt_oss.py, `_apply_gate`)."""
AGAIN: Final = 3.0
"""Matmuls of a scan backward over those forward: two gradients, and all of it recomputed, which
its kernels save nothing of (mamba_ssm/ops/triton/ssd_combined.py)."""


@lru_cache(maxsize=4096)
def layer_matmuls(
    a: Architecture, sparse: bool = False, expert_ranks: int = 1, places: float = 1.0
) -> tuple[Matmul, ...]:
    """Return the matmuls of one layer of a tensor-parallel rank, forward.

    GPUs that share the experts send each other their tokens: each has fewer experts, and each of
    those more tokens. `places` are those of an expert over its even share of the tokens.
    """
    mixed = mixer_matmuls(a.mixer, a.hidden) if a.mixer else ()
    if a.mixer is None or a.beside:
        mixed = (*_attention(a), *mixed)
    if not a.feeds:
        return mixed
    if not sparse:
        return (*mixed, *_feed_forward(a, a.ffn))
    d, e = a.hidden, a.experts
    assert e is not None
    own = max(1, e.count // expert_ranks)
    share = places * e.per_token / own
    experts = (p._replace(groups=own, share=share, routed=True) for p in _feed_forward(a, e.ffn))
    shared = _feed_forward(a, e.shared_ffn) if e.shared_ffn else ()
    return (*mixed, Matmul(e.count, d), *experts, *shared)


def _attention(a: Architecture) -> tuple[Matmul, ...]:
    d, q, kv = a.hidden, a.q_width, a.kv_width
    gate = q if a.gates_output else 0
    if a.fused_projections:
        return (Matmul(q + gate + 2 * kv, d), Matmul(d, q))
    return (Matmul(q + gate, d), Matmul(kv, d, 2), Matmul(d, q))


def _feed_forward(a: Architecture, width: int) -> tuple[Matmul, ...]:
    if a.gated and a.fused_projections:
        return (Matmul(2 * width, a.hidden), Matmul(a.hidden, width))
    return (Matmul(width, a.hidden, 2 if a.gated else 1), Matmul(a.hidden, width))


def places_of_token(ranks: int, chosen: int) -> float:
    """Return on how many of `ranks` GPUs or machines the `chosen` experts of a token stand, in the
    mean, where routing is even.
    """
    return ranks * (1 - (1 - 1 / ranks) ** chosen)


@lru_cache(maxsize=4096)
def layer_moved(
    a: Architecture,
    setup: LayerSetup,
    sparse: bool = False,
    whole_ranks: int = 1,
    places: float | None = None,
) -> Moved:
    """Return the bytes that one layer moves beside its matmuls, per token.

    `whole_ranks` GPUs share what tensor parallelism leaves whole. `places` are the GPUs that a
    token is sent to, by kernels that also sort it there; None: it is copied for each expert first.
    """
    fused = setup.kernels == "fused"
    whole = _stream_fused(a, setup) if fused else _stream_eager(a, setup)
    own = _inner_fused(a, setup) if fused else _inner_eager(a, setup)
    if a.mixer:
        own = own.plus(mixer_moved(a.mixer, setup))
    if sparse:
        own = own.plus(_routing(a, setup, places))
    if setup.autocast:
        own = own.plus(_casts(a, setup))
    return Moved(whole.forward / whole_ranks, whole.backward / whole_ranks, *whole[2:]).plus(own)


def norm_moved(a: Architecture, setup: LayerSetup, width: int, fused: bool) -> Moved:
    """Return what one norm over `width` numbers moves.

    LayerNorm is one kernel; RMSNorm is written out in eager models: to fp32, square, mean, scale,
    back, times its weight.
    """
    s = setup.stream
    if fused or a.norm in ("layer", "layer_fp32"):
        return Moved(2 * s * width, 5 * s * width, 1, 2)
    forward = (s + 4) + 8 + 4 + 8 + (4 + s) + 2 * s
    if s == 4:
        forward = 8 + 4 + 8 + 8
    return Moved(forward * width, 2 * forward * width, 6, 12)


def _norms(a: Architecture) -> int:
    """Return the norms of the stream in one layer; a part that stands alone has half of them."""
    both = 4 if a.norm_places == "sandwich" else 2
    return both if a.feeds and not isinstance(a.mixer, Absent) else both // 2


def _stream_eager(a: Architecture, setup: LayerSetup) -> Moved:
    """Return norms and residual additions: two reads and a write each, twice for backward."""
    norms = _norms(a)
    fused = setup.kernels == "fused_block"
    one = norm_moved(a, setup, a.hidden, fused)
    s, d = setup.stream, a.hidden
    parts = 1 if norms == 1 else 2
    added = Moved(parts * 3 * s * d, parts * 3 * s * d, parts, parts)
    dropped = 2 * (2 * s + 1) * d if setup.dropout else 0
    dropout = Moved(dropped, dropped, 2 if dropped else 0, 2 if dropped else 0)
    return added.plus(one, norms).plus(dropout)


def _stream_fused(a: Architecture, setup: LayerSetup) -> Moved:
    """Return a norm fused with the addition before it: two reads, the sum and the norm written."""
    norms = _norms(a)
    s, c, d = setup.stream, setup.compute, a.hidden
    return Moved(norms * (2 * s + 2 * c) * d, norms * (3 * s + 2 * c) * d, norms, 2 * norms)


def _inner_eager(a: Architecture, setup: LayerSetup) -> Moved:
    """Return the rotary positions and the activation function, kernel by kernel."""
    c, turned = setup.compute, a.q_width + a.kv_width
    rotary, attends = Moved(), a.mixer is None or a.beside
    if not a.positions and attends:  # half turned and joined, two matmuls, a sum
        rotary = Moved(10 * c * turned, 10 * c * turned, 10, 10)
    if a.qk_norm != "none" and attends:
        rotary = rotary.plus(norm_moved(a, setup, turned, False))
    f = a.ffn if a.feeds else 0
    if setup.kernels == "fused_block":
        return rotary.plus(Moved(3 * c * f, 5 * c * f, 1, 2))
    if a.gated:  # function, product; their gradients
        return rotary.plus(Moved(5 * c * f, 9 * c * f, 2, 3))
    many = 7 if a.activation == "gelu_new" else 1
    return rotary.plus(Moved(2 * many * c * f, 3 * many * c * f, many, many))


def _inner_fused(a: Architecture, setup: LayerSetup) -> Moved:
    c, turned = setup.compute, a.q_width + a.kv_width
    attends = a.mixer is None or a.beside
    positions = 0 if a.positions or not attends else 2 * c * turned
    inner, f = (3, 5) if a.gated else (2, 3), a.ffn if a.feeds else 0
    return Moved(positions + inner[0] * c * f, positions + inner[1] * c * f, 3, 4)


def _routing(a: Architecture, setup: LayerSetup, places: float | None) -> Moved:
    """Return what routing moves: scores in fp32; copies for t experts, sorted and summed.

    Where the kernels that send a token also sort it, it is read once for each GPU it went to and
    written once for each expert there, and the other way round; backward is the same (Megatron-LM,
    docs/discussions/deepseek-v3-gb200-optimization, 2.1.1 and 2.5).
    """
    e = a.experts
    assert e is not None
    c, d = setup.compute, a.hidden
    t = e.per_token * setup.padding
    inner = c * (t * e.ffn + e.shared_ffn - a.ffn)
    ahead, back = (3, 5) if setup.kernels == "fused" else (5, 9)
    if not a.gated:
        ahead, back = 2, 3
    if a.sinks and places is None:
        ahead, back = GPT_OSS
    scores = 12 * e.count
    if places is None:
        copies = 6 * c * t * d + scores
        return Moved(copies + ahead * inner, 2 * copies + back * inner, 14, 24)
    copies = 2 * c * d * (t + places) + scores
    return Moved(copies + ahead * inner, copies + back * inner, 8, 10)


def _casts(a: Architecture, setup: LayerSetup) -> Moved:
    """Return what autocast moves: the input and weight of each linear layer to 16 bits, and their
    gradients back.

    What the weights move is counted separately: it does not grow with the tokens.
    """
    width = (1 if a.fused_projections else 3) * a.hidden + (2 if a.gated else 1) * a.hidden
    each = (setup.stream + setup.compute) * width
    count = (2 if a.fused_projections else 4) + (3 if a.gated else 2)
    return Moved(each, each, 2 * count, 2 * count)


def mixer_matmuls(mixer: Mixer, d: int) -> tuple[Matmul, ...]:
    """Return the matmuls whose weights a mixer holds, from D numbers per token and back to D."""
    if isinstance(mixer, Latent):
        return _latent(mixer, d)
    if isinstance(mixer, Delta):
        wide = 2 * mixer.keys + 2 * mixer.values
        return Matmul(wide, d), Matmul(2 * mixer.value_heads, d), Matmul(d, mixer.values)
    if isinstance(mixer, Dual):
        return (Matmul(mixer.inner + mixer.convolved + mixer.heads, d), Matmul(d, mixer.inner))
    if isinstance(mixer, Selective):
        narrow = Matmul(mixer.rank + 2 * mixer.state, mixer.inner)
        steps = Matmul(mixer.inner, mixer.rank)
        return (Matmul(2 * mixer.inner, d), narrow, steps, Matmul(d, mixer.inner))
    if isinstance(mixer, Convolution):
        return (Matmul(3 * mixer.width, d), Matmul(d, mixer.width))
    return ()


def _latent(m: Latent, d: int) -> tuple[Matmul, ...]:
    queries = m.heads * (m.nope + m.rope)
    compressed = (Matmul(m.q_rank, d), Matmul(queries, m.q_rank))
    return (
        *(compressed if m.q_rank else (Matmul(queries, d),)),
        Matmul(m.kv_rank + m.rope, d),
        Matmul(m.heads * (m.nope + m.value), m.kv_rank),
        Matmul(d, m.heads * m.value),
    )


def scan_flops(mixer: Mixer | None) -> float:
    """Return the FLOPs per token of a chunked scan forward; 0 without one."""
    if isinstance(mixer, Dual):  # C·Bᵀ, that times X, states in, states out
        inside = mixer.groups * mixer.state + mixer.inner
        return 2.0 * mixer.chunk * inside + 4.0 * mixer.state * mixer.inner
    if isinstance(mixer, Delta):  # K·Kᵀ, W, Q·Kᵀ; U, scores times V; three with the state
        k, v = mixer.key_dim, mixer.value_dim
        head = DELTA_CHUNK * (6.0 * k + 4.0 * v) + 6.0 * k * v
        return mixer.value_heads * head
    return 0.0


def mixer_moved(mixer: Mixer, setup: LayerSetup) -> Moved:
    """Return bytes per token of a mixer's kernels; backward reads each number once more, with its
    gradient, and writes one.
    """
    numbers, kernels = _numbers(mixer)
    forward = setup.compute * numbers
    return Moved(forward, 2 * forward, kernels, 2 * kernels)


def _numbers(mixer: Mixer) -> tuple[int, int]:
    """Return the numbers per token that are read and written forward, and the number of kernels."""
    if isinstance(mixer, Latent):  # norms of what is compressed; q and k joined with positions
        return 2 * (mixer.q_rank + mixer.kv_rank) + 4 * mixer.heads * (mixer.nope + mixer.rope), 8
    if isinstance(mixer, Dual):  # convolution; scan; gate and norm
        return 3 * mixer.convolved + 5 * mixer.inner, 7
    if isinstance(mixer, Delta):  # convolution; lengths of q and k; rule; gate and norm
        return 3 * (2 * mixer.keys + mixer.values) + 4 * mixer.keys + 4 * mixer.values, 10
    if isinstance(mixer, Selective):  # convolution; scan
        return 6 * mixer.inner + 2 * mixer.state, 4
    if isinstance(mixer, Convolution):  # gate, convolution, gate
        return 8 * mixer.width, 4
    return 0, 0
