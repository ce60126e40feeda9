"""NVIDIA cards through NVML: the cards that this process sees, and what each of them does now.

NVML numbers cards by their place on the bus, CUDA by speed or by `CUDA_VISIBLE_DEVICES`; they are
told apart by UUID (CUDA C++ Programming Guide, environment variables; NVML API reference). What a
card does not tell (power of some, nearly all of a MIG slice) is left out and not asked for again.
`nvidia-ml-py` need not be installed.
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
"""A power cap holds back every card at full load; these mean cooling or supply."""
INSTALL: Final = "pip install nvidia-ml-py"


class NoCards(Exception):
    """Why nothing is known of the cards, as a sentence."""


@dataclass(frozen=True, slots=True)
class CardReading:
    """What one card does: metric → value in the units of `unfrozen.events`, and what holds it."""

    index: int
    values: dict[str, float]
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class _Card:
    """A card by its CUDA number; `silent` are the questions that it does not answer."""

    index: int
    handle: Any
    silent: set[str] = field(default_factory=set)


class Cards:
    """The cards of this process. Use it from one thread; `close` lets go of the library."""

    def __init__(self, library: Any, handles: Sequence[Any]) -> None:
        self._library = library
        self._cards = [_Card(index, handle) for index, handle in enumerate(handles)]
        self.lost: list[str] = []
        """Sentences about cards that are gone; who reads them takes them out."""

    @staticmethod
    def open(uuids: Sequence[str] | None = None) -> Cards:
        """Those of these UUIDs, in this order; else all that CUDA would show. Raises `NoCards`."""
        library = _library()
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            raise NoCards(
                f"NVML does not start ({error}): power, temperature and use of the cards are not"
                " recorded. After a change of driver the machine must be started anew."
            ) from None
        try:
            if uuids is None:
                return Cards(library, _visible(library, os.environ))
            return Cards(library, [_by_uuid(library, uuid) for uuid in uuids])
        except library.NVMLError as error:
            library.nvmlShutdown()
            raise NoCards(f"NVML does not find the cards of this process ({error}).") from None
        except NoCards:
            library.nvmlShutdown()
            raise

    def read(self) -> list[CardReading]:
        """What each card does now. Never raises; a card that is lost is told once and left out."""
        return [found for card in tuple(self._cards) if (found := self._read(card)) is not None]

    def others(self, index: int) -> list[tuple[int, str, int]]:
        """(process, its name, its bytes) of all but this process; 0 bytes are not told."""
        try:
            handle = next(card.handle for card in self._cards if card.index == index)
            found = self._library.nvmlDeviceGetComputeRunningProcesses(handle)
        except (StopIteration, AttributeError, self._library.NVMLError):
            return []
        return [
            (int(one.pid), process_name(one.pid), int(one.usedGpuMemory or 0))
            for one in found
            if one.pid != os.getpid()
        ]

    def close(self) -> None:
        """Let go of the library."""
        self._cards = []
        try:
            self._library.nvmlShutdown()
        except self._library.NVMLError:
            return

    def _read(self, card: _Card) -> CardReading | None:
        values: dict[str, float] = {}
        for name, question in _QUESTIONS.items():
            answer = self._asked(card, name, question)
            if card not in self._cards:
                return None
            if answer is not None:
                values[name] = float(answer)
        bits = int(values.pop("reasons", 0))
        reasons = tuple(word for bit, word in REASONS.items() if bits & bit)
        if "reasons" not in card.silent:
            values["gpu/throttled"] = float(bool(reasons))
        return CardReading(card.index, values, reasons)

    def _asked(self, card: _Card, name: str, question: Callable[[Any, Any], float]) -> float | None:
        """An answer, or None; a question that will never be answered is not asked again."""
        library = self._library
        if name in card.silent:
            return None
        try:
            return question(library, card.handle)
        except AttributeError:  # an older library has no such function
            card.silent.add(name)
        except library.NVMLError as error:
            if error.value in (
                library.NVML_ERROR_NOT_SUPPORTED,
                library.NVML_ERROR_NO_PERMISSION,
                library.NVML_ERROR_FUNCTION_NOT_FOUND,
            ):
                card.silent.add(name)
            elif error.value in (library.NVML_ERROR_GPU_IS_LOST, library.NVML_ERROR_RESET_REQUIRED):
                self._cards.remove(card)
                self.lost.append(f"Card {card.index} does not answer any more: {error}.")
        return None


def _memory(library: Any, handle: Any) -> float:
    """What all processes hold; what the driver keeps for itself is no part of it in version 2."""
    try:
        return float(library.nvmlDeviceGetMemoryInfo(handle, version=library.nvmlMemory_v2).used)
    except (TypeError, AttributeError, library.NVMLError_FunctionNotFound):
        return float(library.nvmlDeviceGetMemoryInfo(handle).used)


def _reasons(library: Any, handle: Any) -> float:
    """By its newer name, or the one that libraries before 2023 have."""
    newer = getattr(library, "nvmlDeviceGetCurrentClocksEventReasons", None)
    if newer is not None:
        try:
            return float(newer(handle))
        except library.NVMLError_FunctionNotFound:
            pass
    return float(library.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


_QUESTIONS: Final[Mapping[str, Callable[[Any, Any], float]]] = {
    "gpu/memory_bytes": _memory,
    "gpu/busy": lambda lib, handle: lib.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
    "gpu/power": lambda lib, handle: lib.nvmlDeviceGetPowerUsage(handle) / 1000,  # milliwatts
    "gpu/temperature": lambda lib, handle: lib.nvmlDeviceGetTemperature(
        handle, lib.NVML_TEMPERATURE_GPU
    ),
    "reasons": _reasons,
}


def process_name(pid: int) -> str:
    """What the system calls a process; "" for one it does not show, as from inside a container."""
    try:
        return psutil.Process(pid).name()[:64]
    except psutil.Error:
        return ""


def _library() -> Any:
    try:
        import pynvml
    except ImportError:
        raise NoCards(
            "nvidia-ml-py is not installed: power, temperature and use of the cards are not"
            f" recorded. Install it with: {INSTALL}"
        ) from None
    return pynvml


def _by_uuid(library: Any, uuid: str) -> Any:
    """The card with a UUID as PyTorch tells it, without its prefix, or with one."""
    if uuid.startswith(("GPU-", "MIG-")):
        return library.nvmlDeviceGetHandleByUUID(uuid)
    try:
        return library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except library.NVMLError_NotFound:
        return library.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")


def _visible(library: Any, environment: Mapping[str, str]) -> list[Any]:
    """What CUDA would show, in its order. Raises `NoCards` where that depends on their speed."""
    count = library.nvmlDeviceGetCount()
    everything = [library.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    given = environment.get("CUDA_VISIBLE_DEVICES")
    words = list(map(str, range(count))) if given is None else given.split(",")
    by_number = any(word.strip().isdecimal() for word in words)
    by_speed = by_number and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"
    if by_speed and len({library.nvmlDeviceGetName(handle) for handle in everything}) > 1:
        raise NoCards(
            "cards of several kinds are numbered by speed, which NVML does not tell: set"
            " CUDA_DEVICE_ORDER=PCI_BUS_ID, and they are recorded."
        )
    found = []
    for word in map(str.strip, words):
        handle = _named(library, everything, word)
        if handle is None:  # CUDA shows nothing from the first wrong word on
            break
        found.append(handle)
    return found


def _named(library: Any, everything: Sequence[Any], word: str) -> Any:
    """The card of one word: a number, or a UUID or its beginning; None for another word."""
    if word.isdecimal():
        return everything[int(word)] if int(word) < len(everything) else None
    if word.startswith("MIG-"):
        return library.nvmlDeviceGetHandleByUUID(word)
    if not word.startswith("GPU-"):
        return None
    same = [h for h in everything if str(library.nvmlDeviceGetUUID(h)).startswith(word)]
    return same[0] if len(same) == 1 else None
