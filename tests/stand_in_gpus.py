"""GPUs on a machine without: NVML's library, made by a C compiler, asked by the real module."""

import ctypes
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).with_name("nvml_stand_in.c")
NAME = "libnvidia-ml.so.1"


@dataclass(frozen=True)
class StandInGpu:
    """What one GPU answers; −N is NVML's error N."""

    uuid: str = "GPU-aaaaaaaa-1"
    name: str = "H100"
    memory: int = 2 << 30
    busy: int = 97
    milliwatts: int = 412_500
    celsius: int = 63
    reasons: int = 0


def built(folder: Path) -> Path:
    """The library, in `folder`; skips where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    library = folder / NAME
    options = ["-shared", "-fPIC", f"-Wl,-soname,{NAME}", "-o", str(library)]
    subprocess.run([compiler, *options, str(SOURCE)], check=True)
    return library


def loaded(folder: Path) -> ModuleType:
    """NVIDIA's module, which finds the stand-in under the name that it asks for."""
    pynvml = pytest.importorskip("pynvml")
    ctypes.CDLL(str(built(folder)), mode=ctypes.RTLD_GLOBAL)
    return pynvml


def write_gpus(
    file: Path, *gpus: StandInGpu, init: int = 0, processes: tuple[tuple[int, int, int], ...] = ()
) -> None:
    """Write what the library answers from now on; `processes` are (GPU, process, bytes)."""
    lines = [f"init {init}"]
    for gpu in gpus:
        numbers = gpu.memory, gpu.busy, gpu.milliwatts, gpu.celsius, gpu.reasons
        lines.append(f"gpu {gpu.uuid} {gpu.name} {' '.join(map(str, numbers))}")
    lines += [f"process {gpu} {pid} {size}" for gpu, pid, size in processes]
    whole = file.with_suffix(".new")  # a thread may be reading
    whole.write_text("\n".join(lines) + "\n")
    whole.replace(file)
    os.environ["NVML_STAND_IN"] = str(file)
