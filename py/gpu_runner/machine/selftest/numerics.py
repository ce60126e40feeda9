"""What a step stands on: gradients, loss, accumulation, packing, resuming, skipping; in fp32."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from gpu_runner.checkpoint import training_state
from gpu_runner.data.feed import IGNORED, Batch
from gpu_runner.machine.selftest.figures import Bench, Check, Figure, moved
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.world import World

STEP: Final = 3e-4  # of finite differences: curvature costs 5e-4 of the gradient, rounding less


def finite_differences(bench: Bench) -> Figure:
    """Gradients agree with finite differences, along the gradient of every tensor.

    fp32, because transformers normalises in fp32 whatever the weights are: hence the wide bound.
    """
    model, batch = bench.model(), bench.batch(0, 4)
    loss_sum(model, batch)[0].backward()
    whole = float(optim.gradient_norm(model.parameters()))
    worst = 0.0
    for parameter in model.parameters():
        length = float(parameter.grad.norm())
        move = parameter.grad * (STEP / length)
        found = []
        with torch.no_grad():
            for change in (move, -2 * move, move):
                parameter += change
                found.append(float(loss_sum(model, batch)[0]))
        worst = max(worst, abs((found[0] - found[1]) / (2 * STEP) - length) / whole)
    return Figure(worst, 5e-3)


def cross_entropy(bench: Bench) -> Figure:
    """The loss agrees with numpy's, token by token."""
    model, batch = bench.model(), bench.batch(0, 4)
    with torch.no_grad():
        total = float(loss_sum(model, batch)[0])
        logits = model(input_ids=batch.input_ids, use_cache=False).logits  # (B, T, V)
    values = logits.double().cpu().numpy()[:, :-1]
    targets = batch.labels.cpu().numpy()[:, 1:]
    kept = targets != IGNORED
    top = values.max(-1, keepdims=True)
    normaliser = np.log(np.exp(values - top).sum(-1)) + top[..., 0]
    chosen = np.take_along_axis(values, np.where(kept, targets, 0)[..., None], -1)[..., 0]
    expected = float((normaliser - chosen)[kept].sum())
    return Figure(abs(total - expected) / expected, 1e-5)


def accumulation(bench: Bench) -> Figure:
    """Four rows at once give the gradient of four micro-batches of one row."""
    whole, parts = bench.model(), bench.model()
    together = bench.batch(0, 4)
    (loss_sum(whole, together)[0] / together.trainable_tokens).backward()
    for row in range(4):
        (loss_sum(parts, bench.batch(row, 1))[0] / together.trainable_tokens).backward()
    return Figure(_apart(whole, parts), 1e-5)


def packing(bench: Bench) -> Figure:
    """Rows packed into one sequence give the gradient of each of them alone."""
    alone, packed = bench.model(), bench.model()
    for row in range(4):
        loss_sum(alone, bench.batch(row, 1))[0].backward()
    loss_sum(packed, bench.packed(0, 4))[0].backward()
    return Figure(_apart(alone, packed), 1e-5)


def resume(bench: Bench) -> Figure:
    """A run that is saved and read back takes the same third step, bit by bit."""
    model = bench.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.01)
    for number in (0, 4):
        _step(model, optimizer, bench.batch(number, 4))
    again = bench.model()
    other = optim.build(again, lr=1e-3, weight_decay=0.01)
    again.load_state_dict(model.state_dict())
    with tempfile.TemporaryDirectory() as place:
        tensors, metadata = training_state.collect(model, optimizer, World())
        training_state.write(Path(place), tensors, metadata, {})
        training_state.restore(Path(place), again, other, World())
    for one, its_optimizer in ((model, optimizer), (again, other)):
        _step(one, its_optimizer, bench.batch(8, 4))
    bound = 1e-4 if bench.on_card else 0.0  # CUDA may add in another order
    return Figure(moved(model.parameters(), again.parameters()), bound)


def skip(bench: Bench) -> Figure:
    """A step whose gradients are not finite changes nothing."""
    model = bench.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.01)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    optimizer.step(1e-3, torch.tensor(math.nan, device=bench.device), 1.0)
    return Figure(moved(before, model.parameters()), 0.0)


def _step(model: Any, optimizer: optim.Optimizer, batch: Batch) -> None:
    total, count = loss_sum(model, batch)
    (total / count).backward()
    optimizer.step(1e-3, optim.gradient_norm(model.parameters()), 1.0)


def _apart(one: Any, two: Any) -> float:
    """Largest difference of two models' gradients, as a share of the largest gradient."""
    pairs: Iterator[tuple[Tensor, Tensor]] = (
        (a.grad, b.grad) for a, b in zip(one.parameters(), two.parameters(), strict=True)
    )
    differences = [(float((a - b).abs().max()), float(a.abs().max())) for a, b in pairs]
    return max(d for d, _ in differences) / max(s for _, s in differences)


NUMERICS: Final = tuple(
    map(Check.of, (finite_differences, cross_entropy, accumulation, packing, resume, skip))
)
