"""One calibration of a device: what is measured now, and what its earlier runs took."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from gpu_runner.machine import recorded_steps, speeds
from gpu_runner.plan.step_time import find_gpu
from unfrozen.plan.timing.calibration import Calibration


def measure(
    device: torch.device, runs: Path, day: str, seconds: float = speeds.SECONDS
) -> Calibration:
    """Measure a device for about five times `seconds`, and read the runs in a folder."""
    name, gpu = speeds.device_name(device), None
    if device.type == "cuda":
        gpu = find_gpu(name, torch.cuda.get_device_properties(device).total_memory)
    rates = speeds.products(device, seconds)
    found = Calibration(
        device=name,
        card=gpu.name if gpu else None,
        day=day,
        products=tuple(sorted(rates.items())),
        memory_gb_s=speeds.memory_gb_s(device, seconds),
        launch_us=speeds.launch_us(device, seconds),
    )
    ran = list(recorded_steps.measured_steps(runs, name, gpu))
    if device.type == "cpu":
        reached = recorded_steps.share(ran, rates)
        return replace(found, step_share=reached[0], steps=reached[1]) if reached else found
    beside = recorded_steps.ratio(ran, found) if gpu else None
    return replace(found, step_ratio=beside[0], steps=beside[1]) if beside else found
