"""The optimizers whose states are the runner's own; those of adamw8bit are another library's."""

from typing import Final

from unfrozen.job.optimizers import RUNNER_OPTIMIZERS, RunnerOptimizerName

OWN: Final[list[RunnerOptimizerName]] = [n for n in RUNNER_OPTIMIZERS if n != "adamw8bit"]
