"""AdamW by hand against PyTorch's."""

import math

import pytest
import torch

from unfrozen.adamw import AdamW
from unfrozen.errors import PlanError


def test_ten_updates_equal_those_of_torch() -> None:
    start = [0.5, -1.25, 3.0, 0.0]
    parameter = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    reference = torch.optim.AdamW([parameter], lr=1e-2, weight_decay=0.1)
    ours, weights = AdamW(lr=1e-2, weight_decay=0.1), start
    for step in range(10):
        gradients = [math.sin(step + index) for index in range(4)]
        parameter.grad = torch.tensor(gradients, dtype=torch.float64)
        reference.step()
        weights = ours.update(weights, gradients)
    assert weights == pytest.approx(parameter.tolist(), rel=1e-12)
    assert ours.step == 10


def test_lists_of_different_lengths_are_refused() -> None:
    optimizer = AdamW(lr=1e-3)
    with pytest.raises(PlanError, match="one gradient for each weight"):
        optimizer.update([1.0, 2.0], [1.0])
    optimizer.update([1.0], [1.0])
    with pytest.raises(PlanError, match="it must be 1"):
        optimizer.update([1.0, 2.0], [1.0, 1.0])
