"""What steps of finished runs took on a device, beside what the planner says of them.

A finished run keeps the model's config beside its log, and its first event the recipe: together
they are the planner's job. Runs on other devices, on several processes, or without
these are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from gpu_runner.log.tail import CHUNK_BYTES, LOG_NAME, parse
from gpu_runner.plain import NotPlain, read_plain
from unfrozen.errors import PlanError
from unfrozen.hardware.gpus import Gpu
from unfrozen.job import LARGEST_CONFIG_BYTES, Job
from unfrozen.job.recipe import Recipe
from unfrozen.plan.flops import flops
from unfrozen.plan.step_time import step_time, step_tokens
from unfrozen.plan.timing.calibration import Calibration

_WARM: Final = 3
"""Steps at the start of a run that fill caches and compile, and do not count."""
_MOST_BYTES: Final = 64 * CHUNK_BYTES
_RECIPE: Final = frozenset(field.name for field in fields(Recipe))


class Steps(NamedTuple):
    """Steps of one run: how many, and the seconds of the middle one."""

    job: Job
    number: int
    seconds: float


def measured_steps(runs: Path, device: str, gpu: Gpu | None) -> Iterator[Steps]:
    """The steps of every run in a folder that ran on this device."""
    for directory in sorted(runs.iterdir()) if runs.is_dir() else ():
        try:
            found = _steps(directory, device, gpu)
        except (OSError, NotPlain, PlanError, ValueError, KeyError, TypeError, AttributeError):
            continue  # whatever lies there: a run that cannot be read counts for nothing
        if found is not None:
            yield found


def ratio(found: list[Steps], measured: Calibration) -> tuple[float, int] | None:
    """Measured over estimated seconds of a step, in the median of runs, and how many steps; the
    estimate is that with what was `measured` of the device.
    """
    if not found:
        return None
    ratios = [one.seconds / step_time(one.job, measured).seconds for one in found]
    return median(ratios), sum(one.number for one in found)


def share(found: list[Steps], rate: dict[str, float]) -> tuple[float, int] | None:
    """Share of a processor's TFLOP/s of products that whole steps reach, and how many steps."""
    shares = [
        flops(one.job).total * step_tokens(one.job) / one.seconds / (1e12 * known)
        for one in found
        if (known := rate.get(one.job.recipe.compute))
    ]
    return (median(shares), sum(one.number for one in found)) if shares else None


def _steps(directory: Path, device: str, gpu: Gpu | None) -> Steps | None:
    start, seconds = _log(directory / LOG_NAME)
    hardware = start["hardware"]
    if hardware.get("gpu", hardware["cpu"]) != device or hardware.get("processes", 1) != 1:
        return None
    if len(seconds) <= _WARM:
        return None
    config = json.loads(read_plain(directory / "model" / "config.json", LARGEST_CONFIG_BYTES))
    recipe = {key: value for key, value in start["recipe"].items() if key in _RECIPE}
    job = Job.read({"model": config, "recipe": recipe})
    late = seconds[_WARM:]
    return Steps(job if gpu is None else job.on(gpu), len(late), median(late))


def _log(path: Path) -> tuple[dict[str, Any], list[float]]:
    """The first event of a log, and the seconds of each step in it."""
    start: dict[str, Any] = {}
    seconds = []
    for line in read_plain(path, _MOST_BYTES).split(b"\n"):
        event = parse(line)
        if event is None:
            continue
        if event["kind"] == "run.start" and not start:
            start = event
        taken = event.get("m", {}).get("perf/step_seconds") if event["kind"] == "metrics" else None
        if isinstance(taken, float) and taken > 0:
            seconds.append(taken)
    return start, seconds
