"""How long a step takes, before the first one: by the planner's estimate on a GPU that it knows, on
a CPU by the rate of one matmul measured now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

import torch

from gpu_runner.checkpoint.directory import time_writing
from gpu_runner.memory.formula import build_recipe
from gpu_runner.plan.device_speed import best_matmul_flops, measure_bandwidth
from gpu_runner.plan.intervals import Costs
from gpu_runner.plan.plan import RunPlan, cluster_of, existing, writes_shards
from unfrozen.hardware import Gpu, named
from unfrozen.job import Job
from unfrozen.plan.flops import flops
from unfrozen.plan.step_time import step_time, step_tokens

CPU_SHARE: Final = 0.75
"""Share of that rate that a whole step reaches: the largest of `build.py bench three_sizes`."""
SMALL: Final = 20_000_000
"""Parameters below which a CPU reaches less than that: `build.py bench three_sizes`."""
DRIFT_PASSES: Final = 10
"""Reads and writes of the fp32 weights that measuring the distance from θ₀ takes."""


@dataclass(frozen=True, slots=True)
class StepEstimate:
    """Seconds of a step, without evaluations and checkpoints, and where the estimate comes from.

    `least`: a lower bound, because launching the kernels of so small a model may take longer than
    they do.
    """

    step_seconds: float
    source: str
    least: bool = False


def estimate_step_time(planned: RunPlan) -> StepEstimate | None:
    """Estimate a step of a run; None for a model or a GPU that the planner does not know."""
    if planned.shape is None:
        return None
    rows = planned.train
    tokens = planned.feed.sequences_per_step * rows.tokens / len(rows.examples)
    sizes = rows.examples.lengths
    seen = sum(size**2 for size in sizes) / sum(sizes)  # length of a token's example, on average
    asked = build_recipe(planned.config, planned.compute, planned.heaviest, planned.shape)
    asked = replace(asked, micro_batch=planned.config.micro_batch, seq_len=max(1, round(seen)))
    job = Job(planned.shape, asked, cluster_of(planned.config, planned.feed.ranks))
    if planned.device.type == "cpu":
        return _on_processor(job, tokens, planned.compute)
    properties = torch.cuda.get_device_properties(planned.device)
    gpu = find_gpu(properties.name, properties.total_memory)
    if gpu is None:
        return None
    job = job.on(gpu)
    seconds = step_time(job).seconds * tokens / step_tokens(job)
    return StepEstimate(seconds, f"the planner's estimate for {gpu.name}")


def _on_processor(job: Job, tokens: float, compute: str) -> StepEstimate:
    """Estimate a step on a CPU by one matmul, measured now."""
    least = job.model.num_parameters < SMALL
    rate = best_matmul_flops(torch.device("cpu"), compute)
    seconds = flops(job).total * tokens / (CPU_SHARE * rate)
    return StepEstimate(seconds, f"from a matmul measured now, {rate / 1e9:,.0f} GFLOP/s", least)


def evaluation_seconds(planned: RunPlan, step_seconds: float) -> float:
    """Return about how long an evaluation takes, from the seconds of a step.

    A forward pass is a third of a step's work a token; then the distance from θ₀ is measured, which
    reads every weight a few times.
    """
    rows = planned.train
    tokens = planned.feed.sequences_per_step * rows.tokens / len(rows.examples)
    scored = sum(suite.tokens for suite in planned.suites.values())
    weights = planned.weight_bytes / planned.feed.ranks
    passes = weights * DRIFT_PASSES / (1e9 * _host_bandwidth())
    models = 1 if planned.config.ema is None else 2
    return models * step_seconds * scored / (3 * tokens) + passes


@cache
def _host_bandwidth() -> float:
    return measure_bandwidth(torch.device("cpu"))


def estimate_costs(planned: RunPlan, step_seconds: float) -> Costs:
    """Return about what a step, an evaluation and writing a checkpoint and the model take.

    Writing is tried where the run would write. Raises `SystemFailure` where that is not possible.
    """
    size, weights = planned.checkpoint_bytes, planned.weight_bytes
    checkpoint = model = 0.0
    if size and (planned.config.save_every != 0 or planned.config.early_stop is not None):
        parts = planned.feed.ranks if writes_shards(planned.config, planned.feed.ranks) else 1
        place = existing(Path(planned.config.runs).expanduser())
        checkpoint = time_writing(place, size // parts)
        model = checkpoint * weights / size
    return Costs(step_seconds, evaluation_seconds(planned, step_seconds), checkpoint, model)


def peak_flops(device: torch.device, width: str) -> float | None:
    """Return the peak FLOP/s that MFU refers to, for matmuls in `width` ("bf16", "fp32", …).

    A GPU's dense peak by its data sheet; of a CPU, one matmul measured now. None where neither is
    known.
    """
    if device.type == "cpu":
        return best_matmul_flops(device, "bf16" if width == "bf16" else "fp32")
    properties = torch.cuda.get_device_properties(device)
    gpu = find_gpu(properties.name, properties.total_memory)
    if gpu is None or gpu.bf16_tflops is None or width not in ("bf16", "fp16"):
        return None
    return 1e12 * gpu.bf16_tflops


def find_gpu(name: str, memory_bytes: int) -> Gpu | None:
    """Return the planner's GPU of the name and memory that CUDA reports; None if unknown."""
    near = (gpu for gpu in named(name)[0] if 0.85 < memory_bytes / (gpu.nominal_gb * 1e9) < 1.15)
    return next(near, None)
