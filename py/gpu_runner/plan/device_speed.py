"""Speed of a device, measured now: matmuls, memory bandwidth.

The one timer repeats a call for a while. The best call stands for the peak of a device that the
planner does not know; the mean of the second half for what lasts, as a GPU that has run for a while
holds the clock that its power limit leaves. Where a processor has no fast product in bf16, a large
one takes seconds: it gets a smaller one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Final

import torch

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SECONDS: Final = 0.2
"""The length of each measurement."""
_SIDES: Final = {"cpu": (128, 1024), "cuda": (8192, 8192)}
"""The smallest and the largest."""
_MIB: Final = {"cpu": 64, "cuda": 512}
Clock = Callable[[], float]


def time_calls(
    call: Callable[[], object], device: torch.device, seconds: float, clock: Clock
) -> list[float]:
    """Return the seconds of each call, after one to warm up, as many as fit into `seconds`."""
    call()
    taken: list[float] = []
    _synchronize(device)
    started = now = clock()
    while now < started + seconds or len(taken) < 2:
        call()
        _synchronize(device)
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
    """Return the FLOP/s of the best square matmul in the dtype `name` within SECONDS.

    Measured once: a notebook watches one run after the other.
    """
    return 1 / min(time_matmuls(device, name, SECONDS, time.perf_counter))


def measure_bandwidth(
    device: torch.device, seconds: float = SECONDS, clock: Clock = time.perf_counter
) -> float:
    """Return GB/s of a kernel that reads numbers, adds one and writes them."""
    size = _MIB[device.type] * 2**20
    a = torch.zeros(size // 4, device=device)
    out = torch.empty_like(a)
    taken = time_calls(lambda: torch.add(a, 1.0, out=out), device, seconds, clock)
    return 2 * size / sustained(taken) / 1e9


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
