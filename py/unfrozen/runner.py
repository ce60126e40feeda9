"""What the runner supports, as its own settings and as those of the memory model.

`gpu_runner` reads this file to do it, the planner of the page to predict it.
"""

from __future__ import annotations

from typing import Final

from unfrozen.job.optimizers import OPTIMIZERS as KINDS
from unfrozen.job.optimizers import RUNNER_OPTIMIZERS
from unfrozen.model import Architecture

LENGTHS: Final = (2, 1_048_576)
"""Tokens of the shortest and the longest sequence."""
MOST_AT_ONCE: Final = 4096
"""The largest micro-batch on each GPU."""
MOST_MICRO_BATCHES: Final = 65_536
"""Micro-batches of a step, all GPUs together."""

LOSSES: Final = {"full": "logits_fp32", "chunked": "chunked", "linear": "linear"}
"""Its losses → the memory model's."""
OPTIMIZERS: Final = tuple(RUNNER_OPTIMIZERS)
ROUNDED: Final = tuple(name for name, one in RUNNER_OPTIMIZERS.items() if one.rounds)
"""Optimizers with a choice of rounding for 16-bit weights; the others round to the nearest."""

OWN_ATTENTION: Final = ("bloom", "falcon", "mpt")
"""Model types with attention of their own, outside transformers' attention interface."""
_IGNORE_DOCUMENTS: Final = ("nemotron", "stablelm")
"""Model types whose layers, in transformers 5.24, do not pass on document boundaries."""


def attention(a: Architecture, compute: str, *, flash: bool = True) -> str:
    """Return the recipe's attention for matmuls in `compute` on a GPU: none has a mask.

    FlashAttention computes in 16 bits, and not on every GPU (`flash`). Else a GPU has PyTorch's
    memory-efficient kernel, and the runner's own operator, which saves as much as FlashAttention,
    for windows, soft caps and sinks. A CPU has that operator.
    """
    own = a.caps_scores or a.sinks or (a.windows and all(a.windows))
    return "flash" if own or (flash and compute != "fp32") else "efficient"


def packs(a: Architecture) -> bool:
    """Return whether the runner can pack sequences that do not see each other.

    Attention respects document boundaries. A state space, a convolution or a delta rule carries
    state from one document into the next, and variable-length kernels do not support the values of
    latent attention, which are narrower than its keys.
    """
    supported = a.model_type not in (*OWN_ATTENTION, *_IGNORE_DOCUMENTS)
    return supported and all(kind.mixer is None for kind in (a, *a.variants))


def casts_experts(a: Architecture, *, compiled: bool = False, grouped: bool = True) -> bool:
    """Return whether experts are autocast like other layers; in compiled blocks they are not.

    Nor are they where the device has no `grouped` matmuls in the compute dtype.
    """
    return a.experts is not None and not compiled and grouped


def optimizer(name: str, width: str, *, momentum: bool, rounding: str) -> dict[str, str | None]:
    """Return the recipe's optimizer, moments and step for one of OPTIMIZERS over weights of
    `width`.

    PyTorch has fused updates for AdamW and SGD; our rules widen some rows at a time.
    """
    if name == "sgd":
        moments = width if momentum else None
        return {
            "optimizer": "sgd_momentum" if moments else name,
            "moments": moments,
            "step": "fused",
        }
    if name == "adamw8bit":
        return {"optimizer": "adamw", "moments": "int8", "step": "fused"}
    moments = width if KINDS[name].has_moments else None
    fused = name == "adamw" and rounding == "nearest"
    return {"optimizer": name, "moments": moments, "step": "fused" if fused else "rows"}


def loss(a: Architecture, name: str) -> str:
    """Return the recipe's loss for a loss of the runner: full logits where a head is not plain."""
    return LOSSES[name if a.has_plain_head else "full"]


def kernels(
    a: Architecture, checkpointing: str, *, compiled: bool = False, fuse: bool = True
) -> str:
    """Return the recipe's kernels: fused blocks where the model has them, unless every second
    matmul is saved.

    Compiled blocks are PyTorch's own.
    """
    if compiled:
        return "fused"
    return "fused_block" if fuse and a.has_fused_block and checkpointing != "selective" else "eager"
