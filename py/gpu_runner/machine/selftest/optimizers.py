"""Checks of optimizers: each against its formula in fp64, bf16 rounding against exact weights.

Gradients are drawn on the CPU, the same for every machine; none of them is a model's. What is
compared is the change of the weights after a few steps, all of them clipped.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_runner.config.load import resolve
from gpu_runner.errors import UsageError
from gpu_runner.machine.selftest.check import (
    Check,
    DemoModel,
    Figure,
    Skipped,
    largest_difference,
    random_batch,
    require,
    require_compiler,
    tiny_model,
)
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.eight_bit import installed
from gpu_runner.optim.muon import COEFFICIENTS, MOMENTUM
from gpu_runner.optim.rounding import Rounding
from gpu_runner.optim.rules import ADAFACTOR_DECAY, ADAFACTOR_LEAST
from gpu_runner.world import World
from unfrozen.job.optimizers import RUNNER_OPTIMIZERS, RunnerOptimizerName

Array = NDArray[np.float64]
LEARNING_RATE, DECAY, CLIP, STEPS = 1e-2, 0.1, 30.0, 4
SGD_MOMENTUM: Final = 0.9
EARLY: Final = {"optimizer_in_backward": True}
OFFLOAD: Final = {"optimizer_offload": True}
SMALL_STEPS: Final = 20  # each too small for bf16 weights to show
BOUND, MUON_BOUND = 1e-4, 2**-4
"""Of the largest change of a weight: weights near 1 are rounded by 2⁻²⁴ and change by some 10⁻²;
Muon's five steps are in bf16, each of 2⁻⁸, and amplify what is small."""


def adamw(w: Array, g: Array, state: dict[str, Any], decay: float, step: int) -> Array:
    """Return the weights after a step of arXiv 1711.05101, algorithm 2, at PyTorch's defaults."""
    m = state["m"] = 0.9 * state.get("m", 0.0) + 0.1 * g
    v = state["v"] = 0.999 * state.get("v", 0.0) + 0.001 * g**2
    change = m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    found: Array = w * (1 - LEARNING_RATE * decay) - LEARNING_RATE * change
    return found


def sgd(w: Array, g: Array, state: dict[str, Any], decay: float, step: int) -> Array:
    """Return the weights after a step with momentum, and decay in the gradient as in PyTorch."""
    del step
    g = g + decay * w
    m = state["m"] = SGD_MOMENTUM * state["m"] + g if "m" in state else g
    return w - LEARNING_RATE * m


def adafactor(w: Array, g: Array, state: dict[str, Any], decay: float, step: int) -> Array:
    """Return the weights after a step of arXiv 1804.04235, algorithm 4, without a first moment."""
    fresh, square = step**ADAFACTOR_DECAY, g**2 + ADAFACTOR_LEAST

    def average(name: str, new: Array) -> Array:
        old = state.get(name, np.zeros_like(new))
        found: Array = old + fresh * (new - old)
        state[name] = found
        return found

    if g.ndim < 2:
        v = average("v", square)
    else:
        row, column = average("r", square.mean(-1)), average("c", square.mean(-2))
        v = (row / row.mean())[:, None] * column
    u = g / np.sqrt(v)
    return w * (1 - LEARNING_RATE * decay) - LEARNING_RATE * u / max(
        1.0, float(np.sqrt((u**2).mean()))
    )


def muon(w: Array, g: Array, state: dict[str, Any], decay: float, step: int) -> Array:
    """Return the weights after a step of Jordan 2024, scaled as in arXiv 2502.16982."""
    del step
    m = state["m"] = MOMENTUM * state.get("m", 0.0) + (1 - MOMENTUM) * g
    x = MOMENTUM * m + (1 - MOMENTUM) * g
    x = x / np.linalg.norm(x)
    a, b, c = COEFFICIENTS
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    found: Array = (
        w * (1 - LEARNING_RATE * decay) - LEARNING_RATE * 0.2 * math.sqrt(max(w.shape)) * x
    )
    return found


RULES: Final = {"adamw": adamw, "sgd": sgd, "adafactor": adafactor, "muon": muon}


def _optimizer(name: RunnerOptimizerName, demo: DemoModel) -> Figure:
    model = tiny_model("llama", demo.device)
    optimizer = optim.build(
        model,
        lr=LEARNING_RATE,
        weight_decay=DECAY,
        choice=optim.OptimizerChoice(name, SGD_MOMENTUM),
    )
    chosen = {id(p) for group in optimizer.parts[0].param_groups for p in group["params"]}
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    exact = [p.detach().cpu().double().numpy() for p in model.parameters()]
    start, states = [w.copy() for w in exact], [dict[str, Any]() for _ in exact]
    for step in range(1, STEPS + 1):
        drawn = _draw_gradients(model, step)
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in drawn))
        for place, parameter in enumerate(model.parameters()):
            rule = RULES[name] if id(parameter) in chosen else adamw
            gradient = drawn[place].double().numpy() / max(1.0, norm / CLIP)
            decay = decays[id(parameter)]
            exact[place] = rule(exact[place], gradient, states[place], decay, step)
        optimizer.step(LEARNING_RATE, optim.gradient_norm(model.parameters()), CLIP)
    largest = max(float(np.abs(w - s).max()) for w, s in zip(exact, start, strict=True))
    pairs = zip(model.parameters(), exact, strict=True)
    off = max(float(np.abs(p.detach().cpu().double().numpy() - w).max()) for p, w in pairs)
    return Figure(
        max(off / largest, _change_by_nan(model, optimizer)),
        MUON_BOUND if name == "muon" else BOUND,
    )


