"""How long a run takes, said before it starts: by the planner's estimate on a card it knows, on a
CPU by the rate of one matrix product measured now."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from typing import Final

import torch

from gpu_runner.data.examples import lengths
from gpu_runner.memory.formula import build_recipe
from gpu_runner.plan.plan import RunPlan
from gpu_runner.system.calibration import kept
from gpu_runner.system.names import cpu_name
from unfrozen.hardware.gpus import GPUS, Gpu
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.plan.flops import flops
from unfrozen.plan.step_time import step_time, step_tokens

CPU_SHARE: Final = 0.75
"""Of that rate, what a whole step reaches: the largest of `build.py bench three_sizes`."""
SMALL: Final = 20_000_000
"""Parameters below which a CPU's step is longer than that: `build.py bench three_sizes`."""
MEASURED_SECONDS: Final = 0.2
_SIDE: Final = 1024
_FORMS: Final = ("pcie", "nvl")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of a step, evaluations and checkpoints not counted, and where they come from.

    `least` where a model is so small that starting its operations may take longer than they do.
    """

    step_seconds: float
    source: str
    least: bool = False


def pace(planned: RunPlan) -> Pace | None:
    """The pace of a run; None for a model or a card that nothing is known of."""
    if planned.shape is None:
        return None
    rows = planned.train
    tokens = planned.feed.rows_per_step * rows.tokens / len(rows.examples)
    sizes = lengths(rows.examples)
    seen = sum(size**2 for size in sizes) / sum(sizes)  # a token's document, on average
    asked = build_recipe(planned.config, planned.compute, planned.heaviest, planned.shape)
    asked = replace(asked, micro_batch=planned.config.micro_batch, seq_len=max(1, round(seen)))
    ranks = planned.feed.ranks
    job = Job(planned.shape, asked, Cluster(ranks, "zero3" if ranks > 1 else "none"))
    if planned.device.type == "cpu":
        return _on_processor(job, tokens, planned.compute)
    properties = torch.cuda.get_device_properties(planned.device)
    gpu = card(properties.name, properties.total_memory)
    if gpu is None:
        return None
    job = job.on(gpu)
    measured = kept(properties.name)
    seconds = step_time(job, measured).seconds * tokens / step_tokens(job)
    source = f"; m{measured.words()[1:]}" if measured else ""
    return Pace(seconds, f"the planner's estimate for {gpu.name}{source}".rstrip("."))


def _on_processor(job: Job, tokens: float, compute: str) -> Pace:
    """The pace on a CPU: by what `unfrozen calibrate` measured, else by one product now."""
    measured, least = kept(cpu_name()), job.model.num_parameters < SMALL
    rates = dict(measured.products) if measured else {}
    if measured and compute in rates:
        share = measured.step_share or CPU_SHARE
        seconds = flops(job).total * tokens / (share * 1e12 * rates[compute])
        return Pace(seconds, f"m{measured.words()[1:]}".rstrip("."), least)
    rate = product_rate(torch.bfloat16 if compute == "bf16" else torch.float32)
    seconds = flops(job).total * tokens / (CPU_SHARE * rate)
    return Pace(seconds, f"from a matrix product measured now, {rate / 1e9:,.0f} GFLOP/s", least)


def peak_rate(device: torch.device, width: str) -> float | None:
    """FLOP/s that utilisation is measured by, for products in `width` ("bf16", "fp32", …).

    A card's dense peak, as its maker says; of a CPU, one product measured now. None where neither
    is known.
    """
    if device.type == "cpu":
        return product_rate(torch.bfloat16 if width == "bf16" else torch.float32)
    properties = torch.cuda.get_device_properties(device)
    gpu = card(properties.name, properties.total_memory)
    if gpu is None or gpu.bf16_tflops is None or width not in ("bf16", "fp16"):
        return None
    return 1e12 * gpu.bf16_tflops


def card(name: str, memory_bytes: int) -> Gpu | None:
    """The planner's card of the name and memory that CUDA tells, None where it has none."""
    words = re.findall(r"[a-z]*\d+[a-z]*", name.lower())
    found = [
        gpu
        for gpu in GPUS
        if _model(gpu) in words and 0.85 < memory_bytes / (gpu.nominal_gb * 1e9) < 1.15
    ]
    form = next((form for form in _FORMS if form in name.lower()), None)
    same = [gpu for gpu in found if _form(gpu) == form]
    return next(iter(same or found), None)


def _model(gpu: Gpu) -> str:
    found = re.search(r"[a-z]*\d+[a-z]*", gpu.name.lower())
    return found.group() if found else ""


def _form(gpu: Gpu) -> str | None:
    return next((form for form in _FORMS if form in gpu.name.lower()), None)


def product_rate(dtype: torch.dtype) -> float:
    """FLOP/s of a square product on this CPU, the best of what fits in MEASURED_SECONDS."""
    a, b, product = (torch.ones(_SIDE, _SIDE, dtype=dtype) for _ in range(3))
    best, until = float("inf"), time.perf_counter() + MEASURED_SECONDS
    while True:
        started = time.perf_counter()
        torch.mm(a, b, out=product)
        ended = time.perf_counter()
        best = min(best, ended - started)
        if ended > until:
            return float(2 * _SIDE**3 / best)
