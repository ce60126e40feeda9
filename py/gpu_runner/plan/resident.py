"""The resident set of a run on a CPU: what `top` shows beside the tensors that are predicted.

    Python and its libraries   as they are in this process, which has imported them
    tensors                    predicted; what is freed stays with the process
    the allocator              blocks are larger than what is in them, as on a card
    compiled products          oneDNN keeps a kernel for every shape it has met in 16 bits
    the file of the weights    mapped while it is read, and while the way from θ₀ is measured; the
                               system takes such pages back when they are needed
    several processes          each reads its part of the model; all of it before it keeps its part,
                               where its files cannot be read in part (`model.share`)

What is only there at times, or up to a bound, is in the second number and not in the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import psutil

from unfrozen.memory.overhead import RESERVED_RANGE
from unfrozen.units import GIB, format_bytes

ONEDNN_BYTES: Final = GIB // 2
"""Of kernels for as many shapes as its cache holds (1,024); 0.3 to 0.5 GiB were measured."""


@dataclass(frozen=True, slots=True)
class Resident:
    """Bytes that `top` will show: at least, at most, and the part that is no tensor of a step."""

    least: int
    most: int
    libraries: int

    def __str__(self) -> str:
        return (
            f"about {format_bytes(self.least)}, at most {format_bytes(self.most)}: the tensors,"
            f" {format_bytes(self.libraries)} of Python and libraries, and at times the file of the"
            " weights, kernels and blocks that are not full"
        )


def resident(
    peak_bytes: int,
    weights_bytes: int,
    *,
    ranks: int = 1,
    read_whole: bool = False,
    narrow: bool = False,
) -> Resident:
    """Of one of `ranks` processes whose tensors take `peak_bytes`.

    `weights_bytes` are all weights of the model, `read_whole` tells that each process reads them
    all, `narrow` of products in 16 bits. Buffers of the library that several processes speak
    through (gloo) are not counted.
    """
    libraries = int(psutil.Process().memory_info().rss)
    most = round(RESERVED_RANGE[1] * peak_bytes)
    most += weights_bytes if read_whole or ranks == 1 else -(-weights_bytes // ranks)
    most += ONEDNN_BYTES if narrow else 0
    most += weights_bytes if read_whole and ranks > 1 else 0
    return Resident(libraries + peak_bytes, libraries + most, libraries)
