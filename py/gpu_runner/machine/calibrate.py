"""`unfrozen calibrate`: the speed of a device measured now, and the steps of its earlier runs.

A finished run has the model's config beside its log, and the recipe in its first event: together
they are the planner's job. Runs on other devices, of several processes, or without these are left
out.

Anything may lie in a folder of runs, and a log can say what it likes. Which runs count is therefore
reported, and one whose steps no such device can have taken is refused: faster than its matmuls, or
far from the estimate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import torch

from gpu_runner.log.tail import CHUNK_BYTES, LOG_NAME, parse
from gpu_runner.plain import NotPlain, read_plain
from gpu_runner.plan import device_speed
from gpu_runner.plan.step_time import find_gpu
from gpu_runner.text import counted, printable
from unfrozen.errors import PlanError
from unfrozen.hardware import Gpu
from unfrozen.job import LARGEST_CONFIG_BYTES, Job
from unfrozen.job.recipe import Recipe
from unfrozen.plan.flops import flops
from unfrozen.plan.step_time import step_time, step_tokens
from unfrozen.plan.timing.calibration import Calibration
from unfrozen.schema.check import read

_WARM_UP: Final = 3
"""Steps at the start of a run that fill caches and compile; they do not count."""
_MOST_BYTES: Final = 64 * CHUNK_BYTES
_RECIPE: Final = frozenset(field.name for field in fields(Recipe))


FASTEST: Final = 1.25
"""Of the matmul rate measured now: a step that reaches more was not taken on this device."""
SLOWEST: Final = 1e-3
"""The same on a CPU for what is too slow to be a step of this job."""
FURTHEST: Final = 30.0
"""Times the estimate on a GPU, or its inverse."""
LONGEST_SECONDS: Final = 1e5


class RecordedSteps(NamedTuple):
    """Steps of one run: its job, how many steps, and their median seconds."""

    job: Job
    number: int
    seconds: float
    run: str = ""


class RefusedRun(NamedTuple):
    """A run of this device that does not count, and why."""

    run: str
    why: str


class Calibrated(NamedTuple):
    """What was measured, the runs whose steps it counts, and those that it refuses."""

    measured: Calibration
    used: list[RecordedSteps]
    refused: list[RefusedRun]

    def sentences(self) -> list[str]:
        """Return which runs count and which do not; none for a folder without runs."""
        used = ", ".join(
            f"{one.run} ({counted(one.number, 'step')} of {one.seconds:.3g} s)" for one in self.used
        )
        found = [f"Their steps count: {used}."] if used else []
        return found + [f"Not used: {one.run}: {one.why}." for one in self.refused]


def calibrate(
    device: torch.device, runs: Path, day: str, seconds: float = device_speed.SECONDS
) -> Calibrated:
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
    used, refused = believe(read_runs(runs, name, gpu), measured, gpu)
    if device.type == "cpu":
        reached = matmul_share(used, rates)
        if reached:
            measured = replace(measured, step_share=reached[0], steps=reached[1])
        return Calibrated(measured, used if reached else [], refused)
    ratio = estimate_ratio(used, measured) if gpu else None
    if ratio:
        measured = replace(measured, step_ratio=ratio[0], steps=ratio[1])
    return Calibrated(measured, used if ratio else [], refused)


def believe(
    runs: Iterable[RecordedSteps | RefusedRun], measured: Calibration, gpu: Gpu | None
) -> tuple[list[RecordedSteps], list[RefusedRun]]:
    """Return the runs whose steps this device can have taken, and the others with the reason."""
    used, refused = [], []
    for one in runs:
        if isinstance(one, RefusedRun):
            refused.append(one)
        elif why := _impossible(one, measured, gpu):
            refused.append(RefusedRun(one.run, why))
        else:
            used.append(one)
    return used, refused


def _impossible(one: RecordedSteps, measured: Calibration, gpu: Gpu | None) -> str:
    """Return why no step of this job can take that long on this device; "" if it can."""
    taken = f"its steps of {one.seconds:.3g} s"
    rate = dict(measured.products).get(one.job.recipe.compute)
    if rate:
        reached = _flops_of(one) / one.seconds / (1e12 * rate)
        if reached > FASTEST:
            times = f"{reached:,.1f}" if reached < 1e6 else "over a million"
            return f"{taken} reach {times} times the matmul rate measured here"
        if gpu is None and reached < SLOWEST:
            return f"{taken} reach {reached:.2g} of the matmul rate measured here: too slow"
    if gpu is not None:
        ratio = one.seconds / step_time(one.job, measured).seconds
        if not 1 / FURTHEST <= ratio <= FURTHEST:
            return f"{taken} are {ratio:.3g} times the estimate"
    return ""


def _flops_of(one: RecordedSteps) -> float:
    return float(flops(one.job).total * step_tokens(one.job))


def read_runs(runs: Path, device: str, gpu: Gpu | None) -> Iterator[RecordedSteps | RefusedRun]:
    """Yield the steps of every run in a folder that ran on this device, or why they do not count.

    What is no run of this device is left out.
    """
    for directory in sorted(runs.iterdir()) if runs.is_dir() else ():
        name = printable(directory.name)[:80]
        try:
            found = _read_run(directory, device, gpu)
        except PlanError as error:
            yield RefusedRun(name, f"the planner does not take its job ({error})")
        except (OSError, NotPlain, KeyError, TypeError, AttributeError):
            continue  # anything may lie there
        except (ValueError, ArithmeticError, RecursionError) as error:
            yield RefusedRun(name, str(error).rstrip("."))
        else:
            if found is not None:
                yield found._replace(run=name)


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
        _flops_of(one) / one.seconds / (1e12 * rate)
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
    text = read_plain(directory / "model" / "config.json", LARGEST_CONFIG_BYTES)
    config = read(text, LARGEST_CONFIG_BYTES, "its model/config.json")
    if config.problem:
        raise ValueError(config.problem)
    recipe = {key: value for key, value in start["recipe"].items() if key in _RECIPE}
    job = Job.read({"model": config.value, "recipe": recipe})
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
        if isinstance(taken, int | float) and not 0 < taken <= LONGEST_SECONDS:
            raise ValueError(
                f"its log has a step of {taken:.3g} s: more than 0 and at most"
                f" {LONGEST_SECONDS:,.0f} s count"
            )
        if isinstance(taken, int | float):
            seconds.append(float(taken))
    return start, seconds
