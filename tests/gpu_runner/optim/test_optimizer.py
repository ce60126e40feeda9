from typing import Any

import pytest
import torch

import tiny_llama
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.rounding import Rounding
from own_optimizers import OWN


def with_gradients(scale: float) -> torch.nn.Module:
    model: torch.nn.Module = tiny_llama.model()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)
    return model


def test_every_parameter_is_in_the_optimizer_once_a_tied_one_too() -> None:
    model = tiny_llama.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.1)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert sum(p.numel() for p in held) == 27_040


def test_only_matrices_decay() -> None:
    optimizer = optim.build(tiny_llama.model(), lr=1e-3, weight_decay=0.1)
    for group in optimizer.param_groups:
        assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] > 0}


def test_a_frozen_parameter_is_refused_by_name() -> None:
    model = tiny_llama.model()
    model.model.norm.weight.requires_grad_(False)
    with pytest.raises(AssertionError, match=r"frozen \['model.norm.weight'\]"):
        optim.build(model, lr=1e-3, weight_decay=0.0)


def test_a_full_model_is_recognized_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.ParameterList(torch.ones(2, 2) for _ in range(50))
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
    made = []

    def counted_set(items: Any) -> set[Any]:
        made.append(set(items))
        return made[-1]

    monkeypatch.setattr(optim, "set", counted_set, raising=False)
    optim.assert_full(model, optimizer)
    assert len(made) <= 2, f"{len(made)} sets of {len(made[0])} parameters"


def test_the_step_equals_clip_then_adamw() -> None:
    ours, theirs = with_gradients(3.0), with_gradients(3.0)
    optimizer = optim.build(ours, lr=1.0, weight_decay=0.0)
    norm = optim.gradient_norm(ours.parameters())
    optimizer.step(1e-2, norm, 1.0)
    plain = torch.optim.AdamW(theirs.parameters(), lr=1e-2, weight_decay=0.0)
    known = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
    assert float(norm) == pytest.approx(float(known))
    plain.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_betas_and_epsilon_are_those_that_were_chosen(rounding: Rounding) -> None:
    """Beside PyTorch's own AdamW, over three steps; fp32 weights are rounded to themselves."""
    ours, theirs = with_gradients(1.0), with_gradients(1.0)
    choice = optim.OptimizerChoice(rounding=rounding, betas=(0.7, 0.9), epsilon=1e-3)
    optimizer = optim.build(ours, lr=1.0, weight_decay=0.0, choice=choice)
    plain = torch.optim.AdamW(
        theirs.parameters(), lr=1e-2, betas=(0.7, 0.9), eps=1e-3, weight_decay=0.0
    )
    gradients = [p.grad for p in theirs.parameters()]
    for _ in range(3):
        for one, gradient in zip(ours.parameters(), gradients, strict=True):
            assert gradient is not None
            one.grad = gradient.clone()
        optimizer.step(1e-2, torch.ones(()), 0.0)
        plain.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_clip_zero_never_clips() -> None:
    clipped, free = with_gradients(3.0), with_gradients(3.0)
    for model, clip in ((clipped, 1e9), (free, 0.0)):
        optimizer = optim.build(model, lr=1.0, weight_decay=0.0)
        norm = optim.gradient_norm(model.parameters())
        optimizer.step(1e-2, norm, clip)
    for one, other in zip(clipped.parameters(), free.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_with_a_non_finite_gradient_changes_nothing(bad: float) -> None:
    model = with_gradients(1.0)
    optimizer = optim.build(model, lr=1.0, weight_decay=0.1)
    optimizer.step(1e-3, optim.gradient_norm(model.parameters()), 1.0)
    before = [p.detach().clone() for p in model.parameters()]
    moments = [s["exp_avg"].clone() for s in optimizer.state.values()]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, bad)
    norm = optim.gradient_norm(model.parameters())
    assert float(optimizer.step(1e-3, norm, 1.0)) == 1.0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    states = list(optimizer.state.values())
    assert all(torch.equal(a, s["exp_avg"]) for a, s in zip(moments, states, strict=True))
    assert {float(s["step"]) for s in states} == {1.0}


def test_the_norm_is_computed_in_fp32() -> None:
    parameter = torch.nn.Parameter(torch.zeros(100_000, dtype=torch.bfloat16))
    parameter.grad = torch.ones(100_000, dtype=torch.bfloat16)
    norm = optim.gradient_norm([parameter])
    assert norm.dtype == torch.float32
    assert float(norm) == pytest.approx(100_000**0.5, rel=1e-6)


def test_the_norm_of_no_gradients_is_zero() -> None:
    assert float(optim.gradient_norm([torch.nn.Parameter(torch.ones(3))])) == 0.0


@pytest.mark.parametrize("width", [torch.float32, torch.bfloat16])
def test_the_moving_average_follows_the_weights_but_for_skipped_steps(width: torch.dtype) -> None:
    model = with_gradients(1.0).to(width)
    optimizer = optim.build(
        model, lr=1e-2, weight_decay=0.0, choice=optim.OptimizerChoice(ema=0.75)
    )
    known = [p.detach().float().clone() for p in model.parameters()]
    for norm in (1.0, float("nan"), 2.0):
        for parameter, other in zip(
            model.parameters(), with_gradients(1.0).parameters(), strict=True
        ):
            assert other.grad is not None
            parameter.grad = other.grad.to(width)
        optimizer.step(1e-2, torch.tensor(norm), 0.0)
        if norm == norm:
            known = [
                0.75 * average + 0.25 * p.detach().float()
                for average, p in zip(known, model.parameters(), strict=True)
            ]
    found = {weight.data_ptr(): average for weight, average in optimizer.averages()}
    for parameter, average in zip(model.parameters(), known, strict=True):
        assert found[parameter.data_ptr()].dtype == torch.float32
        torch.testing.assert_close(found[parameter.data_ptr()], average, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", OWN)
def test_a_moving_average_changes_no_update(name: Any) -> None:
    results = []
    for ema in (None, 0.9):
        model = with_gradients(1.0)
        choice = optim.OptimizerChoice(name, ema=ema)
        optimizer = optim.build(model, lr=1e-2, weight_decay=0.1, choice=choice)
        for _ in range(2):
            for parameter, other in zip(
                model.parameters(), with_gradients(1.0).parameters(), strict=True
            ):
                parameter.grad = other.grad
            optimizer.step(1e-2, torch.tensor(1.0), 0.0)
        results.append([p.detach() for p in model.parameters()])
    assert all(map(torch.equal, *results))
