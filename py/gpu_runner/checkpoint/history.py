"""What a run remembers of itself, from one checkpoint to the next."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from gpu_runner.data.dataset import TASK


@dataclass(slots=True)
class History:
    """What a run remembers of itself beside its `State`; kept in checkpoints."""

    first: dict[str, float] = field(default_factory=dict)
    """Loss of each suite at step 0."""
    latest: dict[str, float] = field(default_factory=dict)
    """Loss of each suite at the newest evaluation."""
    measured: dict[str, dict[str, int]] = field(default_factory=dict)
    """Largest measured bytes by instant and component."""
    peak_bytes: int = 0
    drift: float = 0.0
    samples: list[list[str]] = field(default_factory=list)
    """[prompt, text before, text after] of each prompt."""
    seconds: float = 0.0
    """Wall time of all attempts before this one."""
    best_step: int = 0
    """Where the task loss was lowest."""
    best_loss: float | None = None
    """That loss; None before the first evaluation, or if there was never a finite one."""
    looks_since_best: int = 0
    """Evaluations after it."""
    load: list[list[float]] = field(default_factory=list)
    """Shares of the tokens that each expert of each layer got at the first evaluation."""

    def take(self, step: int, losses: dict[str, float]) -> bool:
        """Remember an evaluation; True if no earlier one had a task loss as low."""
        self.latest = losses
        if step == 0:
            self.first = dict(losses)
        else:
            self.first = losses | self.first  # a set that was exchanged begins here
        loss = losses.get(TASK, math.nan)
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            self.best_step, self.best_loss, self.looks_since_best = step, loss, 0
            return True
        self.looks_since_best += 1
        return False

    def forget(self, suites: set[str]) -> None:
        """What these suites scored before is of other rows: their change begins anew."""
        for suite in suites:
            self.first.pop(suite, None)
            self.latest.pop(suite, None)
            self.load = []
        if TASK in suites:
            self.best_step, self.best_loss, self.looks_since_best = 0, None, 0

    def as_json(self) -> dict[str, Any]:
        """Plain data for `state.json`."""
        return asdict(self)