def _draw_gradients(model: Any, step: int, size: float = 1.0) -> list[torch.Tensor]:
    """Draw a gradient for every parameter, set it there, and return all of them on the host."""
    draw = torch.Generator().manual_seed(step)
    found = []
    for parameter in model.parameters():
        gradient = size * torch.randn(parameter.shape, generator=draw)
        parameter.grad = gradient.to(parameter.device, parameter.dtype)
        found.append(parameter.grad.float().cpu())
    return found


def _change_by_nan(model: Any, optimizer: optim.Optimizer) -> float:
    """Return by how much a step with a non-finite norm changes a weight."""
    before = [parameter.detach().clone() for parameter in model.parameters()]
    _draw_gradients(model, 0, math.nan)
    optimizer.step(LEARNING_RATE, torch.tensor(math.nan, device=before[0].device), CLIP)
    return largest_difference(before, model.parameters())


def eight_bit(demo: DemoModel) -> Figure:
    """adamw8bit updates weights as far in AdamW's direction as AdamW does."""
    try:
        library = installed()
    except UsageError as error:
        raise Skipped(str(error).split(":")[0]) from None
    require(demo.on_gpu or library != "torchao", "on a CPU torchao compiles it for minutes")
    if library == "torchao":
        require_compiler(demo.device)
    progress = _progress(demo, torch.float32, optim.OptimizerChoice("adamw8bit"))
    return Figure(abs(progress - 1), 0.05, library)


def _rounded(rounding: Rounding, demo: DemoModel) -> Figure:
    choice = optim.OptimizerChoice("adamw", rounding=rounding)
    progress = _progress(demo, demo.bf16(), choice)
    nearest = _progress(demo, demo.bf16(), optim.OptimizerChoice("adamw"))
    return Figure(abs(progress - 1), 0.05, f"round to nearest: {nearest:.2f} of the way")


def _progress(demo: DemoModel, dtype: torch.dtype, choice: optim.OptimizerChoice) -> float:
    """Return the change of these weights in SMALL_STEPS steps, as a share of the exact change."""
    rounded, exact = (
        tiny_model("llama", demo.device).to(dtype),
        tiny_model("llama", torch.device("cpu")),
    )
    with torch.no_grad():
        for one, two in zip(rounded.parameters(), exact.parameters(), strict=True):
            two.copy_(one)
    start = [p.detach().double().clone() for p in exact.parameters()]
    optimizer = optim.build(rounded, lr=1e-5, weight_decay=0.0, choice=choice)
    other = torch.optim.AdamW(exact.parameters(), lr=1e-5, weight_decay=0.0, foreach=False)
    for step in range(1, SMALL_STEPS + 1):
        for parameter, gradient in zip(
            exact.parameters(), _draw_gradients(rounded, step // 8), strict=True
        ):
            parameter.grad = gradient
        optimizer.step(1e-5, optim.gradient_norm(rounded.parameters()), 0.0)
        other.step()
    exact_change = [p.detach().double() - s for p, s in zip(exact.parameters(), start, strict=True)]
    change = [
        p.detach().cpu().double() - s for p, s in zip(rounded.parameters(), start, strict=True)
    ]
    length = sum(float(w.square().sum()) for w in exact_change)
    return sum(float((g * w).sum()) for g, w in zip(change, exact_change, strict=True)) / length


def _moved(changes: dict[str, Any], demo: DemoModel) -> Figure:
    """Compare weights after steps with these settings and without them."""
    models = tiny_model("llama", demo.device), tiny_model("llama", demo.device)
    for model, settings in zip(models, ({}, changes), strict=True):
        config = resolve({"model": "x", "data": "y", "grad_accum": 1, "clip": 0.0, **settings})
        choice = optim.OptimizerChoice(offload=config.optimizer_offload)
        built = optim.build(model, lr=1e-3, weight_decay=DECAY, choice=choice)
        moving = optim.stepping(config, model, built, lambda: 1e-3, World(device=demo.device))
        for _ in range(3):
            total, count = loss_sum(model, random_batch(demo.device))
            (total / count).backward()
            moving.step(1e-3, moving.norm(model.parameters()), 0.0)
    return Figure(largest_difference(models[0].parameters(), models[1].parameters()), 1e-6)


OPTIMIZERS: Final = (
    *(
        Check(f"{name} updates weights by its formula", partial(_optimizer, name))
        for name in RUNNER_OPTIMIZERS
        if name != "adamw8bit"  # see eight_bit
    ),
    Check.of(eight_bit),
    *(
        Check(
            f"bf16 weights with {way} rounding change as much as exact ones", partial(_rounded, way)
        )
        for way in ("stochastic", "kahan")
    ),
    *(
        Check(f"{names} updates weights as a step beside them does", partial(_moved, changes))
        for names, changes in (
            ("optimizer_in_backward", EARLY),
            ("optimizer_offload", OFFLOAD),
            ("optimizer_offload in backward", EARLY | OFFLOAD),
        )
    ),
)
