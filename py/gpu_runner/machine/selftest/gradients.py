"""Checks of what a forward and backward pass compute: loss, gradients, dtypes, attention kernels.

Gradients of each dtype are compared with those in fp64 on the CPU, of random weights and tokens. A
dtype of unit roundoff u rounds the inputs of every matmul; through a few layers the relative error
of the gradient is some u, and MARGIN of them are allowed. Attention runs on random queries, keys
and values of documents of uneven length; the reference rounds the same inputs alike, so what
remains is the kernel's own rounding, of values and of all three gradients.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from gpu_runner.checkpoint import training_state
from gpu_runner.data.feed import IGNORED, Batch, collate
from gpu_runner.machine.selftest.check import (
    BOUNDS,
    PRECISIONS,
    Check,
    DemoModel,
    Figure,
    Skipped,
    demo_config,
    gradients,
    largest_difference,
    random_batch,
    random_examples,
    relative_error,
    require,
    tiny_model,
)
from gpu_runner.model import attention
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.plan.machine import configure_torch
from gpu_runner.world import World

STEP: Final = 3e-4  # of finite differences: curvature costs 5e-4 of the gradient, rounding less


def finite_differences(demo: DemoModel) -> Figure:
    """Gradients agree with finite differences, along the gradient of every tensor.

    The bound is wide because transformers computes norms in fp32 whatever the weights are.
    """
    model, batch = demo.load(), demo.batch(0, 4)
    loss_sum(model, batch)[0].backward()
    whole = float(optim.gradient_norm(model.parameters()))
    worst = 0.0
    for parameter in model.parameters():
        length = float(parameter.grad.norm())
        move = parameter.grad * (STEP / length)
        found = []
        with torch.no_grad():
            for change in (move, -2 * move):
                parameter += change
                found.append(float(loss_sum(model, batch)[0]))
            parameter += move
        worst = max(worst, abs((found[0] - found[1]) / (2 * STEP) - length) / whole)
    return Figure(worst, 5e-3)


def cross_entropy(demo: DemoModel) -> Figure:
    """The loss agrees with numpy's, token by token."""
    model, batch = demo.load(), demo.batch(0, 4)
    with torch.no_grad():
        total = float(loss_sum(model, batch)[0])
        logits = model(input_ids=batch.input_ids, use_cache=False).logits  # (B, T, V)
    values = logits.double().cpu().numpy()[:, :-1]
    targets = batch.labels.cpu().numpy()[:, 1:]
    trained = targets != IGNORED
    top = values.max(-1, keepdims=True)
    normalizer = np.log(np.exp(values - top).sum(-1)) + top[..., 0]
    chosen = np.take_along_axis(values, np.where(trained, targets, 0)[..., None], -1)[..., 0]
    expected = float((normalizer - chosen)[trained].sum())
    return Figure(abs(total - expected) / expected, 1e-5)


def accumulation(demo: DemoModel) -> Figure:
    """Four sequences at once give the gradient of four micro-batches of one."""
    whole, parts = demo.load(), demo.load()
    together = demo.batch(0, 4)
    (loss_sum(whole, together)[0] / together.trainable_tokens).backward()
    for row in range(4):
        (loss_sum(parts, demo.batch(row, 1))[0] / together.trainable_tokens).backward()
    return Figure(_gradient_difference(whole, parts), 1e-5)


def packing(demo: DemoModel) -> Figure:
    """Packed sequences give the gradient of the same examples one by one."""
    alone, packed = demo.load(), demo.load()
    for row in range(4):
        loss_sum(alone, demo.batch(row, 1))[0].backward()
    loss_sum(packed, demo.packed(0, 4))[0].backward()
    return Figure(_gradient_difference(alone, packed), 1e-5)


def resume(demo: DemoModel) -> Figure:
    """A run resumed from a checkpoint takes the same third step, bit for bit."""
    model = demo.load()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.01)
    for number in (0, 4):
        _step(model, optimizer, demo.batch(number, 4))
    again = demo.load()
    other = optim.build(again, lr=1e-3, weight_decay=0.01)
    again.load_state_dict(model.state_dict())
    with tempfile.TemporaryDirectory() as place:
        tensors, metadata = training_state.collect(model, optimizer, World())
        training_state.write(Path(place), tensors, metadata)
        training_state.restore(Path(place), again, other, World())
    for one, its_optimizer in ((model, optimizer), (again, other)):
        _step(one, its_optimizer, demo.batch(8, 4))
    bound = 1e-4 if demo.on_gpu else 0.0  # CUDA may add in another order
    return Figure(largest_difference(model.parameters(), again.parameters()), bound)


def skipped_step(demo: DemoModel) -> Figure:
    """A step with non-finite gradients changes no weight."""
    model = demo.load()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.01)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    optimizer.step(1e-3, torch.tensor(math.nan, device=demo.device), 1.0)
    return Figure(largest_difference(before, model.parameters()), 0.0)


