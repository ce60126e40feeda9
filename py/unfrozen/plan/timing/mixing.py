"""What stands in place of attention multiplies, scans and moves, in one layer.

Latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1) goes through narrow products. State
spaces and the delta rule are computed in chunks, by products as attention is: within a chunk and
from chunk to chunk (Mamba-2, arXiv 2405.21060, section 6; gated delta rule, arXiv 2412.06464,
section 3.3). Mamba's scan and LFM2's convolution only read and write. Symbols: D width, c bytes of
a number; sizes are those of `unfrozen.model.mixers`.
"""

from __future__ import annotations

from typing import Final

from unfrozen.memory.flow import Flow
from unfrozen.model.mixers import Convolution, Delta, Dual, Latent, Mixer, Selective
from unfrozen.plan.timing.work import Moved, Product

DELTA_CHUNK: Final = 64
"""Tokens of a chunk (flash-linear-attention, fla/ops/gated_delta_rule/chunk.py)."""
AGAIN: Final = 3.0
"""Products of a scan backward over those forward: two gradients, and all of it made again, which
its kernels save nothing of (mamba_ssm/ops/triton/ssd_combined.py)."""


def mixer_products(mixer: Mixer, d: int) -> tuple[Product, ...]:
    """The products whose weights a mixer holds, from D numbers a token and back to D."""
    if isinstance(mixer, Latent):
        return _latent(mixer, d)
    if isinstance(mixer, Delta):
        wide = 2 * mixer.keys + 2 * mixer.values
        return (
            Product(wide, d),
            Product(2 * mixer.value_heads, d),
            Product(d, mixer.values),
        )
    if isinstance(mixer, Dual):
        return (Product(mixer.inner + mixer.convolved + mixer.heads, d), Product(d, mixer.inner))
    if isinstance(mixer, Selective):
        narrow = Product(mixer.rank + 2 * mixer.state, mixer.inner)
        steps = Product(mixer.inner, mixer.rank)
        return (Product(2 * mixer.inner, d), narrow, steps, Product(d, mixer.inner))
    if isinstance(mixer, Convolution):
        return (Product(3 * mixer.width, d), Product(d, mixer.width))
    return ()


def _latent(m: Latent, d: int) -> tuple[Product, ...]:
    queries = m.heads * (m.nope + m.rope)
    compressed = (Product(m.q_rank, d), Product(queries, m.q_rank))
    return (
        *(compressed if m.q_rank else (Product(queries, d),)),
        Product(m.kv_rank + m.rope, d),
        Product(m.heads * (m.nope + m.value), m.kv_rank),
        Product(d, m.heads * m.value),
    )


def scan_flops(mixer: Mixer | None) -> float:
    """Operations a token that a chunked scan takes forward; 0 where nothing is computed so."""
    if isinstance(mixer, Dual):  # C·Bᵀ, that times X, states in, states out
        inside = mixer.groups * mixer.state + mixer.inner
        return 2.0 * mixer.chunk * inside + 4.0 * mixer.state * mixer.inner
    if isinstance(mixer, Delta):  # K·Kᵀ, W, Q·Kᵀ; U, scores times V; three with the state
        k, v = mixer.key_dim, mixer.value_dim
        head = DELTA_CHUNK * (6.0 * k + 4.0 * v) + 6.0 * k * v
        return mixer.value_heads * head
    return 0.0


def mixer_moved(mixer: Mixer, flow: Flow) -> Moved:
    """Bytes a token of a mixer's kernels; backward each number is read once more, with its gradient
    and to write one.
    """
    numbers, kernels = _numbers(mixer)
    forward = flow.compute * numbers
    return Moved(forward, 2 * forward, kernels, 2 * kernels)


def _numbers(mixer: Mixer) -> tuple[int, int]:
    """Numbers a token that are read and written forward, and by how many kernels."""
    if isinstance(
        mixer, Latent
    ):  # norms of what is compressed; q and k put together with positions
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
