"""Cross-entropy as (sum, count): the caller decides what the sum is divided by.

The mean of a micro-batch is the wrong mean where micro-batches have different numbers of trainable
tokens. With sum and count, a step divides once, by the count of all of them.

Positions that predict no trained token are dropped before the head, so that a prompt costs no row
of the logits (T, V), often the largest tensor of all. Three implementations have equal values and
gradients:

    full      all logits at once
    chunked   logits in parts, saved in the compute dtype; softmax in fp32, part by part
    linear    logits of a chunk of positions at a time, never saved: forward computes the gradients

An evaluation notes more of each token: whether it is the likeliest, its loss, and the KL from what
θ₀ held likeliest there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_runner.data.feed import IGNORED, Batch
from gpu_runner.errors import ModelLoadError
from gpu_runner.model.attention import bounds_arguments, skip_packing_detection
from gpu_runner.model.head import HeadPath, head_path, is_linear, replaced_head
from unfrozen.memory.loss import CHUNKS, linear_chunk

_TINY: Final = torch.finfo(torch.float32).tiny
Kind = Literal["full", "chunked", "linear"]
LINEAR: Final[Kind] = "linear"
LIKELIEST: Final = 64
"""Tokens of θ₀ at each target from which a KL is measured."""
_LEAST: Final = 1e-6
"""The least probability of all other tokens together: fp32 cannot tell less from 1 − Σ p."""


@dataclass(frozen=True, slots=True)
class LikeliestTokens:
    """The likeliest tokens of θ₀ at N targets: `tokens` (N, K) int64, their `log_p` (N, K) in fp32.

    `known` (N,) is 1 where θ₀ was asked, else 0.
    """

    tokens: Tensor
    log_p: Tensor
    known: Tensor

    def to(self, device: torch.device) -> LikeliestTokens:
        """Return the same on `device`."""
        return LikeliestTokens(self.tokens.to(device), self.log_p.to(device), self.known.to(device))

    def kl(self, part: slice, log_q: Callable[[Tensor], Tensor]) -> Tensor:
        """Return Σ KL(θ₀ ‖ θ) of a part of the targets, where `log_q` (C, K) is θ's of tokens.

        It is over θ₀'s likeliest tokens and all others as one: a lower bound of the whole KL, exact
        where they are all.
        """
        log_p, now = self.log_p[part], log_q(self.tokens[part])
        p, q = log_p.exp(), now.exp()
        others, rest = ((1 - one.sum(dim=1)).clamp(min=_LEAST) for one in (p, q))
        each = (p * (log_p - now)).sum(dim=1) + others * (others / rest).log()
        return (self.known[part] * each).sum()


@dataclass(frozen=True, slots=True)
class TokenScores:
    """What is noted of N trainable tokens: whether each is the likeliest, and −log p in nats.

    And, where `most` is not 0, so many likeliest tokens in its place, with their log p; with a
    `reference`, `kl` is the sum of the KL from it.
    """

    hits: Tensor
    """(N,), bool."""
    losses: Tensor
    """(N,), fp32."""
    kl: Tensor
    """A scalar."""
    most: int = 0
    reference: LikeliestTokens | None = None
    _top: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def note(self, part: slice, below: Tensor, shares: Tensor, sums: Tensor) -> None:
        """Note tokens whose logits lie `below` the largest; `shares` (C, V) are p times `sums`."""
        torch.eq(below, 0, out=self.hits[part])
        log_sums = sums.log()
        self.losses[part] = below + log_sums.flatten()
        if self.most:  # all but one of a small vocabulary
            found, tokens = shares.topk(min(self.most, shares.shape[1] - 1), dim=1)
            self._top.append((tokens, found.clamp(min=_TINY).log() - log_sums))
        if self.reference is not None:
            self.kl.add_(
                self.reference.kl(
                    part, lambda tokens: shares.gather(1, tokens).clamp(min=_TINY).log() - log_sums
                )
            )

    @property
    def top(self) -> tuple[Tensor, Tensor]:
        """The `most` likeliest tokens (N, K), and their log p in fp32."""
        tokens, log_p = zip(*self._top, strict=True)
        return torch.cat(tokens), torch.cat(log_p)

    @classmethod
    def of(
        cls,
        tokens: int,
        device: torch.device,
        most: int = 0,
        reference: LikeliestTokens | None = None,
    ) -> TokenScores:
        """Return room for so many tokens."""
        return cls(
            torch.empty(tokens, dtype=torch.bool, device=device),
            torch.empty(tokens, dtype=torch.float32, device=device),
            torch.zeros((), device=device),
            most,
            None if reference is None else reference.to(device),
        )


def loss_sum(
    model: Any, batch: Batch, kind: Kind = LINEAR, scores: TokenScores | None = None
) -> tuple[Tensor, int]:
    """Return the sum of −log p over the trainable tokens of `batch` in nats, and their count.

    The cross-entropy is computed in fp32, whatever the compute dtype of the model. `scores` of
    these tokens are filled; the kind is linear then.
    """
    positions, targets = batch.find_targets()  # (N,), (N,)
    path, head = head_path(model, batch.input_ids), model.get_output_embeddings()
    own: Any = getattr(head, "forward", None)
    factor = path.factor if is_linear(head) else None

    def at_head(hidden: Tensor) -> Tensor:
        inputs = hidden.flatten(0, 1).index_select(0, positions)  # (N, h) of (B·T, h)
        if factor is None:
            logits: Tensor = own(inputs[None])  # (1, N, V), which the model then changes
            return logits
        inputs = inputs if factor == 1 else inputs * factor
        if scores is not None:
            total = _linear(inputs, head.weight, targets, scores)
        else:
            total = _LOSSES[kind](inputs, head.weight, targets)
        return total.view(1, 1, 1)

    found = _forward(model, batch, path, at_head)
    if factor is not None:
        return found.view(()) / factor, batch.trainable_tokens
    logits = found[0] if path.by_position else found.flatten(0, 1).index_select(0, positions)
    logits = logits.float()  # (N, V)
    if scores is not None:
        below = logits.amax(dim=1, keepdim=True) - logits
        shares = below.neg().exp()
        at = below.gather(1, targets[:, None]).flatten()
        scores.note(slice(None), at, shares, shares.sum(dim=1, keepdim=True))
    return F.cross_entropy(logits, targets, reduction="sum"), batch.trainable_tokens


def _forward(
    model: Any, batch: Batch, path: HeadPath, at_head: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the logits of the model; where it can, `at_head` computes what the head would."""
    arguments: dict[str, Any] = {"input_ids": batch.input_ids, **path.options}  # (B, T)
    if batch.bounds is not None:
        if not path.packs:
            raise ModelLoadError(
                f"{type(model).__name__} computes documents in one sequence otherwise than alone:"
                " set packing = false."
            )
        arguments |= bounds_arguments(batch.bounds, batch.longest, batch.seen_bounds)
        arguments["position_ids"] = batch.position_ids
    head = model.get_output_embeddings()
    computed = replaced_head(head, at_head) if path.by_position else nullcontext()
    with computed, skip_packing_detection():
        logits: Tensor = model(**arguments).logits
    return logits


