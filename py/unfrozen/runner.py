"""What the runner can do, in its own settings and in those of the memory model: declared once, read
by `gpu_runner`, which does it, and by the planner of the page, which predicts what a command does.
"""

from __future__ import annotations

from typing import Final

from unfrozen.job.optimizers import OPTIMIZERS as KINDS
from unfrozen.job.optimizers import RUNNER_OPTIMIZERS
from unfrozen.model import Architecture

LENGTHS: Final = (2, 1_048_576)
"""Tokens of the shortest and the longest row it takes."""
MOST_AT_ONCE: Final = 4096
"""Rows that it computes at once, on each GPU."""
MOST_MICRO_BATCHES: Final = 65_536
"""Micro-batches of a step, all GPUs together."""

LOSSES: Final = {"full": "logits_fp32", "chunked": "chunked", "linear": "linear"}
"""Its losses → the memory model's."""
OPTIMIZERS: Final = tuple(RUNNER_OPTIMIZERS)
ROUNDED: Final = tuple(name for name, one in RUNNER_OPTIMIZERS.items() if one.rounds)
"""Those whose updates of 16-bit weights it rounds as asked; the others to the nearest."""
WHOLE: Final = tuple(name for name, one in RUNNER_OPTIMIZERS.items() if one.whole_tensors)
"""Those that need whole tensors."""

OWN_ATTENTION: Final = ("bloom", "falcon", "mpt")
"""Types that attend by code of their own, where transformers' interface is not asked."""
_IGNORE_DOCUMENTS: Final = ("nemotron", "stablelm")
"""Types whose layers, in transformers 5.24, do not pass on where documents end."""

ATTENTION: Final = "flash"
"""Rows are packed, so that no attention needs a mask; windows and soft caps are in its kernel."""


def packs(a: Architecture) -> bool:
    """Return whether the runner can pack sequences that do not see each other.

    Attention knows where documents end. A state, a convolution or a delta rule goes on from one
    into the next, and the values of latent attention are narrower than its keys, for which kernels
    of documents have no place.
    """
    supported = a.model_type not in (*OWN_ATTENTION, *_IGNORE_DOCUMENTS)
    return supported and all(kind.mixer is None for kind in (a, *a.variants))


def casts_experts(a: Architecture, *, compiled: bool = False) -> bool:
    """Return whether experts are autocast like other layers; in compiled blocks they are not."""
    return a.experts is not None and not compiled


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
    """Return the recipe's loss for a loss of the runner; where logits are capped, they are full."""
    return LOSSES["full"] if a.caps_logits else LOSSES[name]


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
