"""The machine of a run: which device, what it computes in, and how much of its memory is free.

What is free is what this process may still take. On a CPU that is what the system has left, or what
is left under the limit of a container or a batch system, whichever is less: the kernel ends a
process that passes its control group's limit, however much the machine has. On a card, blocks of
PyTorch's allocator are larger than the tensors in them, and the driver's context takes its share
(`unfrozen.memory.overhead`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import psutil
import torch

from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import UsageError
from unfrozen.memory.overhead import ROUNDING

GROUPS: Final = Path("/sys/fs/cgroup")
OWN_GROUP: Final = Path("/proc/self/cgroup")
_UNLIMITED: Final = 2**60  # how version 1 writes that there is no limit
_FILES: Final = {  # limit, in use, and the line of memory.stat that counts what is given back first
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


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
    left = group_left()
    available = int(psutil.virtual_memory().available)
    return available if left is None else min(available, left)


def group_left(groups: Path = GROUPS, own: Path = OWN_GROUP) -> int | None:
    """Bytes left under the tightest limit of this process's control groups; None without one.

    Pages of files that can be dropped count as left. Versions 1 and 2; from inside a container the
    path of the group may not be there, and its top is the container's own.
    """
    found = []
    for version, top, path in _places(groups, own):
        folder = top / path.lstrip("/")
        for place in (folder, *folder.parents):
            if not place.is_relative_to(top):
                break
            if (left := _left(place, version)) is not None:
                found.append(left)
    return min(found, default=None)


def _places(groups: Path, own: Path) -> list[tuple[int, Path, str]]:
    """Version, top folder and path of the groups that count this process's memory."""
    try:
        lines = [line.split(":", 2) for line in own.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for number, controllers, path in (line for line in lines if len(line) == 3):
        if "memory" in controllers.split(","):
            found.append((1, groups / "memory", path))
        elif number == "0" and not controllers:
            found.append((2, groups, path))
    return found


def _left(place: Path, version: int) -> int | None:
    limit_name, used_name, line = _FILES[version]
    try:
        limit = int((place / limit_name).read_text("ascii"))  # or "max"
        used = int((place / used_name).read_text("ascii"))
        stat = (place / "memory.stat").read_text("ascii").split()
    except (OSError, ValueError):
        return None
    counts = dict(zip(stat[::2], stat[1::2], strict=False))
    droppable = counts.get(line, "0")
    if limit >= _UNLIMITED:
        return None
    return max(0, limit - used + (int(droppable) if droppable.isdecimal() else 0))
