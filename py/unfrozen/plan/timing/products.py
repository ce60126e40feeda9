"""What a layer gives a card to do; and the seconds of a matrix product, from its sizes.

A product of m x k and k x n numbers takes 2·m·n·k operations. The card computes its result in
tiles, one a multiprocessor at a time, so that a last wave of few tiles costs as much as a full one
(NVIDIA, Matrix Multiplication Background User's Guide, sections 4.1 and 5). No product is faster
than its operands can be read and its result written.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NamedTuple

_TILES: Final = ((256, 128), (128, 256), (128, 128))
"""The tiles of that guide's section 4.1 that lose nothing to reading their own operands."""
FILL_SECONDS: Final = 1e-6
"""Of a tile, to fetch its first operands and to write its result: two trips to memory, of 466 to
479 cycles on A100 and H100 (Luo et al., arXiv 2402.13499, table 4)."""


class Product(NamedTuple):
    """T x `inputs` by `inputs` x `outputs`, so many `times`; experts run as `groups` in one kernel,
    each of which sees `share` of the tokens.
    """

    outputs: int
    inputs: int
    times: int = 1
    groups: int = 1
    share: float = 1.0

    @property
    def weights(self) -> int:
        """Weights of all of them."""
        return self.outputs * self.inputs * self.times * self.groups


class Moved(NamedTuple):
    """Bytes a token through memory and kernels, forward and backward."""

    forward: float = 0.0
    backward: float = 0.0
    kernels: float = 0.0
    kernels_back: float = 0.0

    def plus(self, other: Moved, times: float = 1.0) -> Moved:
        """Both after each other, the other so many times."""
        return Moved(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))


class Rates(NamedTuple):
    """What products meet: operations a second, multiprocessors, bytes of memory a second."""

    flops: float
    multiprocessors: int
    memory: float


@lru_cache(maxsize=16384)
def product_seconds(
    m: int, n: int, k: int, rates: Rates, width: int = 2, out: int = 2, groups: int = 1
) -> float:
    """Seconds of an m x k by k x n product of numbers `width` bytes wide, its result `out` bytes;
    of `groups` such products in one kernel, whose tiles share the waves.

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
