"""Time, energy and cost of training on a number of tokens; estimates, with what they assume."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from unfrozen.errors import PlanError
from unfrozen.hardware.boards import HOST_MEMORY_GB_S, LINK_SHARE, board, peak_tflops
from unfrozen.hardware.gpus import Gpu
from unfrozen.job import Job
from unfrozen.plan.flops import flops
from unfrozen.plan.record import band
from unfrozen.plan.step_time import (
    SCORE_BYTES,
    UNMEASURED_SHARE,
    card_of,
    step_time,
    step_tokens,
    utilisation,
)

LARGEST: Final = 1e18  # tokens; no run comes within a factor of a thousand


@dataclass(frozen=True, slots=True)
class Estimate:
    """What training on a number of tokens takes. Cost is None without a price."""

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


def estimate(
    job: Job, tokens: float, mfu: float | None = None, price: float | None = None
) -> Estimate:
    """Time, energy and cost of training on `tokens`.

    `mfu` is the measured share of the peak, by the model's own FLOPs; without it the step is
    estimated. `price` is that of one card for one hour, in any currency. Raises PlanError for
    numbers out of bounds.
    """
    _check("tokens", tokens, 1, LARGEST)
    if mfu is not None:
        _check("mfu", mfu, 1e-6, 1)
    if price is not None:
        _check("price", price, 0, 1e6)
    gpu, gpus, model = card_of(job), job.cluster.gpus, flops(job).model
    peak = 1e12 * peak_tflops(gpu, job.recipe.compute)
    speed = step_tokens(job) / step_time(job).seconds
    if mfu is not None:
        speed = gpus * mfu * peak / model
    hours = gpus * tokens / speed / 3600
    return Estimate(
        tokens=tokens,
        flops_per_token=model,
        total_flops=model * tokens,
        tokens_per_second=speed,
        step_seconds=step_tokens(job) / speed,
        mfu=speed * model / (gpus * peak),
        seconds=tokens / speed,
        gpu_hours=hours,
        energy_kwh=hours * board(gpu).power_watts / 1000,
        cost=None if price is None else price * hours,
        gpu=gpu.name,
        assumptions=_assumptions(job, gpu, mfu),
    )


def _assumptions(job: Job, gpu: Gpu, mfu: float | None) -> tuple[str, ...]:
    found = []
    if job.gpu is None:
        found.append(f"No card is named; these are {gpu.name}.")
    if mfu is None:
        share = utilisation(gpu, job.recipe)
        kernels = job.recipe.kernels.replace("_", " ")
        found.append(
            f"Assumed: matrix products reach {100 * share:.0f}% of"
            f" {peak_tflops(gpu, job.recipe.compute):g} TFLOP/s ({kernels} kernels);"
            f" {_confidence(job)}"
        )
        found += _unmeasured(job, gpu) + _links(job, gpu)
    found.append(
        f"Each card is counted at its limit of {board(gpu).power_watts} W, the most it may draw;"
        " hosts and cooling are not counted (PUE 1.0)."
    )
    return tuple(found)


def _confidence(job: Job) -> str:
    """How far estimates were off for published runs of the same kind."""
    return f"{band(job)}."


def _unmeasured(job: Job, gpu: Gpu) -> list[str]:
    """What is assumed because nobody measured it."""
    found = []
    if gpu.matmul_tflops is None:
        found.append(
            f"Assumed: the best product of a {gpu.name}, which nobody measured, reaches"
            f" {100 * UNMEASURED_SHARE:.0f}% of its peak."
        )
    if job.recipe.kernels == "fused_block":
        found.append("Assumed: fused blocks are as fast as eager ones; no card has measured them.")
    if job.recipe.attention == "eager":
        found.append(f"Assumed: eager attention moves {SCORE_BYTES} bytes a score and direction.")
    return found


def _links(job: Job, gpu: Gpu) -> list[str]:
    """What is assumed of the ways between cards, machines and the host, where the job uses them."""
    found, cards = [], job.cluster.gpus
    reached = f"reach {100 * LINK_SHARE:.0f}% of their speed on paper"
    if cards > 1:
        found.append(f"Assumed: communication hides behind them as far as it can; links {reached}.")
    if cards > board(gpu).machine and cards > board(gpu).linked:
        found.append(
            f"Assumed: {board(gpu).machine} cards in a machine,"
            f" {board(gpu).network_gb_s:g} GB/s a card between them."
        )
    offloads = job.cluster.offload != "none"
    if offloads or job.recipe.paged or job.recipe.activation_offload:
        found.append(f"Assumed: links to the host ({board(gpu).host_gb_s:g} GB/s) {reached}.")
    if offloads:
        found.append(f"Assumed: the host updates {HOST_MEMORY_GB_S:g} GB/s for each card.")
    return found


def _check(key: str, value: float, low: float, high: float) -> None:
    good = type(value) in (int, float) and math.isfinite(value) and low <= value <= high
    if not good:
        raise PlanError(key, value, f"it must be a number in {low:g} … {high:g}", "correct it")
