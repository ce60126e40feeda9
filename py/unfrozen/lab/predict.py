"""What `unfrozen.memory` says a step of the lab will hold, by instant and component.

The lab keeps what the runner keeps: fp32 throughout, its fused blocks, attention that makes its
scores again, a loss of LINEAR_CHUNK positions at a time, an update in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from unfrozen.job.recipe import Recipe
from unfrozen.memory.instants import Instants, instants, peak
from unfrozen.model import ModelConfig


class StepTokens(NamedTuple):
    """What a step costs: its tokens, and how many of them predict a trained one."""

    tokens: int
    trained: int


def recipe(tokens: int) -> Recipe:
    """The recipe of a step that packs `tokens` tokens into one sequence."""
    given: dict[str, Any] = {
        **dict.fromkeys(("params", "compute", "grads", "moments"), "fp32"),
        "master": None,
        "micro_batch": 1,
        "seq_len": tokens,
        "attention": "flash",
        "kernels": "fused_block",
        "loss": "linear",
        "step": "fused",
    }
    return Recipe(**given)


def predicted(model: ModelConfig, shape: StepTokens) -> Instants:
    """The instants of a step of this shape."""
    return instants(model, recipe(shape.tokens), loss_tokens=max(1, shape.trained))


def heaviest(model: ModelConfig, sizes: Sequence[tuple[int, int]]) -> tuple[int, StepTokens]:
    """The step (1, 2, …) that needs most memory, and its shape.

    The first one is left aside: moments appear at its end.
    """
    shapes = {StepTokens(*size): number for number, size in enumerate(sizes[1:], 2)}
    shapes = shapes or {StepTokens(*sizes[0]): 1}
    most: list[StepTokens] = []
    for shape in sorted(shapes, reverse=True):  # of those with fewer tokens, more must be trained
        if not most or shape.trained > most[-1].trained:
            most.append(shape)
    worst = max(most, key=lambda shape: peak(predicted(model, shape))[1])
    return shapes[worst], worst
