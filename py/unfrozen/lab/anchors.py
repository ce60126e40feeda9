"""Three ways to stay near θ₀, the pre-trained weights: a pull to each, by what it is measured in.

    L2-SP     λ/2 ‖θ − θ₀‖² in the loss           gradient λ (θ − θ₀)
              decoupled, after the step            θ ← θ − η λ (θ − θ₀)
    EWC       λ/2 Σ Fᵢ (θᵢ − θ₀ᵢ)² in the loss     gradient λ F (θ − θ₀)

L2-SP: Li, Grandvalet & Davoine, arXiv 1802.01483, equation 2. EWC: Kirkpatrick et al., arXiv
1612.00796, equation 3. Inside the loss, an adaptive optimizer rescales the pull like any gradient;
decoupled, it stays what it says, as weight decay does in arXiv 1711.05101.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from unfrozen.lab.adamw import Array, Weights


def l2sp_gradients(weights: Weights, start: Weights, strength: float) -> Weights:
    """∇ of strength/2 · ‖θ − θ₀‖²."""
    return {name: strength * (weights[name] - start[name]) for name in weights}


def pulled(
    weights: Weights,
    start: Weights,
    strength: float,
    lr: float,
    rate_shares: Mapping[str, float] | None = None,
) -> Weights:
    """θ − lr · strength · (θ − θ₀): what the decoupled L2-SP does after a step at rate `lr`."""
    shares = rate_shares or {}
    return {
        name: weight - lr * shares.get(name, 1.0) * strength * (weight - start[name])
        for name, weight in weights.items()
    }


def diagonal_fisher(row_gradients: Iterable[Weights]) -> Weights:
    """Mean of the squared gradients of −log p(row), one row at a time, divided by its own mean.

    The empirical diagonal Fisher: how much each weight matters for what these rows say. Divided by
    its mean over all weights, so that the same strength means the same as in L2-SP on average.
    """
    total: Weights = {}
    for gradients in row_gradients:
        for name, gradient in gradients.items():
            total[name] = total.get(name, np.zeros_like(gradient)) + np.square(gradient)
    return scaled_fisher(total)


def scaled_fisher(squares: Weights) -> Weights:
    """Sums of squared gradients, divided by their mean over all weights."""
    size = sum(array.size for array in squares.values())
    mean = sum(float(np.sum(array, dtype=float)) for array in squares.values()) / size
    return {name: array / mean for name, array in squares.items()}


def ewc_gradients(weights: Weights, start: Weights, fisher: Weights, strength: float) -> Weights:
    """∇ of strength/2 · Σ Fᵢ (θᵢ − θ₀ᵢ)²."""
    return {name: strength * fisher[name] * (weights[name] - start[name]) for name in weights}


def drift(weights: Mapping[str, Array], start: Mapping[str, Array]) -> float:
    """‖θ − θ₀‖ / ‖θ₀‖ over all arrays."""
    moved = sum(float(np.sum(np.square(weights[n] - start[n], dtype=float))) for n in start)
    initial = sum(float(np.sum(np.square(start[n], dtype=float))) for n in start)
    return float(np.sqrt(moved / initial))
