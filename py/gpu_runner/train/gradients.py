"""Gradients before the update: scaled where matmuls are in fp16, and checked for missing ones.

fp16. Gradients of activations below 2⁻²⁴ are 0 in it. The loss is therefore multiplied by a power
of two before backward, and the gradients of the weights, which are fp32, are divided by it
afterwards, as PyTorch's GradScaler does it: both are exact. Where a gradient overflows, the step is
skipped and the scale halved; after GROWTH_STEPS steps without that it is doubled (Micikevicius et
al., arXiv 1710.03740, section 3.2). The scale and the steps since it changed are part of a run's
`State`: a resumed run has the same.

None at all. A full fine-tune trains every weight. One without a gradient would be saved as it was,
whatever is trained around it, and no loss would show it: such a run ends at its first step. May be
left out:

    experts without tokens  where each expert is a module of its own
    constants               what the model's own class creates frozen: biases that correct a router
    --allow-untrained       what the user has named
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from gpu_runner.errors import ModelLoadError, UsageError, everyones
from gpu_runner.optim.optimizer import StepOptimizer
from gpu_runner.text import typed
from gpu_runner.world import local, trained_weights
from unfrozen.parameter_groups import PARTS, match_names, nearest_patterns

FIRST_SCALE: Final = 2.0**16
LARGEST_SCALE: Final = 2.0**40
"""Losses are summed in fp32, whose largest number is 2¹²⁸."""
GROWTH_STEPS: Final = 2000
_EXPERT: Final = re.compile(r"(^|\.)experts\.\d+\.")
MOST_NAMED: Final = 5


def next_scale(scale: float, steady: int, *, skipped: bool) -> tuple[float, int]:
    """Return the scale after a step, and the steps since it changed; never below 1."""
    if skipped:
        return max(1.0, scale / 2), 0
    if steady + 1 < GROWTH_STEPS:
        return scale, steady + 1
    return min(LARGEST_SCALE, 2 * scale), 0


@torch.no_grad()
def unscale(parameters: Iterable[Tensor], scale: float) -> None:
    """Divide the gradients of this process by the scale of the loss."""
    grads = [local(one.grad) for one in parameters if one.grad is not None]
    torch._foreach_mul_(grads, 1 / scale)


@dataclass(slots=True)
class GradientCheck:
    """Checks the first step that it is given; `allowed` are patterns of names."""

    allowed: tuple[str, ...] = ()
    _done: bool = field(default=False, init=False)

    def __call__(self, model: Any, optimizer: StepOptimizer) -> None:
        """Raise `ModelLoadError` for weights without a gradient, before the optimizer step.

        Raises `UsageError` for an allowed pattern that matches no weight.
        """
        if self._done:
            return
        self._done = True
        reached = optimizer.reached()
        names = [name for name, _ in model.named_parameters()]
        _check_patterns(self.allowed, names)
        trained = trained_weights(model)
        missing = [name for name, weight in trained.items() if weight not in reached]
        if wrong := _unexpected(model, missing, self.allowed):
            patterns = _patterns(wrong, trained.keys() - missing)
            raise everyones(ModelLoadError(_message(wrong, len(names), patterns)))


def _check_patterns(allowed: Iterable[str], names: list[str]) -> None:
    for pattern in allowed:
        if not match_names(pattern, names):
            near = ", ".join(nearest_patterns(pattern, names))
            raise everyones(
                UsageError(
                    f"--allow-untrained {pattern!r} matches no weight of this model; did you mean"
                    f" {near}?"
                )
            )


def _unexpected(model: Any, missing: list[str], allowed: tuple[str, ...]) -> list[str]:
    """Return those of the weights without a gradient that are none of the kinds above."""
    named = {name for pattern in allowed for name in match_names(pattern, missing)}
    left = [name for name in missing if name not in named and not _EXPERT.search(name)]
    constants = _constants(model) if left else set[str]()
    return [name for name in left if name not in constants]


def _constants(model: Any) -> set[str]:
    """Return the names of weights that a new model of the same configuration does not train."""
    kind: Any = next(one for one in type(model).__mro__ if not issubclass(one, FSDPModule))
    with torch.device("meta"):
        new = kind(model.config)
    return {name for name, weight in new.named_parameters() if not weight.requires_grad}


def _message(wrong: list[str], of: int, patterns: list[str]) -> str:
    more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
    return (
        f"{len(wrong)} of {of} weights get no gradient: {', '.join(wrong[:MOST_NAMED])}{more}. They"
        " would be saved as they are, whatever is trained around them. If this model does not train"
        f" them, give {' '.join(f'--allow-untrained {typed(one)}' for one in patterns)}; if it"
        " should, please report it."
    )


def _patterns(wrong: list[str], others: Iterable[str]) -> list[str]:
    """Return few short patterns that match what is `wrong`, and nothing of the `others`."""
    every = "\n".join(f".{name}." for name in others)
    found: list[str] = []
    while wrong:
        parts = wrong[0].split(".")
        starts = (".".join(parts[:n]) for n in range(1, len(parts)))
        whole = next((start for start in starts if f".{start}." not in every), wrong[0])
        ends = re.finditer(r"(?<![^.])(?=[^\d.])", whole)
        short = (whole[end.start() :] for end in reversed([*ends]))
        free = (one for one in short if one not in PARTS and f".{one}." not in every)
        found.append(next(free, whole))
        wrong = [name for name in wrong if f".{found[-1]}." not in f".{name}."]
    return found
