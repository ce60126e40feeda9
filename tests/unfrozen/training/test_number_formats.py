"""Formats against PyTorch's own, bit for bit where it knows them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unfrozen.errors import PlanError
from unfrozen.training.number_formats import FORMATS, NumberFormat
from unfrozen.training.optimizers import round_to_bf16

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
