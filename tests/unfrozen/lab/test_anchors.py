"""Ways to stay near the pre-trained weights, each held to what its formula says."""

import numpy as np
import pytest

from unfrozen.lab import optimizer
from unfrozen.lab.optimizer import Weights


@pytest.fixture
def start() -> Weights:
    return {"a": np.array([1.0, 2.0]), "b": np.array([[3.0]])}


@pytest.fixture
def moved(start: Weights) -> Weights:
    return {"a": start["a"] + [0.5, -1.0], "b": start["b"] + 2.0}


def numerical_gradient(loss: object, weights: Weights, step: float = 1e-6) -> Weights:
    found = {}
    for name, weight in weights.items():
        found[name] = np.zeros_like(weight)
        for index in np.ndindex(weight.shape):
            sides = []
            for sign in (1, -1):
                changed = {n: w.copy() for n, w in weights.items()}
                changed[name][index] += sign * step
                sides.append(loss(changed))  # type: ignore[operator]
            found[name][index] = (sides[0] - sides[1]) / (2 * step)
    return found


def test_the_gradient_of_l2sp_is_that_of_half_the_squared_distance(
    start: Weights, moved: Weights
) -> None:
    def loss(w: Weights) -> float:
        return 0.3 / 2 * sum(float(np.sum((w[n] - start[n]) ** 2)) for n in w)

    expected, found = numerical_gradient(loss, moved), optimizer.l2sp_gradients(moved, start, 0.3)
    for name in moved:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


def test_the_gradient_of_ewc_weighs_each_square_by_its_importance(
    start: Weights, moved: Weights
) -> None:
    fisher = {"a": np.array([0.1, 4.0]), "b": np.array([[0.0]])}

    def loss(w: Weights) -> float:
        return 0.3 / 2 * sum(float(np.sum(fisher[n] * (w[n] - start[n]) ** 2)) for n in w)

    expected = numerical_gradient(loss, moved)
    found = optimizer.ewc_gradients(moved, start, fisher, 0.3)
    for name in moved:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-9)


def test_drift_is_relative_to_the_start(start: Weights, moved: Weights) -> None:
    assert optimizer.drift(start, start) == 0.0
    assert optimizer.drift(moved, start) == pytest.approx((5.25 / 14) ** 0.5)
