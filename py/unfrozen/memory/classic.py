"""The rules of thumb: 16 bytes per parameter, activations s·b·d·L·k, and the number of GPUs.

Mixed-precision AdamW stores, for each of N parameters (Rajbhandari et al., arXiv 1910.02054,
section 3.1): the bf16 weight and its gradient, 2N + 2N bytes, and in fp32 the master copy and the
two moments, 4N + 4N + 4N. These rules of thumb count decimal gigabytes; `memory.instants` replaces
them by the terms of a real step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from unfrozen.errors import PlanError
from unfrozen.units import GB

MIXED_ADAMW: Final[dict[str, int]] = {"params": 2, "grads": 2, "master": 4, "moments": 8}
"""Bytes per parameter by component: 16 in all. Each of the two moments takes 4."""

ACTIVATION_FACTOR: Final = 12
"""k of the popular rule, read as bytes for each token, layer and unit of width. Its likely source,
arXiv 1910.02054 section 3.2, gives 12 · hidden · batch · seq · layers for a GPT-2-like model and 60
GB for an example in which that product is 30·10⁹: it counts numbers, of two bytes each."""


@dataclass(frozen=True, slots=True)
class ClassicMemory:
    """The classic estimate for one model, in bytes, and the GPUs it needs."""

    states_bytes: int
    activation_bytes: int
    min_gpus: int

    @property
    def total_bytes(self) -> int:
        """Weights, gradients, optimizer and activations together."""
        return self.states_bytes + self.activation_bytes


def states_bytes(parameters: float) -> dict[str, int]:
    """Return bytes of weights, gradients, master copy and moments for N parameters: 16N in all."""
    _check("parameters", parameters)
    return {name: round(each * parameters) for name, each in MIXED_ADAMW.items()}


def activation_bytes(
    seq_len: int, batch: int, hidden: int, layers: int, factor: float = ACTIVATION_FACTOR
) -> int:
    """Return the bytes saved for backward, s · b · d · L · k: linear in every factor."""
    sizes = {"seq_len": seq_len, "batch": batch, "hidden": hidden, "layers": layers}
    for name, value in (sizes | {"factor": factor}).items():
        _check(name, value)
    return round(seq_len * batch * hidden * layers * factor)


def min_gpus(total_bytes: float, gpu_bytes: float = 80 * GB) -> int:
    """Return the least number of GPUs whose memory holds the total, divided evenly."""
    _check("total_bytes", total_bytes)
    _check("gpu_bytes", gpu_bytes)
    return math.ceil(total_bytes / gpu_bytes)


def classic(
    parameters: float,
    hidden: int,
    layers: int,
    seq_len: int = 2048,
    batch: int = 1,
    factor: float = ACTIVATION_FACTOR,
    gpu_bytes: float = 80 * GB,
) -> ClassicMemory:
    """Return the row of the article's table for one model. Raises PlanError for sizes ≤ 0."""
    states = sum(states_bytes(parameters).values())
    activations = activation_bytes(seq_len, batch, hidden, layers, factor)
    return ClassicMemory(states, activations, min_gpus(states + activations, gpu_bytes))


def _check(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e18:
        raise PlanError(name, value, "it must be a number above 0 and below 1e18", "correct it")
