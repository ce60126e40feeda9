"""What doctor and selftest share: the outcome of a check, and the description of this machine.

Imports no PyTorch before it is asked for, because doctor runs where PyTorch is missing.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

Verdict = Literal["passed", "noted", "skipped", "failed"]
MARKS: Final[dict[Verdict, tuple[str, str]]] = {
    "passed": ("✓", "green"),
    "noted": ("·", "yellow"),
    "skipped": ("·", "yellow"),
    "failed": ("✗", "red"),
}
DRIVER: Final = Path("/proc/driver/nvidia/version")
AMPERE: Final = (8, 0)  # the first compute capability with bf16 and FlashAttention


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one check: its verdict, what was found, and the remedy or the bound.

    name      what is checked; in selftest a sentence
    note      what was found, why it was skipped, or the error that it raised
    remedy    what to type or do about it; "" where nothing is wrong
    error     the number that was measured, at most `bound`; None where nothing is measured
    """

    name: str
    verdict: Verdict
    note: str = ""
    remedy: str = ""
    error: float | None = None
    bound: float | None = None
    seconds: float = 0.0

    @property
    def figure(self) -> str:
        """The error beside its bound, and the note."""
        if self.error is None or self.bound is None:
            return self.note
        most = f"at most {self.bound:.0e}" if self.bound else "must be exact"
        found = f"{self.error:.1e} ({most})" if self.error else "exactly"
        return f"{found}, {self.note}" if self.note else found


def describe_gpu(torch: Any, device: Any) -> dict[str, Any]:
    """Return what is known of a GPU: name, capability, memory, driver, libraries, native bf16.

    PyTorch counts emulated bf16 as supported unless it is asked not to.
    """
    properties = torch.cuda.get_device_properties(device)
    with torch.cuda.device(device):
        native = bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return {
        "gpu": properties.name,
        "gpus": torch.cuda.device_count(),
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        "driver": driver_version(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())),
        "bf16": native,
        "flash_attention": (properties.major, properties.minor) >= AMPERE,
        "allocator": allocator(),
    }


def package_version(name: str) -> str:
    """Return the version of an installed package, "" for one that is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def driver_version() -> str:
    """Return the version of the NVIDIA driver as Linux reports it; "" where it does not."""
    try:
        text = DRIVER.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(r"\b\d+\.\d+(?:\.\d+)?\b", text)
    return found[0] if found else ""


def allocator() -> str:
    """Return the setting of PyTorch's CUDA allocator: the environment's, else that of our runs."""
    from gpu_runner.plan.machine import ALLOCATOR, EXPANDABLE

    given = [f"{name}={os.environ[name]}" for name in ALLOCATOR if name in os.environ]
    own = EXPANDABLE if sys.platform == "linux" else "PyTorch's own"
    return given[0] if given else f"{own}, unless {ALLOCATOR[0]} sets another"
