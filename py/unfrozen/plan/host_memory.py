"""The host memory of a run: beside its steps, and on a CPU what `top` shows of them.

Beside Python, its libraries and its steps:

    load     weights are read: whole by every process, or by each what it will hold
    save     a checkpoint is written: gathered by the first process, in shards by each, or from a
             copy, while steps go on
    finish   the trained model is written as one directory, some layers at a time

The resident set on a CPU, beyond the predicted tensors:

    Python and libraries      as measured in a process that has imported them
    tensors                   predicted; freed memory stays with the process
    allocator                 blocks are larger than the tensors in them, as on a GPU
    compiled matmuls          oneDNN caches a kernel for every 16-bit shape
    weights file              mapped while it is read, and while drift from θ₀ is measured; the
                              system reclaims such pages when it needs them
    several processes         each reads its shard; it reads the whole model first where the files
                              cannot be read in part (`model.share` of the runner)

Memory that is used only at times, or only up to a bound, counts in `most` and not in `least`. All
but the libraries is from how `gpu_runner` does it, not from measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from unfrozen.job.recipe import BYTES, Recipe
from unfrozen.memory.states import state_bytes
from unfrozen.model import ModelConfig
from unfrozen.units import GIB, format_bytes

FREED_KEPT: Final = 0.14
"""Share of freed tensors that the allocator of the C library keeps, at most."""
FILE_BYTES: Final = 5 * 10**9  # of the largest file of a finished model
ONEDNN_BYTES: Final = GIB // 2
"""Kernels for as many shapes as oneDNN caches (1,024); 0.3 to 0.5 GiB were measured."""
Reading = Literal["whole", "parts"]
Writing = Literal["whole", "shards", "beside"]


@dataclass(frozen=True, slots=True)
class HostBytes:
    """By moment, what the first process needs, and all processes of its machine together."""

    process: dict[str, int]
    machine: dict[str, int]


def host_bytes(
    model: ModelConfig,
    recipe: Recipe,
    *,
    parts: int,
    local: int,
    reading: Reading = "parts",
    writing: Writing = "shards",
    on_card: bool = True,
    unpacked: bool = False,
) -> HostBytes:
    """Return the host memory of a model sharded into `parts`, by `local` processes on a machine.

    What is on a GPU passes through the host one tensor at a time; on a CPU it is there anyway, and
    what is gathered from several processes is a copy. Experts in MXFP4 are `unpacked` a tensor at a
    time: its numbers, their copy in the layout of the model, and an index and a value of each half.
    """
    sizes = state_bytes(model, recipe)
    weights, moments = sizes["params"] + sizes["adapters"], sizes["moments"]
    tensor = round(model.largest_tensor * BYTES[recipe.params])
    share, piece = -(-weights // parts), -(-tensor // parts)
    # of what is read in part: its pages of the file, and, on the way to a GPU, its copy
    load = 2 * piece if on_card else piece
    if reading == "whole":
        load = weights if on_card or parts == 1 else weights + share
    if unpacked:
        width = BYTES[recipe.params]
        load += round(model.largest_matrix * (2 * width + 2 + width / 2))
    end = min(weights, FILE_BYTES) + 2 * tensor if on_card or parts > 1 else 0
    first, other = {
        "whole": (end + moments if parts > 1 else end, 0 if on_card or parts == 1 else tensor),
        "shards": (piece if on_card else 0,) * 2,
        "beside": (-(-(weights + moments) // parts),) * 2,
    }[writing]
    return HostBytes(
        {"load": load, "save": first, "finish": end},
        {"load": local * load, "save": first + (local - 1) * other, "finish": end},
    )


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
    libraries: int,
    *,
    ranks: int = 1,
    read_whole: bool = False,
    in_16_bits: bool = False,
) -> ResidentSet:
    """Return the resident set of one of `ranks` processes whose tensors take `peak_bytes`.

    `weights_bytes` is the size of all weights of the model, `libraries` what the process has
    resident once it has imported them, `read_whole` whether each process reads all weights,
    `in_16_bits` whether matmuls run in 16 bits. The buffers of gloo, through which several
    processes communicate, are not counted.
    """
    most = round((1 + FREED_KEPT) * peak_bytes)
    most += weights_bytes if read_whole or ranks == 1 else -(-weights_bytes // ranks)
    most += ONEDNN_BYTES if in_16_bits else 0
    most += weights_bytes if read_whole and ranks > 1 else 0
    return ResidentSet(libraries + peak_bytes, libraries + most, libraries)
