"""How often a run is evaluated and saved: as its settings say, else as often as its time allows.

Where they say nothing, all evaluations together take at most SHARE of the time of the steps, and
all checkpoints likewise. Those at the ends happen anyway and count first: the evaluations before
the first and after the last step, the last checkpoint and the trained model. A checkpoint is
written at an evaluation, so that its task loss is that of its weights. An interval is a number of
steps, chosen once, and not a clock: a resumed run evaluates where the first would have. Only what a
killed run loses is bounded by a clock: a checkpoint is written when the last one is `save_minutes`
old, whatever its step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from gpu_runner.config.schema import TrainConfig
from unfrozen.units import format_elapsed

SHARE: Final = 0.05
TIMED_STEPS: Final = 10
"""Steps that are timed before an interval is chosen, and the fewest between two evaluations."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of one step, one evaluation, one checkpoint, and of writing the trained model."""

    step: float
    evaluation: float
    checkpoint: float
    model: float


@dataclass(slots=True)
class Intervals:
    """After which of `steps` steps a run is evaluated and saved; None: not chosen yet."""

    steps: int
    evaluate: int | None
    save: int | None
    """0: no checkpoints."""

    def evaluates(self, step: int) -> bool:
        """Return whether the model is evaluated after this step."""
        return step == self.steps or (self.evaluate is not None and step % self.evaluate == 0)

    def saves(self, step: int) -> bool:
        """Return whether a checkpoint is written after this step; the last one is not asked for."""
        return bool(self.save) and step < self.steps and step % (self.save or 1) == 0


def unsaved_seconds(config: TrainConfig) -> float:
    """Return how long a run may train without a checkpoint; infinite: steps alone decide."""
    minutes = 0.0 if config.save_every == 0 else config.save_minutes
    return 60 * minutes or math.inf


def choose_intervals(config: TrainConfig, steps: int, costs: Costs) -> Intervals:
    """Return the intervals of a run of `steps` steps: those of its settings, else what fits."""
    budget = SHARE * steps * costs.step
    each, best = costs.evaluation, config.early_stop is not None
    if best:  # each of them may be the best, which is saved
        each += costs.checkpoint
        budget *= 1 + (config.save_every is None)
    evaluate = config.eval_every
    if evaluate is None:
        evaluate = max(TIMED_STEPS, _between(steps, budget - 2 * each, each))
    if config.save_every is not None:
        return Intervals(steps, evaluate, config.save_every)
    if best:
        return Intervals(steps, evaluate, evaluate)
    last = costs.model + config.keep_state * costs.checkpoint
    save = _between(steps, budget - last, costs.checkpoint)
    return Intervals(steps, evaluate, -(-save // evaluate) * evaluate)


def _between(steps: int, budget: float, each: float) -> int:
    """Return the interval at which as many fit between the ends as the budget, in seconds, pays."""
    fitting = max(0, math.floor(budget / each)) if each > 0 else steps
    return -(-steps // (fitting + 1))


def upkeep_seconds(config: TrainConfig, intervals: Intervals, costs: Costs) -> float:
    """Return the seconds of all evaluations and checkpoints of a run, those at the ends too."""
    steps, evaluate, save = intervals.steps, intervals.evaluate, intervals.save
    looks = 1 + -(-steps // (evaluate or steps))
    found = looks * costs.evaluation + costs.model
    if save == 0:
        return found
    by_clock = int((steps - 1) * costs.step / unsaved_seconds(config))
    between = max((steps - 1) // (save or steps), by_clock)
    return found + (between + config.keep_state) * costs.checkpoint


def describe_intervals(config: TrainConfig, intervals: Intervals, costs: Costs) -> str:
    """Return the intervals, what they cost and their share of the run, as one sentence."""
    steps, evaluate, save = intervals.steps, intervals.evaluate, intervals.save
    looks = "at the start and the end only"
    if evaluate is not None and evaluate < steps:
        looks = f"every {evaluate:,} steps"
    saves = "no checkpoints"
    if save != 0:
        late = _by_the_clock(config)
        saves = f"every {save:,} steps" if save and save < steps else "after the last step only"
        saves = f"a checkpoint {saves.removesuffix(' only')} and {late}" if late else saves
    seconds = upkeep_seconds(config, intervals, costs)
    share = seconds / (seconds + steps * costs.step)
    checkpoint = "" if save == 0 else f", a checkpoint {_short(costs.checkpoint)}"
    return (
        f"an evaluation {looks}, {saves}: about {share:.0%} of the time (a step takes"
        f" {_short(costs.step)}, an evaluation {_short(costs.evaluation)}{checkpoint})"
    )


def _by_the_clock(config: TrainConfig) -> str:
    """Return when a checkpoint is written by the clock; "" where steps alone decide."""
    seconds = unsaved_seconds(config)
    return "" if math.isinf(seconds) else f"whenever the last is {seconds / 60:g} min old"


def describe_rule(config: TrainConfig) -> str:
    """Return how open intervals will be chosen, as one sentence; "" where none is open."""
    given = {"evaluation": config.eval_every, "checkpoint": config.save_every}
    left = " and ".join(name for name, every in given.items() if every is None)
    if not left:
        return ""
    each, late = "each take" if " and " in left else "take", _by_the_clock(config)
    return (
        f"{left} intervals are chosen after {TIMED_STEPS} timed steps, to {each} at most"
        f" {SHARE:.0%} of the time{'; a checkpoint is written ' * bool(late)}{late}"
    )


def _short(seconds: float) -> str:
    if seconds >= 10:
        return format_elapsed(seconds)
    if seconds >= 1:
        return f"{seconds:.2g} s"
    return f"{1e3 * seconds:.0f} ms" if seconds >= 0.01 else f"{1e3 * seconds:.2g} ms"
