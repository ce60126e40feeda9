"""Errors of time estimates against published speeds: the band of each estimate.

An error is the estimated speed over the measured one, less 1. `docs/first_look.py` computes
`SPEEDS` from the published runs, and test_later_rows.py computes it again: it is neither an
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
    "unlinked": "on GPUs without NVLink",
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

    `low` and `high` are what nine in ten of the runs or more took, as ratios of the estimated time;
    the estimate itself lies between them.
    """

    runs: int
    half: float
    most: float
    worst: float
    low: float
    high: float

    @classmethod
    def of(cls, errors: list[float]) -> Spread:
        """Return the spread of some errors with their sign, at least one."""
        found = sorted(map(abs, errors))
        middle, last = len(found) // 2, len(found) - 1
        half = found[middle] if len(found) % 2 else (found[middle - 1] + found[middle]) / 2
        signed = sorted(errors)
        return cls(
            runs=len(found),
            half=half,
            most=found[math.ceil(0.9 * len(found)) - 1],
            worst=found[-1],
            low=1 + min(0, signed[math.floor(0.05 * last)]),
            high=1 + max(0, signed[math.ceil(0.95 * last)]),
        )


# counted by docs/first_look.py
SPEEDS: Final[dict[str, Spread]] = {
    "adapters": Spread(43, 0.119, 0.301, 0.457, 0.822, 1.347),
    "experts": Spread(23, 0.151, 0.428, 0.553, 0.717, 1.480),
    "low": Spread(35, 0.121, 0.416, 0.650, 0.706, 1.607),
    "unlinked": Spread(2, 1.882, 2.239, 2.239, 1.000, 3.239),
    "one": Spread(18, 0.143, 1.201, 1.595, 0.793, 2.595),
    "machine": Spread(115, 0.054, 0.263, 1.053, 0.921, 1.339),
    "machines": Spread(64, 0.067, 0.341, 0.765, 0.955, 1.383),
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
    gpu = job_gpu(job)
    if gpu.link_gb_s is None:
        return "unlinked"
    if job.cluster.gpus == 1:
        return "one"
    return "machine" if job.cluster.gpus <= gpu.node_gpus else "machines"


def band(job: Job) -> str:
    """Return how far estimates for runs of the same kind were off, as half a sentence.

    "of 45 published runs on several machines, half were within 23% and nine in ten within 55%"
    """
    return _format_spread(spread_of(job), KINDS[kind_of(job)])


def spread_of(job: Job) -> Spread:
    """Return the spread of the published runs of the same kind as a job."""
    return SPEEDS[kind_of(job)]


def half_within(job: Job) -> str:
    """Return what half of the estimates for runs of the same kind stayed within: "5%"."""
    return _percent(spread_of(job).half)


def _format_spread(found: Spread, words: str) -> str:
    least = f"of {found.runs} published runs {words}, half were within {_percent(found.half)}"
    if found.runs < ENOUGH:
        return f"{least} and the worst within {_percent(found.worst)}"
    return f"{least} and nine in ten within {_percent(found.most)}"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.0f}%"
