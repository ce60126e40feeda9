"""A step's memory: the arrays alive at each instant, and what `unfrozen.memory` predicts.

`tracemalloc` sees every array that numpy makes. Weights, moments and gradients are known by name;
the rest is attributed by the phase it lives in. Tracing slows a step, so it is on for some steps
only, and what lived before them is added by its size.

The prediction is that of the runner's kernels: fp32 throughout, fused blocks, attention that
recomputes its scores, a loss of LINEAR_CHUNK positions at a time, an update in place.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from unfrozen.job.recipe import Recipe
from unfrozen.lab.llama import NullMeter, Weights
from unfrozen.memory.instants import Instants, instants, peak
from unfrozen.model import ModelConfig

Components = dict[str, int]
_REST: Final = {"forward": "activations", "backward": "activations", "optimizer_step": "workspace"}
_INSTANT: Final = {
    "forward": "end_of_forward",
    "backward": "backward",
    "optimizer_step": "optimizer_step",
}


class MemoryMeter(NullMeter):
    """Measures one step; `instants` fills up phase by phase.

    `states` gives the arrays of each component that outlives a step: params and moments.
    """

    def __init__(self, states: Callable[[], dict[str, Weights]]) -> None:
        self.instants: dict[str, Components] = {}
        self._states = states
        self._before = 0
        self._reported: Components = {}

    @contextmanager
    def step(self) -> Iterator[None]:
        """Measure everything within the step."""
        sizes = self._sizes()
        self._before = sum(sizes.values())
        self.instants["load"] = {"params": sizes["params"]}
        tracemalloc.start(1)
        try:
            yield
        finally:
            tracemalloc.stop()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the peak of a phase, and after the backward pass what stays."""
        tracemalloc.reset_peak()
        self._reported = {}
        yield
        now, peak = tracemalloc.get_traced_memory()
        self._record(_INSTANT[name], peak, self._reported, _REST[name])
        if name == "backward":
            sizes = self._sizes()
            grads = self._before + now - sum(sizes.values())
            self.instants["end_of_backward"] = sizes | {"grads": max(0, grads)}

    def record_peak(self, **components: int) -> None:
        """What a phase holds at its highest point, reported where the code reaches it; see `phase`.

        Only the first report of a phase counts: that of the last layer, differentiated first.
        """
        self._reported = self._reported or components

    def _record(self, instant: str, traced: int, reported: Components, rest: str) -> None:
        sizes = self._sizes() | reported
        left = self._before + traced - sum(sizes.values())
        self.instants[instant] = sizes | {rest: max(0, left)}

    def _sizes(self) -> Components:
        return {
            name: sum(array.nbytes for array in arrays.values())
            for name, arrays in self._states().items()
        }


class StepTokens(NamedTuple):
    """What a step costs: its tokens, and how many of them predict a trained one."""

    tokens: int
    trained: int


def step_recipe(tokens: int) -> Recipe:
    """Return the recipe of a step that packs `tokens` tokens into one sequence."""
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


def predict_instants(model: ModelConfig, shape: StepTokens) -> Instants:
    """Return the instants of a step of this shape."""
    return instants(model, step_recipe(shape.tokens), loss_tokens=max(1, shape.trained))


def find_heaviest_step(
    model: ModelConfig, sizes: Sequence[tuple[int, int]]
) -> tuple[int, StepTokens]:
    """Return the step (1, 2, …) that needs most memory, and its shape.

    The first one is left aside: moments appear at its end.
    """
    shapes = {StepTokens(*size): number for number, size in enumerate(sizes[1:], 2)}
    shapes = shapes or {StepTokens(*sizes[0]): 1}
    most: list[StepTokens] = []
    for shape in sorted(shapes, reverse=True):  # of those with fewer tokens, more must be trained
        if not most or shape.trained > most[-1].trained:
            most.append(shape)
    worst = max(most, key=lambda shape: peak(predict_instants(model, shape))[1])
    return shapes[worst], worst
