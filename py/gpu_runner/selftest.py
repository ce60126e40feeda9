"""Whether this machine computes what it should, on the demo model in fp32.

Each check is one sentence and one number with its bound; all of them take well under a minute.
They ask the installed PyTorch and transformers, not our tests' expectations of them.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor

from gpu_runner.checkpoint import training_state
from gpu_runner.config.resolve import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.feed import IGNORED, Batch, collate, pack
from gpu_runner.errors import ExitCode
from gpu_runner.model.load import load
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.plan.plan import RunPlan, make
from gpu_runner.text import sentence
from gpu_runner.world import World

Check = Callable[["Bench"], tuple[float, float]]
STEP = 3e-4  # of finite differences: curvature costs 5e-4 of the gradient, rounding less


@dataclass(frozen=True, slots=True)
class Bench:
    """The demo's plan, and a fresh copy of its model whenever one is asked for."""

    plan: RunPlan

    def model(self) -> Any:
        """θ₀ on the chosen device."""
        return load(self.plan.source, self.plan.tokenizer, "fp32", self.plan.device)

    def batch(self, first: int, rows: int) -> Batch:
        """Some padded training rows."""
        return collate(self.plan.train.examples[first : first + rows], 0).to(self.plan.device)


def run(console: Console, device: str) -> ExitCode:
    """Do every check on `device`, a line each; NOT_READY if one of them is out of its bound."""
    torch.manual_seed(0)
    bench = Bench(make(_configuration(device)))
    failed = 0
    for check in CHECKS:
        started = time.perf_counter()
        error, bound = check(bench)
        good = error <= bound  # a NaN is not
        failed += not good
        mark, style = ("✓", "green") if good else ("✗", "red")
        what = (check.__doc__ or "").strip().splitlines()[0].rstrip(".")
        found = f"{error:.1e} (at most {bound:.0e})" if bound or error else "exactly"
        numbers = f"{found}, {time.perf_counter() - started:.1f} s"
        sentence(console, Text.assemble((f"{mark} ", style), f"{what}: {numbers}"))
    if failed:
        text = f"{failed} of {len(CHECKS)} checks failed: do not train here. Run doctor first."
        console.print(Text(text, "bold red"))
        return ExitCode.NOT_READY
    console.print(Text(f"All {len(CHECKS)} checks passed on {bench.plan.device}.", "bold"))
    return ExitCode.OK


def _configuration(device: str) -> TrainConfig:
    return resolve({"model": "demo", "device": device, "compute": "fp32", "general": ()})


def gradients(bench: Bench) -> tuple[float, float]:
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
    return worst, 5e-3


def cross_entropy(bench: Bench) -> tuple[float, float]:
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
    return abs(total - expected) / expected, 1e-5


def accumulation(bench: Bench) -> tuple[float, float]:
    """Four rows at once give the gradient of four micro-batches of one row."""
    whole, parts = bench.model(), bench.model()
    together = bench.batch(0, 4)
    (loss_sum(whole, together)[0] / together.trainable_tokens).backward()
    for row in range(4):
        (loss_sum(parts, bench.batch(row, 1))[0] / together.trainable_tokens).backward()
    return _apart(whole, parts), 1e-5


def packing(bench: Bench) -> tuple[float, float]:
    """Rows packed into one sequence give the gradient of each of them alone."""
    alone, packed = bench.model(), bench.model()
    rows = bench.plan.train.examples[:4]
    for row in range(4):
        loss_sum(alone, bench.batch(row, 1))[0].backward()
    loss_sum(packed, pack(rows, 0).to(bench.plan.device))[0].backward()
    return _apart(alone, packed), 1e-5


def resume(bench: Bench) -> tuple[float, float]:
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
    exact = bench.plan.device.type == "cpu"  # CUDA may add in another order
    return _moved(model.parameters(), again.parameters()), 0.0 if exact else 1e-4


def skip(bench: Bench) -> tuple[float, float]:
    """A step whose gradients are not finite changes nothing."""
    model = bench.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.01)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    optimizer.step(1e-3, torch.tensor(math.nan, device=bench.plan.device), 1.0)
    return _moved(before, model.parameters()), 0.0


def _moved(one: Iterable[Tensor], two: Iterable[Tensor]) -> float:
    """The largest difference of two lists of weights."""
    pairs = zip(one, two, strict=True)
    return max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs)


def _step(model: Any, optimizer: optim.Optimizer, batch: Batch) -> None:
    total, tokens = loss_sum(model, batch)
    (total / tokens).backward()
    optimizer.step(1e-3, optim.gradient_norm(model.parameters()), 1.0)


def _apart(one: Any, two: Any) -> float:
    """Largest difference of two models' gradients, as a share of the largest gradient."""
    pairs: Iterator[tuple[Tensor, Tensor]] = (
        (a.grad, b.grad) for a, b in zip(one.parameters(), two.parameters(), strict=True)
    )
    differences = [(float((a - b).abs().max()), float(a.abs().max())) for a, b in pairs]
    return max(d for d, _ in differences) / max(s for _, s in differences)


CHECKS: tuple[Check, ...] = (gradients, cross_entropy, accumulation, packing, resume, skip)
