"""The tiny network under AdamW: its first steps with and without warm-up."""

from __future__ import annotations

from unfrozen.lab.tiny import DECIMALS, OLD, TASK, FineTuned, Weights, gradient, loss
from unfrozen.schedules import warmup_constant
from unfrozen.training.optimizers import AdamW


def adam_tune(start: Weights, rate: float, steps: int = 40, warmup: int = 0) -> FineTuned:
    """Train every parameter on the new task by AdamW, without weight decay; the rate climbs to its
    peak over `warmup` steps and stays. Raises PlanError for a schedule that makes no sense.
    """
    optimizer = AdamW(lr=rate, weight_decay=0.0)
    weights, task, old = start, [loss(start, TASK)], [loss(start, OLD)]
    for step in range(1, steps + 1):
        optimizer.lr = warmup_constant(step, steps, warmup, rate)
        moved = optimizer.update(weights.flat(), gradient(weights, TASK))
        weights = Weights.from_flat([round(value, DECIMALS) for value in moved])
        task.append(loss(weights, TASK))
        old.append(loss(weights, OLD))
    return FineTuned(weights, tuple(task), tuple(old), diverged=task[-1] > task[0])