def cross_entropy_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean −log p of the next labels from logits (B, T, V), as most loops compute it."""
    following = F.pad(labels[:, 1:], (0, 1), value=IGNORED).flatten()
    return F.cross_entropy(logits.float().flatten(0, 1), following, ignore_index=IGNORED)


def _full(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight).float(), targets, reduction="sum")


def _chunked(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    size = max(1, -(-len(targets) // CHUNKS))
    found = [
        _Entropy.apply(  # type: ignore[no-untyped-call]
            F.linear(part, weight), targets[start : start + size]
        )
        for start, part in zip(count(0, size), hidden.split(size))
    ]
    return torch.stack(found).sum()


def _linear(
    hidden: Tensor, weight: Tensor, targets: Tensor, scores: TokenScores | None = None
) -> Tensor:
    dtype = hidden.dtype
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
    total: Tensor = _LinearEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, targets, dtype, scores
    )
    return total


_LOSSES: Final[dict[Kind, Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "full": _full,
    "chunked": _chunked,
    "linear": _linear,
}


def _logits(hidden: Tensor, weight: Tensor, room: Tensor) -> Tensor:
    """Return hidden (N, h) · weightᵀ (h, V) in `room`; transposed on a CPU, which is faster."""
    count, vocab = len(hidden), len(weight)
    room = room[: count * vocab]
    if hidden.device.type == "cpu":
        return torch.mm(weight, hidden.T, out=room.view(vocab, count)).T
    return torch.mm(hidden, weight.T, out=room.view(count, vocab))


class _Entropy(torch.autograd.Function):
    """Cross-entropy that saves its logits (N, V) in their dtype and computes the softmax twice."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        exact = logits.float()
        sums = exact.logsumexp(dim=1, keepdim=True)  # (N, 1)
        ctx.save_for_backward(logits, sums, targets)
        return (sums - exact.gather(1, targets[:, None])).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, sums, targets = ctx.saved_tensors
        p = (logits.float() - sums).exp_()
        p.scatter_add_(1, targets[:, None], torch.full_like(sums, -1.0))
        return p.mul_(gradient).to(logits.dtype), None


