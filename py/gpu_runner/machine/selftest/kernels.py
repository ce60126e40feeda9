"""Attention by every kernel that a run may take, beside scores written out in 64 bits on the CPU.

Random queries, keys and values of documents of uneven length; the reference sees the same numbers,
rounded alike, so what is left is what the kernel itself rounds. Values and all three gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor

from gpu_runner.machine.selftest.figures import BOUNDS, Bench, Check, Figure
from gpu_runner.model import attention

LENGTHS: Final = (5, 64, 1, 130, 33)
HEADS: Final = 4
WIDTHS: Final = (80, 128, 256, 264)
"""One between two tiles, the usual one, the widest that FlashAttention takes, and one beyond."""


@dataclass(frozen=True, slots=True)
class AttentionAsked:
    """One way to attend: `shared` heads have keys and values; no `packed`, no bounds (one row)."""

    shared: int = HEADS
    width: int = 64
    window: int | None = None
    cap: float | None = None
    packed: bool = True


WAYS: Final[dict[str, tuple[AttentionAsked, ...]]] = {
    "Packed documents attend as each does alone": (AttentionAsked(),),
    "A row attends to what is before it": (AttentionAsked(packed=False),),
    "Heads that share keys and values attend alike": (
        AttentionAsked(shared=1),
        AttentionAsked(shared=2),
    ),
    "A window hides what lies before it": (
        AttentionAsked(window=16),
        AttentionAsked(window=16, packed=False),
    ),
    "Capped scores are capped": (AttentionAsked(cap=2.0), AttentionAsked(cap=2.0, window=16)),
    f"Heads of {', '.join(map(str, WIDTHS))} numbers": tuple(
        AttentionAsked(width=w) for w in WIDTHS
    ),
}


def written_out(q: Tensor, k: Tensor, v: Tensor, asked: AttentionAsked) -> Tensor:
    """Softmax of all scores that may be seen: (T, H, d) from (H, T, d) and twice (K, T, d)."""
    groups = HEADS // asked.shared
    k, v = (tensor.repeat_interleave(groups, dim=0) for tensor in (k, v))
    scores = q @ k.transpose(1, 2) * asked.width**-0.5
    if asked.cap is not None:
        scores = asked.cap * torch.tanh(scores / asked.cap)
    place = torch.arange(q.shape[1])
    back = place[:, None] - place
    seen = (back >= 0) & (back < (asked.window or len(place)))
    if asked.packed:
        document = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
        seen &= document[:, None] == document
    found: Tensor = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v
    return found.transpose(0, 1)


def _attended(bench: Bench, asked: AttentionAsked, dtype: torch.dtype) -> tuple[float, str]:
    """The largest error of values and gradients, as a share of the largest of each; the kernel."""
    draw = torch.Generator().manual_seed(2)
    count = sum(LENGTHS)
    shapes = [(heads, count, asked.width) for heads in (HEADS, asked.shared, asked.shared)]
    given = [torch.randn(shape, generator=draw).to(dtype) for shape in shapes]
    weight = torch.randn(count, HEADS, asked.width, generator=draw).to(dtype)
    exact = [tensor.double().requires_grad_() for tensor in given]
    wanted = written_out(exact[0], exact[1], exact[2], asked)
    (wanted * weight.double()).sum().backward()
    here = [tensor.to(bench.device).requires_grad_() for tensor in given]
    bounds = torch.tensor([0, *LENGTHS]).cumsum(0).int()
    packed = attention.bounds_arguments(bounds.to(bench.device), max(LENGTHS), bounds)
    found, _ = attention.attend(
        *(None, here[0][None], here[1][None], here[2][None]),
        sliding_window=asked.window,
        softcap=asked.cap,
        **(packed if asked.packed else {}),
    )
    (found[0] * weight.to(bench.device)).sum().backward()
    pairs = [(found[0].detach(), wanted.detach())]
    pairs += [(one.grad, two.grad) for one, two in zip(here, exact, strict=True)]  # type: ignore[misc]
    errors = [float((a.cpu().double() - b).abs().max() / b.abs().max()) for a, b in pairs]
    return max(errors), _kernel(here[0], asked)


def _kernel(query: Tensor, asked: AttentionAsked) -> str:
    """Which one `attend` takes, in a word."""
    limited = asked.window is not None or asked.cap is not None
    if asked.packed and asked.cap is None and attention.has_flash(query):
        return "FlashAttention"
    if limited or (asked.packed and query.device.type == "cpu"):
        return "unfrozen::documents"
    return "one by one" if asked.packed else "scaled_dot_product_attention"


def _worst(asked: tuple[AttentionAsked, ...], dtype: torch.dtype, bench: Bench) -> Figure:
    if dtype is torch.bfloat16:
        bench.narrow()
    found = [_attended(bench, one, dtype) for one in asked]
    kernels = dict.fromkeys(kernel for _, kernel in found)
    return Figure(max(error for error, _ in found), BOUNDS[dtype], ", ".join(kernels))


KERNELS: Final = tuple(
    Check(f"{words}, {name}", partial(_worst, asked, dtype))
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    for words, asked in WAYS.items()
)
