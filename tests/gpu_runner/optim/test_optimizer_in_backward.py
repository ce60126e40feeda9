from typing import Any

import pytest
import torch

import tiny_families
from counted_lines import count_lines
from gpu_runner.config.load import resolve
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import pack
from gpu_runner.errors import UsageError
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.optimizer import OptimizerInBackward
from own_optimizers import OWN

ROWS = [Example(tuple(range(1, n)), (False, *[True] * (n - 2))) for n in (20, 33)]
CPU = torch.device("cpu")


def stepped(*, early: bool, steps: int = 3) -> tuple[list[torch.Tensor], list[float]]:
    """Weights after some steps of AdamW, and the norms that were reported."""
    model = tiny_families.model("llama", tie_word_embeddings=True)
    optimizer = optim.build(model, lr=1e-2, weight_decay=0.1)
    within = OptimizerInBackward(model, optimizer, lambda: 1e-2, CPU) if early else None
    norms = []
    for _ in range(steps):
        total, count = loss_sum(model, pack(ROWS, 0))
        (total / count).backward()
        if within is not None:
            assert all(p.grad is None for p in model.parameters())
            norm = within.norm(model.parameters())
            within.step(1e-2, norm, 0.0)
        else:
            norm = optim.gradient_norm(model.parameters())
            optimizer.step(1e-2, norm, 0.0)
        norms.append(float(norm))
    return [p.detach() for p in model.parameters()], norms


def test_weights_move_as_they_do_after_the_backward_pass() -> None:
    (ours, our_norms), (theirs, their_norms) = stepped(early=True), stepped(early=False)
    assert our_norms == pytest.approx(their_norms, rel=1e-5)
    for one, two in zip(ours, theirs, strict=True):
        assert torch.equal(one, two)


def stalled_shares(*, early: bool, steps: int) -> list[float | None]:
    """What is told after each step of bf16 weights, whose small updates are rounded away."""
    model = tiny_families.model("llama").to(torch.bfloat16)
    optimizer = optim.build(model, lr=1e-4, weight_decay=0.0)
    within = OptimizerInBackward(model, optimizer, lambda: 1e-4, CPU) if early else None
    told = []
    for _ in range(steps):
        total, count = loss_sum(model, pack(ROWS, 0))
        (total / count).backward()
        (within or optimizer).step(1e-4, torch.ones(()), 0.0)
        told.append(optimizer.stalled_share())
    return told


@pytest.mark.slow
def test_the_share_of_weights_that_stood_still_is_that_of_all_of_them() -> None:
    steps = optim.STALL_EVERY + 1
    ours, theirs = (stalled_shares(early=early, steps=steps) for early in (True, False))
    assert 0.1 < (theirs[0] or 0) < 1.0
    assert ours == theirs
    assert len(set(theirs)) == 2, "two steps are looked at, the first and the last"


def test_a_bad_gradient_skips_its_own_weight_and_is_reported() -> None:
    model = tiny_families.model("llama")
    within = OptimizerInBackward(
        model, optim.build(model, lr=1e-2, weight_decay=0.0), lambda: 1e-2, CPU
    )
    bad = model.model.norm.weight
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    handle = bad.register_hook(lambda gradient: gradient * float("nan"))
    loss_sum(model, pack(ROWS, 0))[0].backward()
    assert float(within.step(1e-2, within.norm([]), 0.0)) == 1.0
    still = [name for name, p in model.named_parameters() if torch.equal(before[name], p)]
    assert still == ["model.norm.weight"]
    handle.remove()
    loss_sum(model, pack(ROWS, 0))[0].backward()
    assert float(within.step(1e-2, within.norm([]), 0.0)) == 0.0
    assert not torch.equal(before["model.norm.weight"], bad)


def test_each_of_several_processes_takes_one_micro_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {"model": "demo", "data": "x", "optimizer_in_backward": True, "clip": 0.0}
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert resolve(asked | {"grad_accum": 2}).optimizer_in_backward
    with pytest.raises(UsageError, match=r"--grad-accum 4 .*Give --grad-accum 2"):
        resolve(asked | {"grad_accum": 4})
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(UsageError, match=r"--grad-accum 2 .*Give --grad-accum 1"):
        resolve(asked | {"grad_accum": 2})


def test_it_stands_for_the_optimizer_it_moves_weights_with() -> None:
    model = tiny_families.model("llama")
    optimizer = optim.build(model, lr=1e-2, weight_decay=0.0)
    assert OptimizerInBackward(model, optimizer, lambda: 1e-2, CPU).state is optimizer.state


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_twice_the_weights_take_twice_the_work(name: Any) -> None:
    def work(tensors: int) -> int:
        model = torch.nn.Module()
        model.layers = torch.nn.ParameterList(torch.ones(2, 2) for _ in range(tensors))
        choice = optim.OptimizerChoice(name)
        optimizer = optim.build(model, lr=1e-3, weight_decay=0.1, choice=choice)
        OptimizerInBackward(model, optimizer, lambda: 1e-3, CPU)

        def backward() -> None:
            torch.stack([p.sum() for p in model.parameters()]).sum().backward()

        backward()  # makes the optimizer's states
        return count_lines(backward)

    assert work(64) <= 2.1 * work(32)
