"""The machine of a run: which device, what it computes in, and how much of its memory is free.

What is free is what this process may still take. On a CPU that is the least that one of its limits
leaves (`gpu_runner.system.limits`). On a card it is what the driver has left, less what tensors
never get: the rest of its context, which grows with the first kernels, what cuBLAS works in, the
buffers of several cards, and what blocks of PyTorch's allocator are larger than the tensors in them
(`unfrozen.memory.overhead`).
"""

from __future__ import annotations

import os
import sys
from typing import Final

import torch

from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import UsageError
from gpu_runner.system import limits
from unfrozen.memory.overhead import COMMUNICATION_BYTES, CONTEXT_BYTES, ROUNDING
from unfrozen.units import MIB

ALLOCATOR: Final = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # the older name still counts
EXPANDABLE: Final = "expandable_segments:True"
CUBLAS: Final = "CUBLAS_WORKSPACE_CONFIG"
REPEATABLE: Final = (":4096:8", ":16:8")  # of cuBLAS: results repeat with these alone
WORKSPACE_BYTES: Final = 2 * 32 * MIB
"""What cuBLAS takes at most, for the threads of the forward and of the backward pass, on Hopper and
later; 8 MiB each before.
"""


def choose_device(wanted: str) -> torch.device:
    """CUDA when there is one and it is not refused; raises `UsageError` for one that is absent."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: this PyTorch sees no CUDA device. Give --device cpu, or install a CUDA"
            " build of PyTorch and check nvidia-smi."
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def set_up(config: TrainConfig, device: torch.device) -> None:
    """What PyTorch is told once, before anything is on the device.

    Blocks of its allocator that can grow leave fewer holes, and a peak needs less beside it; they
    are asked for where the system has them and the environment says nothing of the allocator.
    Raises `UsageError` for repeatable products in a workspace that cuBLAS cannot repeat them in.
    """
    if device.type == "cuda":
        if sys.platform == "linux" and not any(name in os.environ for name in ALLOCATOR):
            os.environ[ALLOCATOR[0]] = EXPANDABLE
        if config.deterministic:
            _check_workspace(os.environ.setdefault(CUBLAS, REPEATABLE[0]))
    torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
    torch.use_deterministic_algorithms(config.deterministic)


def _check_workspace(given: str) -> None:
    if given not in REPEATABLE:
        raise UsageError(
            f"deterministic = true with {CUBLAS}={given}: cuBLAS repeats its results with"
            f" {' or '.join(REPEATABLE)} alone. Unset it, or set deterministic = false."
        )


def precision(config: TrainConfig, device: torch.device) -> str:
    """Precision of the matrix products: `bf16` or `fp32`.

    Left alone, bf16 where the card computes in it; those before Ampere (T4, V100, RTX 20) only
    emulate it. Raises `UsageError` where that is asked of such a card.
    """
    narrow = "bf16" in (config.compute, config.params)
    if device.type != "cuda":
        return "bf16" if narrow else "fp32"
    computes = computes_bf16(device)
    if narrow and not computes:
        name = torch.cuda.get_device_name(device)
        raise UsageError(
            f"{name} does not compute in bf16, it only emulates it: give --params fp32 --compute"
            " fp32, or a card of 2020 or later (compute capability 8.0)."
        )
    if config.compute != "auto":
        return config.compute
    return "bf16" if computes else "fp32"


def computes_bf16(device: torch.device) -> bool:
    """Whether this CUDA device has bf16 products of its own."""
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def free_bytes(device: torch.device, ranks: int = 1) -> int:
    """Bytes that tensors of this process, one of `ranks`, may still take on the device."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        beside = WORKSPACE_BYTES + (COMMUNICATION_BYTES if ranks > 1 else 0)
        rest = min(free, total - CONTEXT_BYTES) - beside
        return max(0, round(rest / (1 + ROUNDING)))
    return limits.tightest().left_bytes


def card_names(device: torch.device) -> list[str]:
    """UUIDs of the cards that the run has on this machine, in the order of its processes."""
    if device.type != "cuda":
        return []
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    own = torch.cuda.current_device() if device.index is None else device.index
    used = range(here) if here > 1 else (own,)
    return [str(torch.cuda.get_device_properties(index).uuid) for index in used]
