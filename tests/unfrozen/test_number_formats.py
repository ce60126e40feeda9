"""Formats against PyTorch's own, bit for bit where it knows them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unfrozen.errors import PlanError
from unfrozen.number_formats import (
    FORMATS,
    NumberFormat,
    moved_share,
    round_to_bf16,
    stall_share,
)

BY_NAME = {found.name: found for found in FORMATS}
IN_TORCH = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8 e4m3": torch.float8_e4m3fn,
    "fp8 e5m2": torch.float8_e5m2,
}


@pytest.mark.parametrize("name", IN_TORCH)
def test_reach_and_resolution_are_those_of_pytorch(name: str) -> None:
    found, theirs = BY_NAME[name], torch.finfo(IN_TORCH[name])
    assert found.bits == theirs.bits
    assert found.largest == theirs.max
    assert found.smallest == theirs.smallest_normal
    assert found.gap(1.0) == theirs.eps


@pytest.mark.parametrize("name", IN_TORCH)
def test_every_number_it_names_is_one_of_the_format_and_none_is_left_out(name: str) -> None:
    numbers = BY_NAME[name].between(0.0197, 0.0199)[:2000]
    held = torch.tensor(numbers, dtype=torch.float64)
    assert torch.equal(held.to(IN_TORCH[name]).to(torch.float64), held)
    middle = held[:-1] + (held[1:] - held[:-1]) * 0.49
    assert torch.equal(middle.to(IN_TORCH[name]).to(torch.float64), held[:-1])


def test_tf32_reaches_as_far_as_fp32_with_the_mantissa_of_fp16() -> None:
    assert BY_NAME["tf32"].smallest == BY_NAME["fp32"].smallest
    assert BY_NAME["tf32"].gap(1.0) == BY_NAME["fp16"].gap(1.0)


@given(st.floats(1e-3, 1e3))
def test_the_gap_of_bf16_is_the_one_its_rounding_has(value: float) -> None:
    rounded = round_to_bf16(value)
    gap = BY_NAME["bf16"].gap(rounded)
    assert round_to_bf16(rounded + gap) == rounded + gap
    assert round_to_bf16(rounded + 0.49 * gap) == rounded


def test_below_the_smallest_normal_number_neighbours_keep_their_distance() -> None:
    half = NumberFormat("half", 5, 10)
    assert half.gap(0.0) == half.gap(half.smallest / 8) == half.gap(half.smallest)


def test_a_number_out_of_reach_is_refused_by_name() -> None:
    with pytest.raises(PlanError, match="fp16 reaches"):
        BY_NAME["fp16"].gap(70_000.0)


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
