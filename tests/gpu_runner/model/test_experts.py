"""Experts under autocast, of every family: in its precision, and nothing of weights is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparse_families
from conftest import matrix
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import collate
from gpu_runner.machine.selftest.check import GroupedMatmuls
from gpu_runner.model import blocks
from gpu_runner.model.blocks import EXPERTS, GROUPED_MM
from gpu_runner.model.loss import loss_sum

pytestmark = pytest.mark.slow

BATCH = collate([Example(tuple(range(3, 30)), (False,) * 3 + (True,) * 24)] * 2, 0)
NOT_UNDER_AUTOCAST = ("dbrx",)  # its own code adds bf16 to fp32 in place, which PyTorch refuses
FAMILIES = [name for name in sparse_families.FAMILIES if name not in NOT_UNDER_AUTOCAST]


def taken(model: Any, *, autocast: bool) -> list[Tensor]:
    """The gradient of the batch, copied; zeros where there is none."""
    model.zero_grad()
    torch.manual_seed(0)  # PhiMoE shakes its scores
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        total, _ = loss_sum(model, BATCH)
    total.backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


def apart(found: list[Tensor], wanted: list[Tensor]) -> float:
    """How far gradients are apart, as a share of the wanted ones' norm."""
    off = sum(float((a - b).square().sum()) for a, b in zip(found, wanted, strict=True))
    return float((off / sum(float(b.square().sum()) for b in wanted)) ** 0.5)


def stacked(model: nn.Module) -> list[nn.Parameter]:
    """Weights that are stacked by expert."""
    return [weight for weight in model.parameters() if weight.dim() == 3]


@pytest.mark.parametrize("family", matrix(FAMILIES, "mixtral", "gpt_oss", "nemotron_h"))
def test_under_autocast_they_are_no_further_off_than_those_of_transformers(family: str) -> None:
    model = sparse_families.model(family)
    exact, theirs = taken(model, autocast=False), taken(model, autocast=True)
    blocks.prepare(model, "none", compiled=False)
    assert apart(taken(model, autocast=True), exact) <= 1.5 * apart(theirs, exact) + 0.01
    assert all(map(torch.equal, taken(model, autocast=False), exact))


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss", "nemotron_h"])
def test_prepared_ones_compute_in_sixteen_bits(family: str) -> None:
    model = sparse_families.model(family)
    for width in (torch.float32, torch.bfloat16):
        with GroupedMatmuls() as products:
            taken(model, autocast=True)
        assert products.dtypes == {width}
        blocks.prepare(model, "none", compiled=False)


def test_of_their_weights_no_copy_waits_for_the_backward_pass() -> None:
    model = sparse_families.model("mixtral")
    blocks.prepare(model, "none", compiled=False)
    own = {weight.data_ptr() for weight in stacked(model)}
    sizes = {weight.numel() for weight in stacked(model)}
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        taken(model, autocast=True)
    weights = [tensor for tensor in kept if tensor.dim() == 3 and tensor.numel() in sizes]
    assert weights
    assert {tensor.data_ptr() for tensor in weights} <= own


def test_weights_that_are_frozen_get_no_gradient_and_those_below_get_theirs() -> None:
    model = sparse_families.model("mixtral")
    blocks.prepare(model, "none", compiled=False)
    wanted = taken(model, autocast=True)
    frozen = stacked(model)
    for weight in frozen:
        weight.requires_grad_(False)
    found = taken(model, autocast=True)
    assert not [weight for weight in frozen if weight.grad is not None]
    for weight, one, other in zip(model.parameters(), found, wanted, strict=True):
        if weight.requires_grad:
            torch.testing.assert_close(one, other)


def test_of_sixteen_bits_already_they_go_the_way_of_transformers() -> None:
    model = sparse_families.model("mixtral").bfloat16()
    wanted = taken(model, autocast=True)
    blocks.prepare(model, "none", compiled=False)
    assert model.config._experts_implementation == EXPERTS
    assert all(map(torch.equal, taken(model, autocast=True), wanted))


@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
def test_what_is_compiled_or_written_out_is_left_as_it_is() -> None:
    model = sparse_families.model("mixtral")
    for way, compiled in (("eager", False), (GROUPED_MM, True)):
        model.set_experts_implementation(way)
        blocks.prepare(model, "none", compiled=compiled)
        assert model.config._experts_implementation == way


def test_a_model_that_is_saved_says_nothing_of_it(tmp_path: Path) -> None:
    model = sparse_families.model("mixtral")
    blocks.prepare(model, "none", compiled=False)
    model.save_pretrained(tmp_path)
    assert EXPERTS not in (tmp_path / "config.json").read_text()