def _step(model: Any, optimizer: optim.Optimizer, batch: Batch) -> None:
    total, count = loss_sum(model, batch)
    (total / count).backward()
    optimizer.step(1e-3, optim.gradient_norm(model.parameters()), 1.0)


def _gradient_difference(one: Any, two: Any) -> float:
    """Return the largest difference of two models' gradients over the largest gradient."""
    pairs: Iterator[tuple[Tensor, Tensor]] = (
        (a.grad, b.grad) for a, b in zip(one.parameters(), two.parameters(), strict=True)
    )
    differences = [(float((a - b).abs().max()), float(a.abs().max())) for a, b in pairs]
    return max(d for d, _ in differences) / max(s for _, s in differences)


MARGIN: Final = 16
FP32: Final = 1e-5  # sums of thousands of terms, each rounded by 2⁻²⁴
TF32, BF16 = MARGIN * 2.0**-11, MARGIN * 2.0**-9


def fp32_gradient(demo: DemoModel) -> Figure:
    """fp32: gradients match those in fp64."""
    found = gradients(tiny_model("llama", demo.device), random_batch(demo.device))
    return Figure(relative_error(found, exact_gradient(torch.float32)), FP32)


def tf32_gradient(demo: DemoModel) -> Figure:
    """TF32: gradients match those in fp64 to 10 bits."""
    require(demo.on_gpu, "a CPU has no TF32")
    require(torch.cuda.get_device_capability(demo.device) >= (8, 0), "this GPU has no TF32")
    with _configured(demo, tf32=True):
        found = gradients(tiny_model("llama", demo.device), random_batch(demo.device))
    return Figure(relative_error(found, exact_gradient(torch.float32)), TF32)


def autocast_gradient(demo: DemoModel) -> Figure:
    """fp32 weights, bf16 matmuls: gradients match those in fp64 to 8 bits."""
    with _autocast(demo):
        found = gradients(tiny_model("llama", demo.device), random_batch(demo.device))
    return Figure(relative_error(found, exact_gradient(torch.float32)), BF16)


def bf16_gradient(demo: DemoModel) -> Figure:
    """bf16 weights: gradients match those of the same weights in fp64 to 8 bits."""
    model = tiny_model("llama", demo.device).to(demo.bf16())
    found = gradients(model, random_batch(demo.device))
    return Figure(relative_error(found, exact_gradient(torch.bfloat16)), BF16)


def exact_gradient(weights: torch.dtype) -> list[Tensor]:
    """Return the gradient in fp64 on the CPU, of weights rounded to `weights` first."""
    model = tiny_model("llama", torch.device("cpu")).to(weights).double()
    return gradients(model, collate(random_examples(), 0))


def deterministic(demo: DemoModel) -> Figure:
    """deterministic = true: the same step gives the same bits twice, in fp32 and bf16."""
    model = demo.load()

    def twice() -> float:
        first = [gradient.clone() for gradient in gradients(model, demo.packed())]
        return largest_difference(first, gradients(model, demo.packed()))

    with _configured(demo, deterministic=True):
        worst = twice()
        try:
            with _autocast(demo):
                worst = max(worst, twice())
        except Skipped:
            return Figure(worst, 0.0, "fp32 only")
    return Figure(worst, 0.0)


@contextmanager
def _configured(demo: DemoModel, **choices: Any) -> Iterator[None]:
    """Configure PyTorch as a run with these choices does; restore it afterwards."""
    configure_torch(demo_config(demo.device.type, **choices), demo.device)
    try:
        yield
    finally:
        configure_torch(demo.plan.config, demo.device)


def _autocast(demo: DemoModel) -> AbstractContextManager[Any]:
    return torch.autocast(demo.device.type, dtype=demo.bf16())


LENGTHS: Final = (5, 64, 1, 130, 33)
HEADS: Final = 4
HEAD_DIMS: Final = (80, 128, 256, 264)
"""One between two tiles, the usual one, the largest of FlashAttention, and one beyond."""


@dataclass(frozen=True, slots=True)
class AttentionCase:
    """One kind of attention; without `packed` all documents are one sequence."""

    kv_heads: int = HEADS
    head_dim: int = 64
    window: int | None = None
    cap: float | None = None
    sinks: bool = False
    packed: bool = True


