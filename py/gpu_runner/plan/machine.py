"""The machine of a run: which device, what it computes in, and how much of its memory is free.

What is free is what this process may still take. On a CPU that is the least that one of its limits
leaves (`gpu_runner.system.limits`). On a card, blocks of PyTorch's allocator are larger than the
tensors in them, and the driver's context takes its share (`unfrozen.memory.overhead`).
"""

from __future__ import annotations

import os

import torch

from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import UsageError
from gpu_runner.system import limits
from unfrozen.memory.overhead import ROUNDING


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

    Blocks of its allocator that can grow leave fewer holes, and a peak needs less beside it; what
    the environment says of it counts. Repeatable products need a workspace of their own size.
    """
    if device.type == "cuda":
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
    torch.use_deterministic_algorithms(config.deterministic)


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


def free_bytes(device: torch.device) -> int:
    """Bytes that tensors of this process may still take on the device."""
    if device.type == "cuda":
        return round(torch.cuda.mem_get_info(device)[0] / (1 + ROUNDING))
    return limits.tightest().left_bytes


def card_names(device: torch.device) -> list[str]:
    """UUIDs of the cards that the run has on this machine, in the order of its processes."""
    if device.type != "cuda":
        return []
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    own = torch.cuda.current_device() if device.index is None else device.index
    used = range(here) if here > 1 else (own,)
    return [str(torch.cuda.get_device_properties(index).uuid) for index in used]
