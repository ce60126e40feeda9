"""AdamW over arrays, in the order of operations of `torch.optim.AdamW`, with L2-SP and EWC.

Loshchilov & Hutter, arXiv 1711.05101, algorithm 2. The runner's optimizer is tested against this
file. Precision is that of the weights given: fp32 arrays stay fp32.

Penalties pull towards the pre-trained weights θ₀:

    L2-SP     λ/2 ‖θ − θ₀‖² in the loss           gradient λ (θ − θ₀)
    EWC       λ/2 Σ Fᵢ (θᵢ − θ₀ᵢ)² in the loss     gradient λ F (θ − θ₀)

L2-SP: Li, Grandvalet & Davoine, arXiv 1802.01483, equation 2. EWC: Kirkpatrick et al., arXiv
1612.00796, equation 3. An adaptive optimizer rescales the pull like any gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Weights = dict[str, Array]
BLOCK: Final = 2048
_FP32: Final = np.dtype(np.float32)
_VECTOR: Final = 4  # numbers that the kernel takes at a time

_kernel: Callable[[int], object] | None = None
_ints = np.zeros(6, np.int32)  # of a call
_floats = np.zeros(8, np.float32)


def set_kernel(kernel: Callable[[int], object] | None) -> None:
    """Let `kernel` move fp32 weights, or numpy again for None; see web/python/matmul.wat.

    It is called with the address of the six ints that are named there.
    """
    global _kernel
    _kernel = kernel


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


@dataclass(slots=True)
class ArrayAdamW:
    """One state for each named array; `step` counts updates.

    lr, beta1, beta2, eps and weight_decay are those of `torch.optim.AdamW`. Names in `undecayed`
    (norms, biases) are not decayed.
    """

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    undecayed: frozenset[str] = frozenset()
    step: int = 0
    first: Weights = field(default_factory=dict)
    second: Weights = field(default_factory=dict)

    def update(self, weights: Weights, gradients: Weights, lr: float | None = None) -> Weights:
        """Return weights after one update at rate `lr` (that of the optimizer if it is None)."""
        moved = {name: weights[name].copy() for name in gradients}
        self.move(moved, gradients, lr)
        return moved

    def move(self, weights: Weights, gradients: Weights, lr: float | None = None) -> None:
        """The same update in place, BLOCK numbers at a time: little is held beside the states."""
        self.step += 1
        lr = self.lr if lr is None else lr
        for name, gradient in gradients.items():
            if name not in self.first:
                self.first[name], self.second[name] = (np.zeros_like(gradient) for _ in range(2))
            decay = 0.0 if name in self.undecayed else self.weight_decay
            states = self.first[name], self.second[name]
            arrays = [array.reshape(-1) for array in (weights[name], gradient, *states)]
            if _kernel and gradient.size % _VECTOR == 0 and {a.dtype for a in arrays} == {_FP32}:
                self._call_kernel(_kernel, arrays, lr, decay)
                continue
            for start in range(0, gradient.size, BLOCK):
                block = slice(start, start + BLOCK)
                weight, slope, m, v = (array[block] for array in arrays)
                self._move(weight, slope, m, v, lr, decay)

    def _call_kernel(
        self, kernel: Callable[[int], object], arrays: list[Array], lr: float, decay: float
    ) -> None:
        _ints[:] = (*map(_address, arrays), arrays[0].size, _address(_floats))
        _floats[:] = (
            *(self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2),
            *(math.sqrt(1 - self.beta2**self.step), self.eps),
            *(1 - lr * decay, lr / (1 - self.beta1**self.step)),
        )
        kernel(_address(_ints))

    def _move(
        self, weight: Array, gradient: Array, first: Array, second: Array, lr: float, decay: float
    ) -> None:
        first[:] = self.beta1 * first + (1 - self.beta1) * gradient
        second[:] = self.beta2 * second + (1 - self.beta2) * gradient * gradient
        step_size = lr / (1 - self.beta1**self.step)
        deviation = np.sqrt(second) / math.sqrt(1 - self.beta2**self.step) + self.eps
        weight[:] = weight * (1 - lr * decay) - step_size * first / deviation


def gradient_norm(gradients: Weights) -> float:
    """Return the L2 norm of all gradients together, added up in fp64, BLOCK numbers at a time."""
    blocks = (
        array.reshape(-1)[start : start + BLOCK]
        for array in gradients.values()
        for start in range(0, array.size, BLOCK)
    )
    return math.sqrt(sum(float(np.square(block, dtype=float).sum()) for block in blocks))


def l2sp_gradients(weights: Weights, start: Weights, strength: float) -> Weights:
    """Return ∇ of strength/2 · ‖θ − θ₀‖²."""
    return {name: strength * (weights[name] - start[name]) for name in weights}


def scaled_fisher(squares: Weights) -> Weights:
    """Return the sums of squared gradients, divided by their mean over all weights."""
    size = sum(array.size for array in squares.values())
    mean = sum(float(np.sum(array, dtype=float)) for array in squares.values()) / size
    return {name: array / mean for name, array in squares.items()}


def ewc_gradients(weights: Weights, start: Weights, fisher: Weights, strength: float) -> Weights:
    """Return ∇ of strength/2 · Σ Fᵢ (θᵢ − θ₀ᵢ)²."""
    return {name: strength * fisher[name] * (weights[name] - start[name]) for name in weights}


def drift(weights: Mapping[str, Array], start: Mapping[str, Array]) -> float:
    """Return ‖θ − θ₀‖ / ‖θ₀‖ over all arrays."""
    moved = sum(float(np.sum(np.square(weights[n] - start[n], dtype=float))) for n in start)
    initial = sum(float(np.sum(np.square(start[n], dtype=float))) for n in start)
    return float(np.sqrt(moved / initial))
