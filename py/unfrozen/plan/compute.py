"""Estimates of time, energy and cost of training on a number of tokens, with their assumptions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from unfrozen.errors import PlanError
from unfrozen.hardware import (
    HOST_MEMORY_GB_S,
    LINK_SHARE,
    SUSTAINED_SHARE,
    UNMEASURED_SHARE,
    Gpu,
    measured_sources,
    peak_tflops,
    sustained_tflops,
)
from unfrozen.job import Job
from unfrozen.job.settings import LOW_BITS
from unfrozen.plan.flops import flops
from unfrozen.plan.record import band, band_of
from unfrozen.plan.step_time import bound_words, job_gpu, spent_words, step_time, step_tokens

LARGEST: Final = 1e18  # tokens; no run comes within a factor of a thousand


@dataclass(frozen=True, slots=True)
class Estimate:
    """What training on a number of tokens takes. Cost is None without a price.

    `parts` are the seconds of a step by cause, `spent` their shares in words, `bound` the sentence
    that names the largest; all empty where a utilisation was given. `step_band` is what most
    published steps of the same kind took beside such an estimate (`record.Band`), in seconds.
    """

    tokens: float
    flops_per_token: float
    total_flops: float
    tokens_per_second: float
    step_seconds: float
    mfu: float
    seconds: float
    gpu_hours: float
    energy_kwh: float
    cost: float | None
    gpu: str
    assumptions: tuple[str, ...]
    parts: dict[str, float] = field(default_factory=dict)
    spent: str = ""
    bound: str = ""
    step_band: tuple[float, float] | None = None


def estimate(
    job: Job,
    tokens: float,
    mfu: float | None = None,
    price: float | None = None,
) -> Estimate:
    """Return the time, energy and cost of training on `tokens`.

    `mfu` is the measured share of the peak, by the model's own FLOPs; without it the step is
    estimated. `price` is that of one GPU for one hour, in any currency. Raises PlanError for
    numbers out of bounds.
    """
    _check("tokens", tokens, 1, LARGEST)
    if mfu is not None:
        _check("mfu", mfu, 1e-6, 1)
    if price is not None:
        _check("price", price, 0, 1e6)
    gpu, gpus, model = job_gpu(job), job.cluster.gpus, flops(job).model
    peak = 1e12 * peak_tflops(gpu, job.recipe.compute)
    step = None if mfu is not None else step_time(job)
    speed = step_tokens(job) / step.seconds if step else gpus * (mfu or 0) * peak / model
    hours = gpus * tokens / speed / 3600
    seconds, near = step_tokens(job) / speed, band_of(job)
    low, high = seconds / (1 + near.most), seconds * (1 + near.most)
    return Estimate(
        tokens=tokens,
        flops_per_token=model,
        total_flops=model * tokens,
        tokens_per_second=speed,
        step_seconds=seconds,
        mfu=speed * model / (gpus * peak),
        seconds=tokens / speed,
        gpu_hours=hours,
        energy_kwh=hours * gpu.power_watts / 1000,
        cost=None if price is None else price * hours,
        gpu=gpu.name,
        assumptions=_assumptions(job, gpu, mfu),
        parts=step.parts() if step else {},
        spent=spent_words(step) if step else "",
        bound=bound_words(step) if step else "",
        step_band=(low, high) if step and near.known else None,
    )


def _assumptions(job: Job, gpu: Gpu, mfu: float | None) -> tuple[str, ...]:
    found = []
    if job.gpu is None:
        found.append(f"No GPU is named; this assumes {gpu.name}.")
    if mfu is None:
        found.append(_matmul_rate(job, gpu))
        found.append(f"Accuracy: {band(job)}.")
        found += _unmeasured(job) + _links(job, gpu)
    limit = "its power limit of" if gpu.device == "cuda" else "an assumed"
    found.append(
        f"Each GPU is counted at {limit} {gpu.power_watts} W;"
        " hosts and cooling are not counted (PUE 1.0)."
    )
    return tuple(found)


def _matmul_rate(job: Job, gpu: Gpu) -> str:
    """Return the rate of matmuls, and its source."""
    compute = job.recipe.compute
    rate, peak = sustained_tflops(gpu, compute), peak_tflops(gpu, compute)
    text = f"matmuls sustain {rate:.0f} of {peak:g} TFLOP/s"
    exact = gpu.sustained_fp8_tflops if compute in LOW_BITS else gpu.sustained_tflops
    if exact and compute != "fp32":
        return f"Published measurement: {text} ({measured_sources(gpu)[0].partition(':')[0]})."
    if gpu.matmul_tflops:
        return f"Assumed: {text}, {SUSTAINED_SHARE:g} of the best matmul anyone measured."
    return (
        f"Assumed: {text}; the best matmul on the {gpu.name}, which nobody measured, reaches"
        f" {100 * UNMEASURED_SHARE:.0f}% of its peak."
    )


def _unmeasured(job: Job) -> list[str]:
    """Return what is assumed because nobody measured it."""
    found = []
    if job.recipe.kernels == "fused_block":
        found.append(
            "Assumed: fused blocks move as many bytes as eager ones outside norms and matmuls."
        )
    return found


def _links(job: Job, gpu: Gpu) -> list[str]:
    """Return assumptions on links between GPUs, machines and host that the job uses."""
    found, gpus = [], job.cluster.gpus
    reaches = f"reach {100 * (gpu.link_share or LINK_SHARE):.0f}% of their nominal speed"
    if gpus > 1:
        found.append(f"Assumed: communication overlaps with matmuls where it can; links {reaches}.")
    if gpus > gpu.node_gpus and gpus > gpu.linked_gpus:
        found.append(
            f"Assumed: {gpu.node_gpus} GPUs per machine,"
            f" {gpu.network_gb_s:g} GB/s per GPU between machines."
        )
    offloads = job.cluster.offload != "none"
    if offloads or job.recipe.paged or job.recipe.activation_offload:
        share = f"{100 * LINK_SHARE:.0f}% of their nominal speed"
        found.append(f"Assumed: links to the host ({gpu.host_gb_s:g} GB/s) reach {share}.")
    if offloads:
        found.append(f"Assumed: the CPU updates {HOST_MEMORY_GB_S:g} GB/s per GPU.")
    return found


def _check(key: str, value: float, low: float, high: float) -> None:
    good = type(value) in (int, float) and math.isfinite(value) and low <= value <= high
    if not good:
        raise PlanError(key, value, f"it must be a number in {low:g} … {high:g}", "correct it")
