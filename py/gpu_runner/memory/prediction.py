"""The predicted memory of a training step, and what a user can change to lower it.

A prediction comes from formulas (`formula`) or from a step traced under fake tensors (`tracing`,
`loop`). Traced predictions take seconds, so they are cached in the user's cache directory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import torch
from platformdirs import user_cache_path

from gpu_runner.atomic import write_file
from gpu_runner.installed import NAME, installed_version
from gpu_runner.memory.tracker import Components, StepMemory
from unfrozen.memory.instants import peak
from unfrozen.plain import read_json
from unfrozen.units import format_bytes

MARGIN: Final = 0.9
"""Share of the free memory that a suggested setting may fill."""
MOST_SUGGESTIONS: Final = 3
SHORTEST: Final = 16  # tokens; shorter sequences are not suggested
STATES: Final = ("params", "grads", "moments")
"""Components whose size does not depend on the batch."""


class NotPredictable(Exception):
    """The memory of a step cannot be predicted; the text says why."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted bytes by instant and component (names of `unfrozen.events`) for one micro-batch."""

    instants: dict[str, Components]
    bytes_per_parameter: int

    @staticmethod
    def from_traced(memory: StepMemory, num_parameters: int) -> Prediction:
        """Return the prediction that follows from a traced step of a model of that size."""
        complete = memory.instants["end_of_backward"]
        state_bytes = sum(complete.get(name, 0) for name in STATES)
        return Prediction(memory.instants, round(state_bytes / max(1, num_parameters)))

    @property
    def peak_instant(self) -> str:
        """The instant with the highest total."""
        return peak(self.instants)[0]

    @property
    def peak_bytes(self) -> int:
        """The highest total of any instant."""
        return peak(self.instants)[1]

    def as_event(self) -> dict[str, Any]:
        """Return the fields of an event that reports this prediction."""
        return {
            "bytes_per_parameter": self.bytes_per_parameter,
            "predicted": {
                "peak_instant": self.peak_instant,
                "peak_bytes": self.peak_bytes,
                "instants": self.instants,
            },
        }

    def adding(self, component: str, size: int, *, to_load: bool = True) -> Prediction:
        """Return the prediction with `size` more bytes of a component at every instant.

        `to_load` is whether they are there before the first step.
        """
        instants = {
            instant: {**components, component: components.get(component, 0) + size}
            if to_load or instant != "load"
            else components
            for instant, components in self.instants.items()
        }
        return Prediction(instants, self.bytes_per_parameter)

    def without(self, component: str, instants: tuple[str, ...], absent: bool = True) -> Prediction:
        """Return the prediction without a component at these instants, if it is `absent`."""
        if not absent:
            return self
        found = {
            at: {
                name: size for name, size in one.items() if at not in instants or name != component
            }
            for at, one in self.instants.items()
        }
        return Prediction(found, self.bytes_per_parameter)

    def scaled(self, share: float) -> Prediction:
        """Return an estimate for a batch with this share of the tokens: states keep their size."""
        instants = {
            instant: {
                name: size if name in STATES else round(share * size)
                for name, size in components.items()
            }
            for instant, components in self.instants.items()
        }
        return Prediction(instants, self.bytes_per_parameter)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Settings as they are typed, the peak predicted with them, and the relative time per token."""

    options: str
    peak_bytes: int
    time_ratio: float = 1.0
    fits: bool = True
    note: str = ""

    def __str__(self) -> str:
        slower = f"{self.time_ratio - 1:.0%} more time" if self.time_ratio > 1.005 else ""
        parts = (f"predicted peak {format_bytes(self.peak_bytes)}", slower, self.note)
        return ", ".join(part for part in parts if part)


_MOST_CACHED_BYTES: Final = 2**20


def highest_total(instants: Mapping[str, Mapping[str, int]]) -> int:
    """Return the highest total of any instant; 0 where there is none."""
    return max((sum(components.values()) for components in instants.values()), default=0)


def load_or_trace(inputs: object, trace: Callable[[], Prediction]) -> Prediction:
    """Return the cached prediction for these inputs, or trace it now and cache it.

    `inputs` is everything the prediction depends on, as plain data; the versions of PyTorch,
    transformers and this program are added here.
    """
    versions = [torch.__version__, installed_version("transformers"), installed_version()]
    key = json.dumps([inputs, versions], sort_keys=True, default=str)
    path = user_cache_path(NAME, appauthor=False) / "traced"
    path /= f"{sha256(key.encode()).hexdigest()}.json"
    found = _load(path)
    if found is None:
        found = trace()
        _store(path, found)
    return found


def _load(path: Path) -> Prediction | None:
    """Return the cached prediction; None where there is none, or the file is damaged."""
    try:
        data = read_json(path, _MOST_CACHED_BYTES)
        instants = {
            str(instant): {str(name): int(size) for name, size in components.items()}
            for instant, components in data["instants"].items()
        }
        return Prediction(instants, int(data["bytes_per_parameter"])) if instants else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _store(path: Path, found: Prediction) -> None:
    """Write the cache entry; where the cache cannot be written, the next run traces again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(asdict(found)))
    except OSError:
        return