def _empty_sum(weight: Tensor, positions: int) -> Tensor:
    """Return what sums the gradient of a head in fp32, since 16 bits would round each chunk.

    The first chunk fills it; without one it is 0.
    """
    new = torch.empty_like if positions else torch.zeros_like
    return new(weight, dtype=torch.promote_types(weight.dtype, torch.float32))


def _add_product(total: Tensor, slope: Tensor, inputs: Tensor, *, first: bool) -> None:
    """Add slopeᵀ (V, C) · inputs (C, h) to `total` (V, h), which the first chunk fills."""
    if slope.dtype == total.dtype:
        total.addmm_(slope.T, inputs, beta=0 if first else 1)
    elif first:
        total.copy_(slope.T @ inputs)
    else:
        total += slope.T @ inputs


class _LinearEntropy(torch.autograd.Function):
    """Cross-entropy of hidden (N, h) · weightᵀ (h, V), a chunk of positions at a time.

    The gradient of a summed loss depends on nothing after it but one factor, so forward computes
    both gradients while a chunk's logits exist. That of a 16-bit weight, as sharded ones are
    gathered, is summed in fp32 and rounded once. A second backward fails.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        dtype: torch.dtype,
        scores: TokenScores | None,
    ) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            inputs, cast = hidden.to(dtype), weight.to(dtype)
            total = torch.zeros((), device=hidden.device)
            wanted = hidden.requires_grad or weight.requires_grad
            by_hidden = torch.empty_like(inputs) if wanted else None
            by_weight = _empty_sum(weight, len(targets)) if weight.requires_grad else None
            size = linear_chunk(dtype.itemsize)
            room = cast.new_empty(min(len(targets), size) * len(weight))
            for start in range(0, len(targets), size):
                part = slice(start, start + size)
                logits = _logits(inputs[part], cast, room)  # (CHUNK, V)
                slope = logits.float()
                chosen = targets[part, None]
                highest = slope.amax(dim=1, keepdim=True)
                below = highest - slope.gather(1, chosen)
                total += below.sum()
                sums = slope.sub_(highest).exp_().sum(dim=1, keepdim=True)
                total += sums.log().sum()
                if scores is not None:
                    scores.note(part, below.flatten(), slope, sums)
                if by_hidden is not None:
                    slope.div_(sums)  # probabilities replace the logits
                    slope.scatter_add_(1, chosen, torch.full_like(sums, -1.0))
                    slope = slope if slope is logits else logits.copy_(slope)
                    torch.mm(slope, cast, out=by_hidden[part])
                    if by_weight is not None:
                        _add_product(by_weight, slope, inputs[part], first=not start)
                del slope, below  # before the next chunk allocates its own
            del room
            ctx.gradients = by_hidden, None if by_weight is None else by_weight.to(weight.dtype)
        ctx.dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        by_hidden, by_weight = ctx.gradients
        del ctx.gradients  # or the weight's gradient would be copied
        moved = None if by_weight is None else by_weight.mul_(gradient)
        return (by_hidden * gradient).to(ctx.dtype), moved, None, None, None
