"""Products, memory and launches of a device, measured now.

Each is repeated for a while: a card that has run for a second holds the clock that its power limit
leaves, and that is what a training step meets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import torch

from gpu_runner.system.names import cpu_name

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SECONDS: Final = 1.0
"""Of each measurement."""
_SIDES: Final = {"cpu": 1024, "cuda": 8192}
_MIB: Final = {"cpu": 64, "cuda": 512}
_SMALL_OPERATIONS: Final = 200
Clock = Callable[[], float]


def device_name(device: torch.device) -> str:
    """What the system calls the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def products(
    device: torch.device, seconds: float = SECONDS, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """TFLOP/s of square products by precision, those of 16 bits where the device has them."""
    side = _SIDES[device.type]
    names = ["fp32", "bf16"] if device.type == "cpu" else list(DTYPES)
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        names.remove("bf16")
    found = {}
    for name in names:
        a, b = (torch.randn(side, side, device=device).to(DTYPES[name]) for _ in range(2))
        out = torch.empty(side, side, device=device, dtype=DTYPES[name])
        each = _each(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device, seconds, clock)  # type: ignore[misc]
        found[name] = 2 * side**3 / each / 1e12
    return found


def memory_gb_s(
    device: torch.device, seconds: float = SECONDS, clock: Clock = time.perf_counter
) -> float:
    """GB/s of a kernel that reads numbers, adds one and writes them."""
    size = _MIB[device.type] * 2**20
    a = torch.zeros(size // 4, device=device)
    out = torch.empty_like(a)
    each = _each(lambda: torch.add(a, 1.0, out=out), device, seconds, clock)
    return 2 * size / each / 1e9


def launch_us(
    device: torch.device, seconds: float = SECONDS, clock: Clock = time.perf_counter
) -> float:
    """Microseconds of one small operation that autograd remembers, as a model's are."""
    x = torch.zeros(8, device=device, requires_grad=True)

    def many() -> None:
        y = x
        for _ in range(_SMALL_OPERATIONS):
            y = y + 1.0

    return 1e6 * _each(many, device, seconds, clock) / _SMALL_OPERATIONS


def _each(call: Callable[[], object], device: torch.device, seconds: float, clock: Clock) -> float:
    """Seconds of one call, the mean of the second half of those that fit into `seconds`."""
    call()
    taken: list[float] = []
    _wait(device)
    started = now = clock()
    while now < started + seconds or len(taken) < 2:
        call()
        _wait(device)
        before, now = now, clock()
        taken.append(now - before)
    late = taken[len(taken) // 2 :]
    return sum(late) / len(late)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
