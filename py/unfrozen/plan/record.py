"""Errors of time estimates against published speeds: the band of each estimate.

An error is the estimated speed over the measured one, less 1. `docs/first_look.py` computes
`SPEEDS` from the published runs, and tests/measurements computes it again: it is neither an
assumption nor a bound, only the error observed so far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from unfrozen.job import Job
from unfrozen.plan.flops import frozen
from unfrozen.plan.step_time import job_gpu

KINDS: Final = {
    "adapters": "with adapters",
    "experts": "of models with experts",
    "low": "with matmuls of 8 bits or fewer",
    "one": "on one GPU",
    "machine": "on the GPUs of one machine",
    "machines": "on several machines",
}
"""Kinds of jobs, in the order in which a job is asked whether it is one, and in words."""

_WIDE: Final = ("fp32", "bf16", "fp16")
ENOUGH: Final = 10
"""Runs from which on nine in ten of them are more than a single one."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Errors without their sign, as ratios: of how many runs, and within what half of them, nine in
    ten and all of them lie.
    """

    runs: int
    half: float
    most: float
    worst: float

    @classmethod
    def of(cls, errors: list[float]) -> Spread:
        """Return the spread of some errors, at least one."""
        found = sorted(map(abs, errors))
        middle = len(found) // 2
        half = found[middle] if len(found) % 2 else (found[middle - 1] + found[middle]) / 2
        return cls(len(found), half, found[math.ceil(0.9 * len(found)) - 1], found[-1])


# counted by docs/first_look.py
SPEEDS: Final[dict[str, Spread]] = {
    "adapters": Spread(8, 0.199, 0.230, 0.230),
    "experts": Spread(15, 0.163, 0.359, 0.381),
    "low": Spread(35, 0.137, 0.416, 0.650),
    "one": Spread(13, 0.206, 1.526, 1.596),
    "machine": Spread(106, 0.053, 0.269, 3.930),
    "machines": Spread(54, 0.065, 0.192, 0.765),
    "unseen": Spread(42, 0.212, 0.635, 1.596),
    "all": Spread(231, 0.072, 0.327, 3.930),
}
# end


def kind_of(job: Job) -> str:
    """Return which of `KINDS` a job is; of several, such as fp8 on two machines, the first."""
    if frozen(job):
        return "adapters"
    if job.model.architecture.experts:
        return "experts"
    if job.recipe.compute not in _WIDE:
        return "low"
    if job.cluster.gpus == 1:
        return "one"
    return "machine" if job.cluster.gpus <= job_gpu(job).node_gpus else "machines"


def band(job: Job) -> str:
    """Return how far estimates for runs of the same kind were off, as half a sentence.

    "of 45 published runs on several machines, half were within 23% and nine in ten within 55%"
    """
    kind = kind_of(job)
    return _format_spread(SPEEDS[kind], KINDS[kind])


def overall() -> str:
    """Return half a sentence on all runs, and on those that no figure was fitted to."""
    found, unseen = SPEEDS["all"], SPEEDS["unseen"]
    return (
        f"half of {found.runs} published runs were within {_percent(found.half)} of such an"
        f" estimate and nine in ten within {_percent(found.most)}; of the {unseen.runs} among them"
        f" that were not at hand when it was made, half within {_percent(unseen.half)}"
    )


def _format_spread(found: Spread, words: str) -> str:
    least = f"of {found.runs} published runs {words}, half were within {_percent(found.half)}"
    if found.runs < ENOUGH:
        return f"{least} and the worst within {_percent(found.worst)}"
    return f"{least} and nine in ten within {_percent(found.most)}"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.0f}%"
