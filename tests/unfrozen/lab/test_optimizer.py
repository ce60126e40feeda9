"""AdamW over arrays equals AdamW over single numbers, which equals torch's (tests/gpu_runner)."""

import numpy as np

from unfrozen.adamw import AdamW
from unfrozen.lab.optimizer import ArrayAdamW


def test_an_array_is_updated_like_its_numbers_one_by_one() -> None:
    draw = np.random.default_rng(0)
    weight, numbers = {"a": draw.normal(size=(2, 3))}, AdamW(lr=0.1, weight_decay=0.02)
    flat = weight["a"].ravel().tolist()
    ours = ArrayAdamW(lr=0.1, weight_decay=0.02)
    for _ in range(5):
        gradient = draw.normal(size=(2, 3))
        weight = ours.update(weight, {"a": gradient})
        flat = numbers.update(flat, gradient.ravel().tolist())
    np.testing.assert_allclose(weight["a"].ravel(), flat, rtol=1e-12)


def test_names_without_decay_only_follow_their_gradient() -> None:
    still = {"norm": np.ones(3), "matrix": np.ones((2, 2))}
    optimizer = ArrayAdamW(lr=0.1, weight_decay=0.5, undecayed=frozenset({"norm"}))
    after = optimizer.update(still, {name: np.zeros_like(w) for name, w in still.items()})
    np.testing.assert_array_equal(after["norm"], 1.0)
    np.testing.assert_allclose(after["matrix"], 1 - 0.1 * 0.5)


def test_the_schedule_may_give_another_rate_at_each_step() -> None:
    one, other = ArrayAdamW(lr=0.3), ArrayAdamW(lr=0.1)
    weights, gradients = {"a": np.ones(2)}, {"a": np.ones(2)}
    np.testing.assert_array_equal(
        one.update(weights, gradients, lr=0.1)["a"], other.update(weights, gradients)["a"]
    )


def test_precision_is_that_of_the_weights() -> None:
    after = ArrayAdamW(lr=0.1).update({"a": np.ones(2, np.float32)}, {"a": np.ones(2, np.float32)})
    assert after["a"].dtype == np.float32
