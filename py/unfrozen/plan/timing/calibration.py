"""Rates measured on the reader's own machine, which replace published figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from unfrozen.errors import PlanError

PRECISIONS: Final = ("fp32", "bf16", "fp16", "fp8")
_BOUNDS: Final = {
    "products": (1e-6, 1e5),
    "memory_gb_s": (1e-3, 1e5),
    "launch_us": (1e-3, 1e5),
    "step_ratio": (0.03, 30.0),
    "step_share": (1e-3, 1.25),
}
"""What a device can do: TFLOP/s, GB/s, microseconds, and what steps take of that."""
_KEYS: Final = (
    *("device", "card", "day", "products", "memory_gb_s", "launch_us"),
    *("step_ratio", "step_share", "steps"),
)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Rates of one device.

    device       its name as the system tells it
    GPU         the planner's GPU that it is, None for a processor or a GPU it does not know
    day          when it was measured, as 2026-11-27
    matmuls     TFLOP/s of large matmuls by precision
    memory_gb_s  read and written by a kernel that does nothing else; None: not measured
    launch_us    of the host for one small kernel; None: not measured
    step_ratio   seconds of measured steps of runs on this device over the estimate, in the median
    step_share   on a processor: share of the TFLOP/s of matmuls that those steps reached
    steps        how many steps that is of; 0 without
    """

    device: str
    card: str | None = None
    day: str = ""
    products: tuple[tuple[str, float], ...] = ()
    memory_gb_s: float | None = None
    launch_us: float | None = None
    step_ratio: float | None = None
    step_share: float | None = None
    steps: int = 0

    @classmethod
    def read(cls, given: object) -> Calibration:
        """Return a calibration from plain data. Raises PlanError."""
        if not isinstance(given, Mapping):
            raise PlanError("calibration", given, "it must be an object", _AGAIN)
        for key, value in given.items():
            if key not in _KEYS:
                bound = f"known keys are {', '.join(_KEYS)}"
                raise PlanError(f"calibration.{key}", value, bound, _AGAIN)
        products = given.get("products", {})
        if not isinstance(products, Mapping):
            raise PlanError("calibration.products", products, "it must be an object", _AGAIN)
        for name, value in products.items():
            if name not in PRECISIONS:
                bound = f"known precisions are {', '.join(PRECISIONS)}"
                raise PlanError("calibration.products", name, bound, _AGAIN)
            _within(f"products.{name}", value)
        for key in ("memory_gb_s", "launch_us", "step_ratio", "step_share"):
            if given.get(key) is not None:
                _within(key, given[key])
        for key in ("device", "day"):
            _text(key, given.get(key, ""))
        if given.get("card") is not None:
            _text("card", given["card"])
        if "steps" in given and (type(given["steps"]) is not int or given["steps"] < 0):
            raise PlanError("calibration.steps", given["steps"], "it must be a count", _AGAIN)
        return cls(**{**given, "products": tuple(sorted(products.items()))})

    def as_json(self) -> dict[str, object]:
        """Return plain data that `read` takes back."""
        found: dict[str, object] = {key: getattr(self, key) for key in _KEYS}
        return found | {"products": dict(self.products)}

    def sentence(self) -> str:
        """Return what was measured as a sentence: "Measured on this machine (…): …"."""
        return f"Measured {self.source()}."

    def source(self) -> str:
        """Return the same without its first word: "on this machine (…): …"."""
        parts = [f"{value:.3g} TFLOP/s in {name}" for name, value in self.products]
        if self.memory_gb_s:
            parts.append(f"{self.memory_gb_s:.3g} GB/s of memory")
        if self.launch_us:
            parts.append(f"{self.launch_us:.2g} µs a kernel launch")
        if self.step_ratio:
            parts.append(f"{self.steps:,} steps took {self.step_ratio:.2f} of the estimate")
        if self.step_share:
            parts.append(f"{self.steps:,} steps reached {self.step_share:.0%} of that rate")
        return f"on {self.device or 'this machine'} ({self.day}): {', '.join(parts)}"


_AGAIN: Final = "measure again: unfrozen calibrate"


def _within(key: str, value: object) -> None:
    low, high = _BOUNDS[key.partition(".")[0]]
    good = type(value) in (int, float) and low <= value <= high  # type: ignore[operator]
    if not good:
        bound = f"it must be a number from {low:g} to {high:g}"
        raise PlanError(f"calibration.{key}", value, bound, _AGAIN)


def _text(key: str, value: object) -> None:
    if type(value) is not str or len(value) > 200:
        raise PlanError(f"calibration.{key}", value, "it must be a short text", _AGAIN)
