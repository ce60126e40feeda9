"""Every optimizer beside its formula in numpy's 64 bits; rounded weights beside exact ones.

Gradients are drawn on the CPU, the same for every machine; none of them is a model's. What is
compared is how far weights have moved after a few steps, all of them clipped.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_runner.config.bounds import Optimizer as Name
from gpu_runner.errors import UsageError
from gpu_runner.machine.selftest.figures import (
    Bench,
    Check,
    Figure,
    Skipped,
    moved,
    need,
    tiny,
    tokens,
)
from gpu_runner.model.blocks import check_compiler
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.eight_bit import installed
from gpu_runner.optim.muon import COEFFICIENTS, MOMENTUM
from gpu_runner.optim.optimizer_in_backward import Early
from gpu_runner.optim.rounding import Rounding
from gpu_runner.optim.rules import ADAFACTOR_DECAY, ADAFACTOR_LEAST

Array = NDArray[np.float64]
RATE, DECAY, CLIP, STEPS = 1e-2, 0.1, 30.0, 4
SGD_MOMENTUM: Final = 0.9
LONG: Final = 20  # steps of rounded weights, each too small for bf16 to show
BOUNDS: Final[dict[Name, float]] = {"adamw": 1e-4, "sgd": 1e-4, "adafactor": 1e-4, "muon": 2**-4}
"""Of the largest movement: weights near 1 are rounded by 2⁻²⁴ and move by some 10⁻²; Muon's five
steps are in bf16, each of 2⁻⁸, and enlarge what is small."""


def adamw(w: Array, g: Array, state: dict[str, Any], decay: float, step: int) -> Array:
    """arXiv 1711.05101, algorithm 2, with β₁ 0.9, β₂ 0.999, ε 10⁻⁸."""
    m = state["m"] = 0.9 * state.get("m", 0.0) + 0.1 * g
    v = state["v"] = 0.999 * state.get("v", 0.0) + 0.001 * g**2
    change = m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    found: Array = w * (1 - RATE * decay) - RATE * change
    return found


def sgd(w: Array, g: Array, state: dict[str, Any], decay: float, step: int) -> Array:
    """With momentum and decay in the gradient, as PyTorch has it."""
    del step
    g = g + decay * w
    m = state["m"] = SGD_MOMENTUM * state["m"] + g if "m" in state else g
    return w - RATE * m


def adafactor(w: Array, g: Array, state: dict[str, Any], decay: float, step: int) -> Array:
    """arXiv 1804.04235, algorithm 4, with a given rate and no first moment."""
    fresh, square = step**ADAFACTOR_DECAY, g**2 + ADAFACTOR_LEAST

    def kept(name: str, new: Array) -> Array:
        old = state.get(name, np.zeros_like(new))
        found: Array = old + fresh * (new - old)
        state[name] = found
        return found

    if g.ndim < 2:
        v = kept("v", square)
    else:
        row, column = kept("r", square.mean(-1)), kept("c", square.mean(-2))
        v = (row / row.mean())[:, None] * column
    u = g / np.sqrt(v)
    return w * (1 - RATE * decay) - RATE * u / max(1.0, float(np.sqrt((u**2).mean())))


def muon(w: Array, g: Array, state: dict[str, Any], decay: float, step: int) -> Array:
    """Jordan 2024; the size of the update is that of arXiv 2502.16982."""
    del step
    m = state["m"] = MOMENTUM * state.get("m", 0.0) + (1 - MOMENTUM) * g
    x = MOMENTUM * m + (1 - MOMENTUM) * g
    x = x / np.linalg.norm(x)
    a, b, c = COEFFICIENTS
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    found: Array = w * (1 - RATE * decay) - RATE * 0.2 * math.sqrt(max(w.shape)) * x
    return found


RULES: Final = {"adamw": adamw, "sgd": sgd, "adafactor": adafactor, "muon": muon}


def _by_formula(name: Name, bench: Bench) -> Figure:
    model = tiny("llama", bench.device)
    optimizer = optim.build(
        model, lr=RATE, weight_decay=DECAY, choice=optim.OptimizerChoice(name, SGD_MOMENTUM)
    )
    chosen = {id(p) for group in optimizer.parts[0].param_groups for p in group["params"]}
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    exact = [p.detach().cpu().double().numpy() for p in model.parameters()]
    start, states = [w.copy() for w in exact], [dict[str, Any]() for _ in exact]
    for step in range(1, STEPS + 1):
        given = _draw(model, step)
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in given))
        for place, parameter in enumerate(model.parameters()):
            rule = RULES[name] if id(parameter) in chosen else adamw
            gradient = given[place].double().numpy() / max(1.0, norm / CLIP)
            settled = exact[place], gradient, states[place], decays[id(parameter)], step
            exact[place] = rule(*settled)
        optimizer.step(RATE, optim.gradient_norm(model.parameters()), CLIP)
    largest = max(float(np.abs(w - s).max()) for w, s in zip(exact, start, strict=True))
    pairs = zip(model.parameters(), exact, strict=True)
    off = max(float(np.abs(p.detach().cpu().double().numpy() - w).max()) for p, w in pairs)
    return Figure(max(off / largest, _moved_by_nan(model, optimizer)), BOUNDS[name])


def _draw(model: Any, step: int, size: float = 1.0) -> list[torch.Tensor]:
    """Gradients for every weight, also put in their place; on the host they are returned."""
    draw = torch.Generator().manual_seed(step)
    found = []
    for parameter in model.parameters():
        gradient = size * torch.randn(parameter.shape, generator=draw)
        parameter.grad = gradient.to(parameter.device, parameter.dtype)
        found.append(parameter.grad.float().cpu())
    return found


def _moved_by_nan(model: Any, optimizer: optim.Optimizer) -> float:
    """By how much a step without a finite norm changes a weight."""
    before = [parameter.detach().clone() for parameter in model.parameters()]
    _draw(model, 0, math.nan)
    optimizer.step(RATE, torch.tensor(math.nan, device=before[0].device), CLIP)
    return moved(before, model.parameters())


def eight_bit(bench: Bench) -> Figure:
    """adamw8bit moves weights as far along AdamW's way as AdamW does."""
    try:
        library = installed()
    except UsageError as error:
        raise Skipped(str(error).split(":")[0]) from None
    need(bench.on_card or library != "torchao", "torchao compiles it for minutes on a CPU")
    if library == "torchao":
        _need_compiler(bench)
    along = _along(bench, torch.float32, optim.OptimizerChoice("adamw8bit"))
    return Figure(abs(along - 1), 0.05, library)


