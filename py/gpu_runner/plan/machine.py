"""The machine of a run: which device, what it computes in, and how much of its memory is free.

Free memory is what this process may still allocate. On a CPU that is the least that one of its
limits leaves (`gpu_runner.system.limits`). On a GPU it is what the driver has left, less what
tensors never get: the rest of the context, which grows with the first kernels, the workspace of
cuBLAS, communication buffers, and what blocks of PyTorch's allocator are larger than the tensors in
them (`unfrozen.memory.overhead`).
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any, Final

import torch

from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import UsageError
from gpu_runner.system import limits
from unfrozen.hardware import CONTEXT_SHARE
from unfrozen.memory.overhead import COMMUNICATION_BYTES, ROUNDING
from unfrozen.model import ModelConfig
from unfrozen.units import MIB

ALLOCATOR: Final = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # the older name still counts
EXPANDABLE: Final = "expandable_segments:True"
CUBLAS: Final = "CUBLAS_WORKSPACE_CONFIG"
REPEATABLE: Final = (":4096:8", ":16:8")  # of cuBLAS: results repeat with these alone
WORKSPACE_BYTES: Final = 2 * 32 * MIB
"""What cuBLAS takes at most, for the threads of the forward and of the backward pass, on Hopper and
later; 8 MiB each before.
"""
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h
MOST_KEPT: Final = 2**31 - 1  # bytes: `mallopt` takes an int
LARGEST_KEPT: Final = (2**30, 2**25)  # bytes of a block; older releases take 32 MiB at most


def choose_device(wanted: str) -> torch.device:
    """Return CUDA if it is there and wanted, else the CPU. Raises `UsageError` if it is missing."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: this PyTorch sees no CUDA device. Give --device cpu, or install a CUDA"
            " build of PyTorch and check nvidia-smi."
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def cpu_name() -> str:
    """Return the CPU's marketing name where Linux has it, else its architecture."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def configure_torch(config: TrainConfig, device: torch.device) -> None:
    """Configure PyTorch once, before anything is on the device.

    Expandable segments fragment less, so a peak needs less beside it; they are set where the system
    has them and the environment does not configure the allocator. Raises `UsageError` for
    deterministic matmuls with a cuBLAS workspace that does not allow them.
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
            f"--deterministic with {CUBLAS}={given}: cuBLAS is deterministic only with"
            f" {' or '.join(REPEATABLE)}. Unset the variable, or give --no-deterministic."
        )


def keep_freed() -> bool:
    """From now on freed blocks stay with this process for its next ones, the largest ones too.

    glibc gives a freed block of many megabytes back to the system at once, and the system zeroes
    and maps every page of the next one again. A step frees and takes gigabytes in the same sizes as
    the one before: on a CPU that is a tenth of its time and more (`docs/speed.md`).

    Returns whether the C library was told: only glibc has it, and only there is it needed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    larger = any(mallopt(MMAP_THRESHOLD, size) for size in LARGEST_KEPT)
    return bool(mallopt(TRIM_THRESHOLD, MOST_KEPT)) and larger


def choose_precision(config: TrainConfig, device: torch.device) -> str:
    """Return the compute dtype of matmuls: `bf16`, `fp16` or `fp32`.

    With auto, bf16 where the GPU computes in it; those before Ampere (T4, V100, RTX 20) only
    emulate it. Raises `UsageError` for bf16 on such a GPU.
    """
    if config.compute == "fp16":
        return "fp16"
    narrow = "bf16" in (config.compute, config.params)
    if device.type != "cuda":
        return "bf16" if narrow else "fp32"
    computes = computes_bf16(device)
    if narrow and not computes:
        name = torch.cuda.get_device_name(device)
        raise UsageError(
            f"{name} only emulates bf16: give --params fp32 --compute fp16 (or fp32), or use a GPU"
            " of compute capability 8.0 or later."
        )
    if config.compute != "auto":
        return config.compute
    return "bf16" if computes else "fp32"


def computes_bf16(device: torch.device) -> bool:
    """Return whether this CUDA device has native bf16 matmuls."""
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def free_bytes(device: torch.device, ranks: int = 1) -> int:
    """Return the bytes that tensors of this process, one of `ranks`, may still allocate."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        beside = WORKSPACE_BYTES + (COMMUNICATION_BYTES if ranks > 1 else 0)
        each = torch.cuda.get_device_properties(device).multi_processor_count
        rest = min(free, total - each * CONTEXT_SHARE) - beside
        return max(0, round(rest / (1 + ROUNDING)))
    return limits.tightest().left_bytes


def gpu_uuids(device: torch.device) -> list[str]:
    """Return the UUIDs of the run's GPUs on this machine, in the order of its processes."""
    if device.type != "cuda":
        return []
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    own = torch.cuda.current_device() if device.index is None else device.index
    used = range(here) if here > 1 else (own,)
    return [str(torch.cuda.get_device_properties(index).uuid) for index in used]


LEAST_PARAMETERS: Final = 50_000_000
"""In a smaller model, matmuls take too small a share of a step."""
_BF16: Final = ("amx_bf16", "avx512_bf16", "bf16")


def processor_computes_bf16(capabilities: dict[str, Any] | None = None) -> bool:
    """Return whether PyTorch reports bf16 matmul instructions for this CPU."""
    if capabilities is None:
        ask = getattr(torch.cpu, "get_capabilities", dict)  # missing in older versions
        capabilities = dict(ask())
    return any(capabilities.get(name) for name in _BF16)


def suggest_16_bits(
    config: TrainConfig, shape: ModelConfig | None, compute: str, device: str
) -> list[str]:
    """Suggest 16 bits where they would be faster and nobody has chosen the compute dtype.

    On two cores of an AMD EPYC a step of SmolLM2-135M was 1.4 times as fast in bf16. A GPU that
    `choose_precision` gives fp32 has tensor cores for fp16 alone.
    """
    if device == "cuda" and config.compute == "auto" and compute == "fp32":
        return [
            "fp16 would be faster here, and halve most activations: this GPU has no bf16. Give"
            " --compute fp16 to use it, --compute fp32 to keep fp32 and hide this note."
        ]
    chosen = config.compute != "auto" or compute != "fp32" or device != "cpu"
    if (
        chosen
        or shape is None
        or shape.num_parameters < LEAST_PARAMETERS
        or not processor_computes_bf16()
    ):
        return []
    return [
        "bf16 would be faster here: this CPU has bf16 instructions (1.4 times for 135M parameters;"
        " 8-bit mantissa). Give --compute bf16 to use it, --compute fp32 to keep fp32 and hide this"
        " note."
    ]
