"""What a watched loop makes of its processor; and work that it could do without, done so rarely
that it costs next to nothing.

Each kind of work has a share of the loop's own time; it is done again when what it has cost so far
is below that share of all steps so far.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from gpu_runner.plan.pace import peak_rate
from gpu_runner.watch.steps import WatchedStep
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.model import SUPPORTED, ModelConfig
from unfrozen.plan.flops import flops

SHARE: Final = 0.003
"""Of the steps' time, for each kind of work."""


class Utilisation:
    """FLOPs of the model by what its processor does at best, for models that the planner knows.

    Six a weight and token and the attention's (`unfrozen.plan.flops`), nothing done twice counted.
    """

    def __init__(self, model: Any, device: torch.device, compute: torch.dtype | None) -> None:
        self._shape: ModelConfig | None = None
        settings = getattr(model, "config", None)
        if getattr(settings, "model_type", None) not in SUPPORTED:
            return
        dtype = compute or next(model.parameters()).dtype
        self._peak = peak_rate(
            device, {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "fp32")
        )
        if self._peak is not None:
            self._shape = ModelConfig.from_hf(settings.to_dict())  # type: ignore[union-attr]

    def of(self, step: WatchedStep) -> float | None:
        """Of a finished step; None where it is not known."""
        if self._shape is None or self._peak is None:
            return None
        work = 0.0
        for part in step.parts:
            recipe = Recipe(params="fp32", master=None, compute="fp32", seq_len=part.length)
            each = flops(Job(self._shape, recipe, Cluster())).model
            work += each * part.rows * part.length
        return work / (step.seconds * self._peak)


class Budget:
    """What watching has cost, by kind, beside what the loop itself has taken."""

    def __init__(self, share: float = SHARE) -> None:
        self._share = share
        self._steps = 0.0
        self._spent: dict[str, float] = defaultdict(float)

    def step(self, seconds: float) -> None:
        """A step of the loop took so long."""
        self._steps += seconds

    def allows(self, kind: str) -> bool:
        """Whether such work may be done now."""
        return self._spent[kind] <= self._share * self._steps

    @contextmanager
    def on(self, kind: str) -> Iterator[None]:
        """Do it inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._spent[kind] += time.perf_counter() - started
