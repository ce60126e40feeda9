"""What numpy really holds at the instants of a step, in the names of the prediction.

`tracemalloc` sees every array that numpy makes. Weights, moments and gradients are known by name;
the rest is told apart by the phase it lives in. Tracing slows a step, so it is on for some steps
only, and what lived before them is added by its size.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from unfrozen.lab.llama import Silent, Weights

Components = dict[str, int]
_REST: Final = {"forward": "activations", "backward": "activations", "optimizer_step": "workspace"}
_INSTANT: Final = {
    "forward": "end_of_forward",
    "backward": "backward",
    "optimizer_step": "optimizer_step",
}


class MemoryMeter(Silent):
    """Measures one step; `instants` fills up phase by phase.

    `states` gives the arrays of each component that outlives a step: params and moments.
    """

    def __init__(self, states: Callable[[], dict[str, Weights]]) -> None:
        self.instants: dict[str, Components] = {}
        self._states = states
        self._before = 0
        self._told: Components = {}

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around everything of the step that is measured."""
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
        """The highest point of a phase, and after the backward one what stays."""
        tracemalloc.reset_peak()
        self._told = {}
        yield
        now, peak = tracemalloc.get_traced_memory()
        self._note(_INSTANT[name], peak, self._told, _REST[name])
        if name == "backward":
            held = self._sizes()
            grads = self._before + now - sum(held.values())
            self.instants["end_of_backward"] = held | {"grads": max(0, grads)}

    def highest(self, **components: int) -> None:
        """What a phase holds at its highest point, said where that is in the code; see `phase`.

        The first to say it is heard: of all layers the last one, differentiated first.
        """
        self._told = self._told or components

    def _note(self, instant: str, traced: int, told: Components, rest: str) -> None:
        held = self._sizes() | told
        left = self._before + traced - sum(held.values())
        self.instants[instant] = held | {rest: max(0, left)}

    def _sizes(self) -> Components:
        return {
            name: sum(array.nbytes for array in arrays.values())
            for name, arrays in self._states().items()
        }
