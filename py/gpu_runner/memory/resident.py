"""The resident set of a run on a CPU: what `top` shows beyond the predicted tensors.

    Python and libraries      as measured in this process, which has imported them
    tensors                   predicted; freed memory stays with the process
    allocator                 blocks are larger than the tensors in them, as on a GPU
    compiled matmuls          oneDNN caches a kernel for every 16-bit shape
    weights file              mapped while it is read, and while drift from θ₀ is measured; the
                              system reclaims such pages when it needs them
    several processes         each reads its shard; it reads the whole model first where the files
                              cannot be read in part (`model.share`)

Memory that is used only at times, or only up to a bound, counts in `most` and not in `least`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import psutil

from unfrozen.memory.overhead import RESERVED_RANGE
from unfrozen.units import GIB, format_bytes

ONEDNN_BYTES: Final = GIB // 2
"""Kernels for as many shapes as oneDNN caches (1,024); 0.3 to 0.5 GiB were measured."""


@dataclass(frozen=True, slots=True)
class ResidentSet:
    """Bytes that `top` will show: at least, at most, and the part that belongs to libraries."""

    least: int
    most: int
    libraries: int

    def __str__(self) -> str:
        return (
            f"about {format_bytes(self.least)}, at most {format_bytes(self.most)}: the tensors,"
            f" {format_bytes(self.libraries)} of Python and libraries, and at times the mapped"
            " weights file, compiled kernels and partly filled blocks"
        )


def predict_resident_set(
    peak_bytes: int,
    weights_bytes: int,
    *,
    ranks: int = 1,
    read_whole: bool = False,
    in_16_bits: bool = False,
) -> ResidentSet:
    """Return the resident set of one of `ranks` processes whose tensors take `peak_bytes`.

    `weights_bytes` is the size of all weights of the model, `read_whole` whether each process reads
    all of them, `in_16_bits` whether matmuls run in 16 bits. The buffers of gloo, through which
    several processes communicate, are not counted.
    """
    libraries = int(psutil.Process().memory_info().rss)
    most = round(RESERVED_RANGE[1] * peak_bytes)
    most += weights_bytes if read_whole or ranks == 1 else -(-weights_bytes // ranks)
    most += ONEDNN_BYTES if in_16_bits else 0
    most += weights_bytes if read_whole and ranks > 1 else 0
    return ResidentSet(libraries + peak_bytes, libraries + most, libraries)
