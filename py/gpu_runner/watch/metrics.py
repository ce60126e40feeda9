"""Metrics of a watched loop: MFU and token accuracy, and a budget for computing what costs time.

Each kind of work has a share of the loop's own time; it is done again when its cost so far is below
that share of all steps so far.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.data.feed import IGNORED
from gpu_runner.plan.step_time import peak_flops
from gpu_runner.watch.hooks import Inputs
from gpu_runner.watch.steps import WatchedStep
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.model import SUPPORTED, ModelConfig
from unfrozen.plan.flops import flops

SHARE: Final = 0.003
"""Share of the steps' time for each kind of work."""


class Utilization:
    """Model FLOPs utilization: the model's FLOPs over the processor's peak, for known model types.

    Six per weight and token plus attention (`unfrozen.plan.flops`); recomputation does not count.
    """

    def __init__(self, model: Any, device: torch.device, compute: torch.dtype | None) -> None:
        self._shape: ModelConfig | None = None
        self._work: dict[int, float] = {}
        """FLOPs per token, by the tokens per sequence."""
        settings = getattr(model, "config", None)
        if getattr(settings, "model_type", None) not in SUPPORTED:
            return
        dtype = compute or next(model.parameters()).dtype
        self._peak = peak_flops(
            device, {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "fp32")
        )
        if self._peak is not None:
            self._shape = ModelConfig.from_hf(settings.to_dict())  # type: ignore[union-attr]

    def of(self, step: WatchedStep) -> float | None:
        """Return the MFU of a finished step; None where it is unknown."""
        if self._shape is None or self._peak is None:
            return None
        for length in {part.length for part in step.parts} - self._work.keys():
            recipe = Recipe(params="fp32", master=None, compute="fp32", seq_len=length)
            self._work[length] = flops(Job(self._shape, recipe, Cluster())).model
        tokens = ((part.length, part.sequences * part.length) for part in step.parts)
        work = sum(self._work[length] * count for length, count in tokens)
        return work / (step.seconds * self._peak)


class TimeBudget:
    """The time that watching has cost, by kind of work, beside the time of the loop itself."""

    def __init__(self, share: float = SHARE) -> None:
        self._share = share
        self._steps = 0.0
        self._spent: dict[str, float] = defaultdict(float)

    def add_step(self, seconds: float) -> None:
        """Add the time of a step of the loop."""
        self._steps += seconds

    def allows(self, kind: str) -> bool:
        """Return whether this kind of work may be done now."""
        return self._spent[kind] <= self._share * self._steps

    @contextmanager
    def spend(self, kind: str) -> Iterator[None]:
        """Count the time of the block as this kind of work."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._spent[kind] += time.perf_counter() - started


def token_accuracy(inputs: Inputs, output: Any, *, shifted: bool = True) -> Tensor | None:
    """Return the share of trained tokens with the highest logit; None where there are no logits.

    `shifted` is whether each token predicts the next one.
    """
    logits = getattr(output, "logits", None)
    labels = inputs.get("labels")
    if not isinstance(logits, Tensor) or not isinstance(labels, Tensor):
        return None
    if logits.ndim != 3 or logits.shape[:2] != labels.shape:
        return None
    with torch.no_grad():
        logits = logits.detach()
        targets, guesses = (labels[:, 1:], logits[:, :-1]) if shifted else (labels, logits)
        chosen = targets != IGNORED
        correct = (guesses.argmax(dim=-1) == targets) & chosen
        return correct.sum() / chosen.sum()
