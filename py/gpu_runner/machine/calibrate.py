"""`unfrozen calibrate`: the speed of a device measured now, and the steps of its earlier runs.

A finished run has the model's config beside its log, and the recipe in its first event: together
they are the planner's job. Runs on other devices, of several processes, or without these are left
out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import torch

from gpu_runner.log.tail import CHUNK_BYTES, LOG_NAME, parse
from gpu_runner.plain import NotPlain, read_plain
from gpu_runner.plan import device_speed
from gpu_runner.plan.step_time import find_gpu
from unfrozen.errors import PlanError
from unfrozen.hardware.gpus import Gpu
from unfrozen.job import LARGEST_CONFIG_BYTES, Job
from unfrozen.job.recipe import Recipe
from unfrozen.plan.flops import flops
from unfrozen.plan.step_time import step_time, step_tokens
from unfrozen.plan.timing.calibration import Calibration

_WARM_UP: Final = 3
"""Steps at the start of a run that fill caches and compile; they do not count."""
_MOST_BYTES: Final = 64 * CHUNK_BYTES
_RECIPE: Final = frozenset(field.name for field in fields(Recipe))


class RecordedSteps(NamedTuple):
    """Steps of one run: its job, how many steps, and their median seconds."""

    job: Job
    number: int
    seconds: float


def calibrate(
    device: torch.device, runs: Path, day: str, seconds: float = device_speed.SECONDS
) -> Calibration:
    """Measure a device for about five times `seconds`, and read the runs in a folder."""
    name, gpu = device_speed.device_name(device), None
    if device.type == "cuda":
        gpu = find_gpu(name, torch.cuda.get_device_properties(device).total_memory)
    rates = device_speed.measure_matmuls(device, seconds)
    measured = Calibration(
        device=name,
        card=gpu.name if gpu else None,
        day=day,
        products=tuple(sorted(rates.items())),
        memory_gb_s=device_speed.measure_bandwidth(device, seconds),
        launch_us=device_speed.measure_launch(device, seconds),
    )
    steps = list(read_runs(runs, name, gpu))
    if device.type == "cpu":
        reached = matmul_share(steps, rates)
        return replace(measured, step_share=reached[0], steps=reached[1]) if reached else measured
    ratio = estimate_ratio(steps, measured) if gpu else None
    return replace(measured, step_ratio=ratio[0], steps=ratio[1]) if ratio else measured


def read_runs(runs: Path, device: str, gpu: Gpu | None) -> Iterator[RecordedSteps]:
    """Yield the steps of every run in a folder that ran on this device."""
    for directory in sorted(runs.iterdir()) if runs.is_dir() else ():
        try:
            found = _read_run(directory, device, gpu)
        except (OSError, NotPlain, PlanError, ValueError, KeyError, TypeError, AttributeError):
            continue  # anything may lie there: a run that cannot be read does not count
        if found is not None:
            yield found


def estimate_ratio(steps: list[RecordedSteps], measured: Calibration) -> tuple[float, int] | None:
    """Return the median over runs of measured over estimated step time, and how many steps.

    The estimate uses what was `measured` of the device.
    """
    if not steps:
        return None
    ratios = [one.seconds / step_time(one.job, measured).seconds for one in steps]
    return median(ratios), sum(one.number for one in steps)


def matmul_share(steps: list[RecordedSteps], rates: dict[str, float]) -> tuple[float, int] | None:
    """Return the share of a CPU's matmul TFLOP/s that whole steps reach, and how many steps."""
    shares = [
        flops(one.job).total * step_tokens(one.job) / one.seconds / (1e12 * rate)
        for one in steps
        if (rate := rates.get(one.job.recipe.compute))
    ]
    return (median(shares), sum(one.number for one in steps)) if shares else None


def _read_run(directory: Path, device: str, gpu: Gpu | None) -> RecordedSteps | None:
    start, seconds = _read_log(directory / LOG_NAME)
    hardware = start["hardware"]
    if hardware.get("gpu", hardware["cpu"]) != device or hardware.get("processes", 1) != 1:
        return None
    if len(seconds) <= _WARM_UP:
        return None
    config = json.loads(read_plain(directory / "model" / "config.json", LARGEST_CONFIG_BYTES))
    recipe = {key: value for key, value in start["recipe"].items() if key in _RECIPE}
    job = Job.read({"model": config, "recipe": recipe})
    late = seconds[_WARM_UP:]
    return RecordedSteps(job if gpu is None else job.on(gpu), len(late), median(late))


def _read_log(path: Path) -> tuple[dict[str, Any], list[float]]:
    """Return the first event of a log, and the seconds of each step in it."""
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
