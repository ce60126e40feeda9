"""Speed of a device, measured now: matmuls, memory bandwidth, kernel launches.

The one timer repeats a call for a while. A GPU that has run for a second holds the clock that its
power limit leaves, which is what a training step meets: `unfrozen calibrate` takes the mean of the
second half. The best call stands for the peak of a device that the planner does not know. Where a
processor has no fast product in bf16, a large one takes seconds: it gets a smaller one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Final

import torch

from gpu_runner.plan.machine import cpu_name

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SECONDS: Final = 1.0
"""Of each measurement of `unfrozen calibrate`."""
PEAK_SECONDS: Final = 0.2
_SIDES: Final = {"cpu": (128, 1024), "cuda": (8192, 8192)}
"""The smallest and the largest."""
_MIB: Final = {"cpu": 64, "cuda": 512}
_SMALL_OPERATIONS: Final = 200
Clock = Callable[[], float]


def device_name(device: torch.device) -> str:
    """Return the system's name of the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def time_calls(
    call: Callable[[], object], device: torch.device, seconds: float, clock: Clock
) -> list[float]:
    """Return the seconds of each call, after one to warm up, as many as fit into `seconds`."""
    call()
    taken: list[float] = []
    synchronize(device)
    started = now = clock()
    while now < started + seconds or len(taken) < 2:
        call()
        synchronize(device)
        before, now = now, clock()
        taken.append(now - before)
    return taken


def sustained(taken: list[float]) -> float:
    """Return the mean of the second half."""
    late = taken[len(taken) // 2 :]
    return sum(late) / len(late)


def time_matmuls(device: torch.device, name: str, seconds: float, clock: Clock) -> list[float]:
    """Return the seconds per FLOP of each square matmul in the dtype `name`."""
    side, largest = _SIDES[device.type]
    while side < largest and 8 * min(_time_squares(device, name, side, 0, clock)) < seconds:
        side *= 2
    return [each / (2 * side**3) for each in _time_squares(device, name, side, seconds, clock)]


def _time_squares(
    device: torch.device, name: str, side: int, seconds: float, clock: Clock
) -> list[float]:
    dtype = DTYPES[name]
    draw = torch.Generator(device).manual_seed(0)  # the global one stays as the run has seeded it
    a, b = (torch.randn(side, side, device=device, generator=draw).to(dtype) for _ in range(2))
    out = torch.empty(side, side, device=device, dtype=dtype)
    return time_calls(lambda: torch.mm(a, b, out=out), device, seconds, clock)


@cache
def best_matmul_flops(device: torch.device, name: str) -> float:
    """Return the FLOP/s of the best square matmul in the dtype `name` within PEAK_SECONDS.

    Measured once: a notebook watches one run after the other.
    """
    return 1 / min(time_matmuls(device, name, PEAK_SECONDS, time.perf_counter))


def measure_matmuls(
    device: torch.device, seconds: float = SECONDS, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """Return sustained TFLOP/s of square matmuls in each dtype that the device has."""
    names = ["fp32", "bf16"] if device.type == "cpu" else list(DTYPES)
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        names.remove("bf16")
    return {name: 1e-12 / sustained(time_matmuls(device, name, seconds, clock)) for name in names}


def measure_bandwidth(
    device: torch.device, seconds: float = SECONDS, clock: Clock = time.perf_counter
) -> float:
    """Return GB/s of a kernel that reads numbers, adds one and writes them."""
    size = _MIB[device.type] * 2**20
    a = torch.zeros(size // 4, device=device)
    out = torch.empty_like(a)
    taken = time_calls(lambda: torch.add(a, 1.0, out=out), device, seconds, clock)
    return 2 * size / sustained(taken) / 1e9


def measure_launch(
    device: torch.device, seconds: float = SECONDS, clock: Clock = time.perf_counter
) -> float:
    """Return microseconds of one small operation recorded by autograd, as a model's are."""
    x = torch.zeros(8, device=device, requires_grad=True)

    def many() -> None:
        y = x
        for _ in range(_SMALL_OPERATIONS):
            y = y + 1.0

    return 1e6 * sustained(time_calls(many, device, seconds, clock)) / _SMALL_OPERATIONS


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has computed all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
