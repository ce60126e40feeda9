"""The learning rate of a run, from its settings and the number of its examples."""

from __future__ import annotations

from typing import Final

from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.feed import Feed
from unfrozen.data_order import steps_in
from unfrozen.schedules import Schedule

WARMUP_SHARE: Final = 0.05
DECAY_SHARE: Final = 0.2  # of the steps, for the decay of WSD


def schedule_for(config: TrainConfig, feed: Feed) -> Schedule:
    """Return the learning rate at every step of a run with these settings."""
    steps = config.steps
    if steps is None:
        epochs = config.epochs or 1.0
        steps = steps_in(epochs, len(feed.examples), feed.sequences_per_step)
    warmup = round(WARMUP_SHARE * steps) if config.warmup is None else min(config.warmup, steps)
    floor = 0.0 if config.schedule == "constant" else config.lr * config.floor_ratio
    decay = 0
    if config.schedule == "wsd":
        wanted = config.decay_steps
        decay = min(round(DECAY_SHARE * steps) if wanted is None else wanted, steps - warmup)
    return Schedule(config.schedule, steps, config.lr, warmup, floor, decay)