def _need_compiler(bench: Bench) -> None:
    try:
        check_compiler(bench.device)
    except UsageError as error:
        raise Skipped(str(error).split(",")[0]) from None


def _rounded(rounding: Rounding, bench: Bench) -> Figure:
    choice = optim.OptimizerChoice("adamw", rounding=rounding)
    along = _along(bench, bench.narrow(), choice)
    stuck = _along(bench, bench.narrow(), optim.OptimizerChoice("adamw"))
    return Figure(abs(along - 1), 0.05, f"rounded to the nearest: {stuck:.2f} of the way")


def _along(bench: Bench, dtype: torch.dtype, choice: optim.OptimizerChoice) -> float:
    """How far weights go along the way that exact ones go in LONG small steps; 1 is as far."""
    ours, exact = tiny("llama", bench.device).to(dtype), tiny("llama", torch.device("cpu"))
    with torch.no_grad():
        for one, two in zip(ours.parameters(), exact.parameters(), strict=True):
            two.copy_(one)
    start = [p.detach().double().clone() for p in exact.parameters()]
    moves = optim.build(ours, lr=1e-5, weight_decay=0.0, choice=choice)
    other = torch.optim.AdamW(exact.parameters(), lr=1e-5, weight_decay=0.0, foreach=False)
    for step in range(1, LONG + 1):
        for parameter, gradient in zip(exact.parameters(), _draw(ours, step // 8), strict=True):
            parameter.grad = gradient
        moves.step(1e-5, optim.gradient_norm(ours.parameters()), 0.0)
        other.step()
    way = [p.detach().double() - s for p, s in zip(exact.parameters(), start, strict=True)]
    gone = [p.detach().cpu().double() - s for p, s in zip(ours.parameters(), start, strict=True)]
    length = sum(float(w.square().sum()) for w in way)
    return sum(float((g * w).sum()) for g, w in zip(gone, way, strict=True)) / length


def early(bench: Bench) -> Figure:
    """optimizer_in_backward moves weights as the step after it does."""
    models = tiny("llama", bench.device), tiny("llama", bench.device)
    usual, other = (optim.build(m, lr=1e-3, weight_decay=DECAY) for m in models)
    within: Any = Early(models[1], other, lambda: 1e-3, bench.device)
    for model, optimizer in zip(models, (usual, within), strict=True):
        for _ in range(2):
            total, count = loss_sum(model, tokens().to(bench.device))
            (total / count).backward()
            optimizer.step(1e-3, optimizer.norm(model.parameters()), 0.0)
    return Figure(moved(models[0].parameters(), models[1].parameters()), 1e-6)


UPDATES: Final = (
    *(Check(f"{name} moves weights by its formula", partial(_by_formula, name)) for name in BOUNDS),
    Check.of(eight_bit),
    *(
        Check(f"bf16 weights, rounding {way}, go as far as exact ones", partial(_rounded, way))
        for way in ("stochastic", "kahan")
    ),
    Check.of(early),
)
