"""AdamW against torch, bf16 rounding against torch, and the weights that do not move."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unfrozen.errors import PlanError
from unfrozen.training.optimizers import AdamW, moved_share, round_to_bf16, stall_share


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


@given(st.floats(allow_nan=False, width=32))
def test_rounding_to_bf16_is_that_of_torch(value: float) -> None:
    assert round_to_bf16(value) == torch.tensor(value).bfloat16().item()


def test_what_bf16_cannot_hold() -> None:
    assert round_to_bf16(1e39) == math.inf
    assert round_to_bf16(-1e39) == -math.inf
    assert round_to_bf16(3.4e38) == math.inf
    assert math.isnan(round_to_bf16(math.nan))
    assert round_to_bf16(1 + 2**-8) == 1.0  # a tie goes to the even neighbour
    assert round_to_bf16(1 + 3 * 2**-8) == 1 + 2**-6


@pytest.mark.parametrize(
    ("rate", "percent"), [(1e-6, 1.9), (1e-5, 15.6), (2e-5, 30.4), (5e-5, 56.6), (1e-4, 88.2)]
)
def test_the_share_of_weights_that_move_is_that_of_the_article(rate: float, percent: float) -> None:
    assert 100 * moved_share(rate) == pytest.approx(percent, abs=0.11)
    assert stall_share(rate) == pytest.approx(1 - percent / 100, abs=0.0011)


@pytest.mark.parametrize(("lr", "samples"), [(0, 10), (-1, 10), (math.nan, 10), (1e-5, 0)])
def test_a_share_needs_a_rate_and_samples(lr: float, samples: int) -> None:
    with pytest.raises(PlanError):
        moved_share(lr, samples)
