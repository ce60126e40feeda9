from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_families
from gpu_runner.config.load import resolve
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import pack
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import offloaded_adamw
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.offloaded_adamw import OffloadedAdamW
from gpu_runner.optim.optimizer import stepping
from gpu_runner.world import World

ROWS = [Example(tuple(range(1, n)), (False, *[True] * (n - 2))) for n in (20, 33)]
CLIP = 0.5


@dataclass
class Stepped:
    """Weights and norms after some steps of AdamW with two micro-batches each."""

    model: Any
    optimizer: optim.Optimizer
    norms: list[float] = field(default_factory=list)

    @property
    def weights(self) -> list[Tensor]:
        return [parameter.detach() for parameter in self.model.parameters()]

    def states(self, key: str) -> list[Tensor]:
        return [self.optimizer.state[parameter][key] for parameter in self.model.parameters()]


def stepped(
    *,
    offload: bool,
    early: bool = False,
    width: str = "fp32",
    thread: bool = False,
    steps: int = 3,
    rate: float = 1e-2,
) -> Stepped:
    clip, parts = (0.0, 1) if early else (CLIP, 2)
    settings = {"model": "x", "data": "y", "params": width, "grad_accum": parts, "clip": clip}
    config = resolve(settings | {"optimizer_offload": offload, "optimizer_in_backward": early})
    model = tiny_families.model("llama", tie_word_embeddings=True)
    model = model.bfloat16() if width == "bf16" else model
    choice = optim.OptimizerChoice(offload=offload)
    run = Stepped(model, optim.build(model, lr=rate, weight_decay=0.1, choice=choice))
    if thread:
        (usual,) = run.optimizer.parts
        run.optimizer = optim.Optimizer([in_a_thread(usual)])
    moving = stepping(config, model, run.optimizer, lambda: rate, World(device=torch.device("cpu")))
    for _ in range(steps):
        for row in ROWS[:parts]:
            total, count = loss_sum(model, pack([row], 0))
            (total / count).backward()
        norm = moving.norm(model.parameters())
        moving.step(rate, norm, clip)
        run.norms.append(float(norm))
    return run


def in_a_thread(usual: OffloadedAdamW) -> OffloadedAdamW:
    """The same optimizer, whose part of a GPU's step a thread does."""
    settings = usual.defaults
    return OffloadedAdamW(
        usual.param_groups,
        lr=settings["lr"],
        betas=settings["betas"],
        eps=settings["eps"],
        beside=True,
    )


@pytest.mark.parametrize("thread", [False, True], ids=["at once", "in a thread"])
@pytest.mark.parametrize("early", [False, True], ids=["after backward", "in backward"])
def test_fp32_weights_move_bit_by_bit_as_with_adamw_beside_them(early: bool, thread: bool) -> None:
    ours = stepped(offload=True, early=early, thread=thread)
    theirs = stepped(offload=False, early=early)
    assert ours.norms == theirs.norms
    assert early or ours.norms[0] > CLIP  # clipping does something
    for pair in zip(ours.weights, theirs.weights, strict=True):
        assert torch.equal(*pair)
    assert ours.optimizer.state.keys() == set(ours.model.parameters())
    assert not [state for state in ours.optimizer.state.values() if "master" in state]


@pytest.mark.parametrize("early", [False, True], ids=["after backward", "in backward"])
def test_bf16_weights_are_those_in_fp32_rounded_and_lose_no_small_update(early: bool) -> None:
    ours, lossy = (
        stepped(offload=offload, early=early, width="bf16", rate=2e-5) for offload in (True, False)
    )
    exact = ours.states("master")
    for weight, master in zip(ours.weights, exact, strict=True):
        assert torch.equal(weight, master.bfloat16())
        assert (master.dtype, weight.dtype) == (torch.float32, torch.bfloat16)
    assert unmoved(exact) < 0.01 < 0.2 < unmoved(lossy.weights)
    assert ours.optimizer.stalled_share() is None


def unmoved(weights: list[Tensor]) -> float:
    """The share of weights that are what they were before the first step."""
    start = tiny_families.model("llama", tie_word_embeddings=True).bfloat16().parameters()
    same = [
        (now.float() == then.float()).flatten() for now, then in zip(weights, start, strict=True)
    ]
    return float(torch.cat(same).float().mean())


def test_updates_in_a_thread_are_those_without_it_for_bf16_weights() -> None:
    ours, theirs = (stepped(offload=True, width="bf16", thread=thread) for thread in (True, False))
    for pair in zip(ours.states("master"), theirs.states("master"), strict=True):
        assert torch.equal(*pair)


def test_a_step_with_a_gradient_that_is_not_finite_changes_nothing() -> None:
    run = stepped(offload=True, steps=1)
    before = [tensor.clone() for tensor in (*run.weights, *run.states("exp_avg"))]
    counts = [float(step) for step in run.states("step")]
    for parameter in run.model.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    skipped = run.optimizer.step(1e-2, torch.tensor(float("nan")), CLIP)
    assert float(skipped) == 1.0
    after = (*run.weights, *run.states("exp_avg"))
    assert all(map(torch.equal, after, before))
    assert [float(step) for step in run.states("step")] == counts


def test_what_fails_in_the_thread_fails_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(offloaded_adamw, "adamw", broken)
    with pytest.raises(RuntimeError, match="no kernel"):
        stepped(offload=True, thread=True, steps=1)
