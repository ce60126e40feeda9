"""NVIDIA GPUs through NVML: their memory, load, power and heat.

NVML numbers GPUs by their position on the bus, CUDA by speed or by `CUDA_VISIBLE_DEVICES`; UUIDs
identify them (CUDA C++ Programming Guide, environment variables; NVML API reference). A query that
a GPU does not support (power of some, nearly all of a MIG slice) is left out and not repeated.
`nvidia-ml-py` is optional.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

REASONS: Final = {  # bits of nvmlDeviceGetCurrentClocksEventReasons that hold clocks back
    0x04: "power_cap",
    0x08: "hardware",
    0x10: "sync_boost",
    0x20: "heat",
    0x40: "hardware_heat",
    0x80: "power_brake",
}
ALARMING: Final = frozenset({"hardware", "heat", "hardware_heat", "power_brake"})
"""A power cap throttles every GPU at full load; these mean a problem of cooling or power supply."""
INSTALL: Final = "pip install nvidia-ml-py"


class GpusUnavailable(Exception):
    """GPUs cannot be sampled; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One sample of a GPU: values by metric of `unfrozen.events`, and why it is throttled."""

    index: int
    values: dict[str, float]
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class _Gpu:
    """A GPU by its CUDA number; `unsupported` names the queries that it does not answer."""

    index: int
    handle: Any
    unsupported: set[str] = field(default_factory=set)


class Gpus:
    """The GPUs of this process. Use it from one thread; `close` shuts NVML down."""

    def __init__(self, library: Any, handles: Sequence[Any]) -> None:
        self._library = library
        self._gpus = [_Gpu(index, handle) for index, handle in enumerate(handles)]
        self.lost: list[str] = []
        """A sentence about each GPU that was lost; the reader clears the list."""

    @staticmethod
    def open(uuids: Sequence[str]) -> Gpus:
        """Open the GPUs of these UUIDs in this order. Raises `GpusUnavailable`."""
        library = _library()
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            raise GpusUnavailable(
                f"NVML does not start ({error}): power, temperature and load of the GPUs are not"
                " recorded. Restart the machine after a driver update."
            ) from None
        try:
            return Gpus(library, [_by_uuid(library, uuid) for uuid in uuids])
        except library.NVMLError as error:
            library.nvmlShutdown()
            raise GpusUnavailable(
                f"NVML does not find the GPUs of this process ({error})."
            ) from None

    def read(self) -> list[GpuSample]:
        """Sample every GPU. Never raises; a lost GPU is reported in `lost` and left out."""
        return [found for gpu in tuple(self._gpus) if (found := self._read(gpu)) is not None]

    def others(self, index: int) -> list[tuple[int, str, int]]:
        """Return (process, its name, its bytes) of all other processes; 0 bytes are unknown."""
        try:
            handle = next(gpu.handle for gpu in self._gpus if gpu.index == index)
            found = self._library.nvmlDeviceGetComputeRunningProcesses(handle)
        except (StopIteration, AttributeError, self._library.NVMLError):
            return []
        return [
            (int(one.pid), process_name(one.pid), int(one.usedGpuMemory or 0))
            for one in found
            if one.pid != os.getpid()
        ]

    def close(self) -> None:
        """Shut NVML down."""
        self._gpus = []
        try:
            self._library.nvmlShutdown()
        except self._library.NVMLError:
            return

    def _read(self, gpu: _Gpu) -> GpuSample | None:
        values: dict[str, float] = {}
        for name, query in _QUERIES.items():
            answer = self._query(gpu, name, query)
            if gpu not in self._gpus:
                return None
            if answer is not None:
                values[name] = float(answer)
        bits = int(values.pop("reasons", 0))
        reasons = tuple(reason for bit, reason in REASONS.items() if bits & bit)
        if "reasons" not in gpu.unsupported:
            values["gpu/throttled"] = float(bool(reasons))
        return GpuSample(gpu.index, values, reasons)

    def _query(self, gpu: _Gpu, name: str, query: Callable[[Any, Any], float]) -> float | None:
        """Return the answer of a query, or None; one that is unsupported is not repeated."""
        library = self._library
        if name in gpu.unsupported:
            return None
        try:
            return query(library, gpu.handle)
        except AttributeError:  # an older library has no such function
            gpu.unsupported.add(name)
        except library.NVMLError as error:
            if error.value in (
                library.NVML_ERROR_NOT_SUPPORTED,
                library.NVML_ERROR_NO_PERMISSION,
                library.NVML_ERROR_FUNCTION_NOT_FOUND,
            ):
                gpu.unsupported.add(name)
            elif error.value in (library.NVML_ERROR_GPU_IS_LOST, library.NVML_ERROR_RESET_REQUIRED):
                self._gpus.remove(gpu)
                self.lost.append(f"GPU {gpu.index} does not answer any more: {error}.")
        return None


def _memory(library: Any, handle: Any) -> float:
    """Return the bytes of all processes; version 2 leaves out what the driver reserves."""
    try:
        return float(library.nvmlDeviceGetMemoryInfo(handle, version=library.nvmlMemory_v2).used)
    except (TypeError, AttributeError, library.NVMLError_FunctionNotFound):
        return float(library.nvmlDeviceGetMemoryInfo(handle).used)


def _reasons(library: Any, handle: Any) -> float:
    """Return the throttle reasons, by the newer name or that of libraries before 2023."""
    newer = getattr(library, "nvmlDeviceGetCurrentClocksEventReasons", None)
    if newer is not None:
        try:
            return float(newer(handle))
        except library.NVMLError_FunctionNotFound:
            pass
    return float(library.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


_QUERIES: Final[Mapping[str, Callable[[Any, Any], float]]] = {
    "gpu/memory_bytes": _memory,
    "gpu/busy": lambda lib, handle: lib.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
    "gpu/power": lambda lib, handle: lib.nvmlDeviceGetPowerUsage(handle) / 1000,  # milliwatts
    "gpu/temperature": lambda lib, handle: lib.nvmlDeviceGetTemperature(
        handle, lib.NVML_TEMPERATURE_GPU
    ),
    "reasons": _reasons,
}


def process_name(pid: int) -> str:
    """Return the name of a process; "" for one that is not visible, as from inside a container."""
    try:
        return psutil.Process(pid).name()[:64]
    except psutil.Error:
        return ""


def _library() -> Any:
    try:
        import pynvml
    except ImportError:
        raise GpusUnavailable(
            "nvidia-ml-py is not installed: power, temperature and load of the GPUs are not"
            f" recorded. Install it with: {INSTALL}"
        ) from None
    return pynvml


def _by_uuid(library: Any, uuid: str) -> Any:
    """Return the GPU of a UUID, with its prefix or, as PyTorch has it, without."""
    if uuid.startswith(("GPU-", "MIG-")):
        return library.nvmlDeviceGetHandleByUUID(uuid)
    try:
        return library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except library.NVMLError_NotFound:
        return library.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")
