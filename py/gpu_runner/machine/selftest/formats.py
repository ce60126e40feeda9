"""Gradients in every format, beside those in 64 bits on the CPU, of random weights and rows.

A format of unit roundoff u rounds every product's inputs; through a few layers that makes some u of
the gradient's length, and MARGIN of them are allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.data.feed import collate
from gpu_runner.machine.selftest.figures import (
    Bench,
    Check,
    Figure,
    Skipped,
    apart,
    gradients,
    moved,
    need,
    random_rows,
    settings,
    tiny,
    tokens,
)
from gpu_runner.plan.machine import configure_torch

MARGIN: Final = 16
FP32: Final = 1e-5  # sums of thousands of terms, each rounded by 2⁻²⁴
TF32, BF16 = MARGIN * 2.0**-11, MARGIN * 2.0**-9


def single(bench: Bench) -> Figure:
    """fp32: the gradient is that in 64 bits."""
    found = gradients(tiny("llama", bench.device), tokens().to(bench.device))
    return Figure(apart(found, exact(torch.float32)), FP32)


def tensor_float(bench: Bench) -> Figure:
    """TF32: the gradient is that in 64 bits, to within its 10 bits."""
    need(bench.on_card, "a CPU has no TF32")
    need(torch.cuda.get_device_capability(bench.device) >= (8, 0), "this card has no TF32")
    with _told(bench, tf32=True):
        found = gradients(tiny("llama", bench.device), tokens().to(bench.device))
    return Figure(apart(found, exact(torch.float32)), TF32)


def mixed(bench: Bench) -> Figure:
    """fp32 weights, bf16 products: the gradient is that in 64 bits, to within 8 bits."""
    with _narrow(bench):
        found = gradients(tiny("llama", bench.device), tokens().to(bench.device))
    return Figure(apart(found, exact(torch.float32)), BF16)


def narrow(bench: Bench) -> Figure:
    """bf16 weights: the gradient is that of the same weights in 64 bits, to within 8 bits."""
    model = tiny("llama", bench.device).to(bench.narrow())
    found = gradients(model, tokens().to(bench.device))
    return Figure(apart(found, exact(torch.bfloat16)), BF16)


def exact(weights: torch.dtype) -> list[Tensor]:
    """The gradient in 64 bits on the CPU, of weights that were rounded to `weights` first."""
    model = tiny("llama", torch.device("cpu")).to(weights).double()
    return gradients(model, collate(random_rows(), 0))


def repeatable(bench: Bench) -> Figure:
    """deterministic = true: the same step gives the same bits twice, in fp32 and bf16."""
    model = bench.model()

    def twice() -> float:
        first = [gradient.clone() for gradient in gradients(model, bench.packed())]
        return moved(first, gradients(model, bench.packed()))

    with _told(bench, deterministic=True):
        worst = twice()
        try:
            with _narrow(bench):
                worst = max(worst, twice())
        except Skipped:
            return Figure(worst, 0.0, "fp32 alone")
    return Figure(worst, 0.0)


@contextmanager
def _told(bench: Bench, **choices: Any) -> Iterator[None]:
    """PyTorch as a run with these choices has it; afterwards as it was."""
    configure_torch(settings(bench.device.type, **choices), bench.device)
    try:
        yield
    finally:
        configure_torch(bench.plan.config, bench.device)


def _narrow(bench: Bench) -> AbstractContextManager[Any]:
    return torch.autocast(bench.device.type, dtype=bench.narrow())


FORMATS: Final = tuple(map(Check.of, (single, tensor_float, mixed, narrow, repeatable)))
