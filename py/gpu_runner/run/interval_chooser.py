"""Chooses how often a run is evaluated and saved, where its settings leave that open.

Once `TIMED_STEPS` steps are timed, the intervals follow from the step, the first evaluation and the
writing of a part of a checkpoint; the first whole checkpoint corrects the interval of the others.
What is chosen holds from then on: it is logged, and written to the settings of the run and into its
checkpoints, so that a run that is resumed goes on at the same steps. The first process chooses for
all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Final

from gpu_runner.config.schema import TrainConfig
from gpu_runner.plan.intervals import (
    TIMED_STEPS,
    Costs,
    Intervals,
    choose_intervals,
    describe_intervals,
)
from gpu_runner.train.loop import StepResult
from gpu_runner.world import World

_WARM_UP: Final = 2
"""Steps at the start that fill caches."""


class IntervalChooser:
    """Sets what is open in `intervals`, of a run with the settings `config`.

    guess     the seconds of an evaluation that has not been timed, from those of a step
    writing   the seconds of a checkpoint that has not been timed, and of the trained model
    chosen    is called with the settings that hold from here on, a step and a sentence about them
    """

    def __init__(
        self,
        config: TrainConfig,
        intervals: Intervals,
        world: World,
        *,
        guess: Callable[[float], float],
        writing: Callable[[], tuple[float, float]],
        chosen: Callable[[TrainConfig, int, str], None],
    ) -> None:
        self._config = config
        self._intervals = intervals
        self._world = world
        self._guess, self._writing, self._chosen = guess, writing, chosen
        self._steps: list[float] = []
        self._costs: Costs | None = None
        self._timed_checkpoint = 0.0
        self._open = intervals.evaluate is None or intervals.save is None

    def step_done(self, result: StepResult, evaluation_seconds: float) -> None:
        """Take in a step; choose once there are enough. 0: no evaluation has been timed."""
        if not self._open or self._costs is not None:
            return
        self._steps.append(result.seconds)
        if len(self._steps) == TIMED_STEPS:
            self._costs = self._world.on_first(lambda: self._measured(evaluation_seconds))
            self._choose(self._config, result.number)

    def saved(self, step: int, seconds: float) -> None:
        """Take in what a checkpoint took; the first one corrects what was estimated."""
        if not self._open or self._timed_checkpoint or step >= self._intervals.steps:
            return
        self._timed_checkpoint = seconds
        if self._costs is None or self._config.save_every is not None:
            return
        measured = replace(self._costs, checkpoint=seconds)
        self._costs = self._world.on_first(lambda: measured)
        before = self._intervals.save
        settings = replace(self._config, eval_every=self._intervals.evaluate)
        self._choose(settings, step, unless=before)

    def _measured(self, evaluation_seconds: float) -> Costs:
        step = median(self._steps[_WARM_UP:])
        checkpoint, model = self._writing()
        evaluation = evaluation_seconds or self._guess(step)
        return Costs(step, evaluation, self._timed_checkpoint or checkpoint, model)

    def _choose(self, settings: TrainConfig, step: int, unless: int | None = None) -> None:
        """Choose what `settings` leave open; say so, but for an `unless` that stays as it was."""
        assert self._costs is not None
        found = choose_intervals(settings, self._intervals.steps, self._costs)
        self._intervals.evaluate, self._intervals.save = found.evaluate, found.save
        if unless is not None and found.save == unless:
            return
        text = describe_intervals(self._config, found, self._costs)
        now = replace(self._config, eval_every=found.evaluate, save_every=found.save)
        end = "Set other intervals with --eval-every and --save-every."
        self._chosen(now, step, f"From here on {text}. {end}")
