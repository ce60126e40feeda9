"""The host memory of a run, beside Python, its libraries and its steps.

    load     weights are read: whole by every process, or by each what it will hold
    save     a checkpoint is written: gathered by the first process, in shards by each, or in
             shards from a copy, while steps go on
    finish   the trained model is written as one directory: gathered, or some layers at a time

From how `gpu_runner` does it, not from measurements. Tensors of a CPU's steps are in `memory`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from unfrozen.job.recipe import BYTES, Recipe
from unfrozen.memory.states import state_bytes
from unfrozen.model import ModelConfig

FILE_BYTES: Final = 5 * 10**9  # of the largest file of a finished model
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
    gathered = weights + moments
    copied = on_card or parts > 1
    first, other = {
        "whole": (gathered if copied else 0, 0 if on_card or parts == 1 else tensor),
        "shards": (piece if on_card else 0,) * 2,
        "beside": (-(-gathered // parts),) * 2,
    }[writing]
    end = min(weights, FILE_BYTES) + 2 * tensor
    if writing == "whole":
        end = weights if copied else 0
    return HostBytes(
        {"load": load, "save": first, "finish": end},
        {"load": local * load, "save": first + (local - 1) * other, "finish": end},
    )