CASES: Final[dict[str, tuple[AttentionCase, ...]]] = {
    "Attention of packed documents": (AttentionCase(),),
    "Causal attention of one sequence": (AttentionCase(packed=False),),
    "Grouped-query attention": (
        AttentionCase(kv_heads=1),
        AttentionCase(kv_heads=2),
    ),
    "Sliding-window attention": (
        AttentionCase(window=16),
        AttentionCase(window=16, packed=False),
    ),
    "Attention with sinks": (
        AttentionCase(kv_heads=2, sinks=True),
        AttentionCase(window=16, sinks=True),
        AttentionCase(sinks=True, packed=False),
    ),
    "Soft-capped attention scores": (AttentionCase(cap=2.0), AttentionCase(cap=2.0, window=16)),
    f"Attention with head dimensions {', '.join(map(str, HEAD_DIMS))}": tuple(
        AttentionCase(head_dim=size) for size in HEAD_DIMS
    ),
}


def reference_attention(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, case: AttentionCase
) -> Tensor:
    """Return softmax attention (T, H, d) of queries (H, T, d), keys and values (K, T, d).

    Sinks (H,) are one more score of each row where the case has them.
    """
    groups = HEADS // case.kv_heads
    k, v = (tensor.repeat_interleave(groups, dim=0) for tensor in (k, v))
    scores = q @ k.transpose(1, 2) * case.head_dim**-0.5
    if case.cap is not None:
        scores = case.cap * torch.tanh(scores / case.cap)
    place = torch.arange(q.shape[1])
    back = place[:, None] - place
    seen = (back >= 0) & (back < (case.window or len(place)))
    if case.packed:
        document = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
        seen &= document[:, None] == document
    scores = scores.masked_fill(~seen, -torch.inf)
    if case.sinks:
        scores = torch.cat((scores, sinks.view(-1, 1, 1).expand(*scores.shape[:2], 1)), dim=-1)
    found: Tensor = scores.softmax(-1)[..., : len(place)] @ v
    return found.transpose(0, 1)


def _attention_error(demo: DemoModel, case: AttentionCase, dtype: torch.dtype) -> tuple[float, str]:
    """Return the largest relative error of values and gradients, and the kernel's name."""
    draw = torch.Generator().manual_seed(2)
    count = sum(LENGTHS)
    shapes = [(heads, count, case.head_dim) for heads in (HEADS, case.kv_heads, case.kv_heads)]
    drawn = [torch.randn(shape, generator=draw) for shape in (*shapes, (HEADS,))]
    given = [tensor.to(dtype) for tensor in drawn[: 3 + case.sinks]]
    weight = torch.randn(count, HEADS, case.head_dim, generator=draw).to(dtype)
    exact = [tensor.double().requires_grad_() for tensor in given]
    wanted = reference_attention(exact[0], exact[1], exact[2], exact[-1], case)
    (wanted * weight.double()).sum().backward()
    here = [tensor.to(demo.device).requires_grad_() for tensor in given]
    bounds = torch.tensor([0, *LENGTHS]).cumsum(0).int()
    packed = attention.bounds_arguments(bounds.to(demo.device), max(LENGTHS), bounds)
    found, _ = attention.attend(
        *(None, here[0][None], here[1][None], here[2][None]),
        sliding_window=case.window,
        softcap=case.cap,
        s_aux=here[3] if case.sinks else None,
        **(packed if case.packed else {}),
    )
    (found[0] * weight.to(demo.device)).sum().backward()
    pairs = [(found[0].detach(), wanted.detach())]
    pairs += [(one.grad, two.grad) for one, two in zip(here, exact, strict=True)]  # type: ignore[misc]
    errors = [float((a.cpu().double() - b).abs().max() / b.abs().max()) for a, b in pairs]
    return max(errors), _kernel_name(here[0], case)


def _kernel_name(query: Tensor, case: AttentionCase) -> str:
    """Return the name of the kernel that `attend` chooses."""
    limited = case.sinks or case.window is not None or case.cap is not None
    if case.packed and case.cap is None and attention.has_flash(query):
        return "FlashAttention"
    if limited or (case.packed and query.device.type == "cpu"):
        return "unfrozen::documents"
    return "one document at a time" if case.packed else "scaled_dot_product_attention"


def _attention(cases: tuple[AttentionCase, ...], dtype: torch.dtype, demo: DemoModel) -> Figure:
    if dtype is torch.bfloat16:
        demo.bf16()
    found = [_attention_error(demo, one, dtype) for one in cases]
    kernels = dict.fromkeys(kernel for _, kernel in found)
    return Figure(max(error for error, _ in found), BOUNDS[dtype], ", ".join(kernels))


GRADIENTS: Final = (
    *map(Check.of, (finite_differences, cross_entropy, accumulation, packing)),
    *map(Check.of, (resume, skipped_step)),
    *(
        Check(f"{title}, {name}", partial(_attention, cases, dtype))
        for name, dtype in PRECISIONS
        for title, cases in CASES.items()
    ),
    *map(Check.of, (fp32_gradient, tf32_gradient, autocast_gradient, bf16_gradient)),
    Check.of(deterministic),
)
