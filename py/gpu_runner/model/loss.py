"""Cross-entropy as (sum, count): the caller decides what the sum is divided by.

A mean over one micro-batch is the wrong mean as soon as micro-batches hold different numbers of
trainable tokens. Returning both parts lets the step divide once, by the count over all of them.

Positions that predict no trained token are dropped before the head, so that a prompt costs no row
of the (T, V) matrix of logits, often the largest tensor of all. Three ways from there, equal in
value and gradient:

    full      all logits at once
    chunked   logits a part at a time, kept in the compute precision; softmax in fp32, a part a time
    linear    logits never exist but for CHUNK positions: gradients are computed in the forward pass
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_runner.data.feed import IGNORED, Batch
from gpu_runner.model.attention import bounds_arguments, isolates, positions_unread
from unfrozen.memory.loss import CHUNKS, LINEAR_CHUNK

Kind = Literal["full", "chunked", "linear"]
LINEAR: Final[Kind] = "linear"


def loss_sum(model: Any, batch: Batch, kind: Kind = LINEAR) -> tuple[Tensor, int]:
    """Sum of −log p(token | before) over the trainable tokens of `batch` in nats, and their count.

    The cross-entropy runs in fp32 whatever the model computes in.
    """
    positions, kept, targets = batch.find_targets()  # (K,), (N,), (N,)
    arguments: dict[str, Any] = {
        "input_ids": batch.input_ids,  # (B, T)
        "use_cache": False,
        "logits_to_keep": positions,
    }
    if batch.bounds is not None:
        if not isolates(model):
            raise AssertionError("this model would attend across the documents of a packed batch")
        arguments |= bounds_arguments(batch.bounds, batch.longest, batch.seen_bounds)
        arguments["position_ids"] = batch.position_ids
    head = model.get_output_embeddings()
    own = head.forward
    plain = is_transformer_layer(model, head)

    def at_head(hidden: Tensor) -> Tensor:
        inputs = hidden.flatten(0, 1)  # (B·K, h)
        if kept is not None:
            inputs = inputs.index_select(0, kept)
        if plain:
            return _LOSSES[kind](inputs, head.weight, targets)
        logits: Tensor = own(inputs[None])  # (1, N, V), which the model then changes
        return logits

    with _replaced(head, at_head), positions_unread():
        found: Tensor = model(**arguments).logits
    if plain:
        return found, batch.trainable_tokens
    total = F.cross_entropy(found[0].float(), targets, reduction="sum")
    return total, batch.trainable_tokens


def cross_entropy_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean −log p of each row's next labels from logits (B, T, V), as most loops write it."""
    following = F.pad(labels[:, 1:], (0, 1), value=IGNORED).flatten()
    return F.cross_entropy(logits.float().flatten(0, 1), following, ignore_index=IGNORED)


def is_transformer_layer(model: Any, head: Any) -> bool:
    """Whether logits are the head's product and nothing else: no bias, no soft cap (Gemma 2), no
    rows left out (Inkling)."""
    settings = model.config.get_text_config()
    changed = ("final_logit_softcapping", "logits_scaling", "logit_scale", "unpadded_vocab_size")
    return (
        isinstance(head, nn.Linear)
        and head.bias is None
        and all(getattr(settings, name, None) is None for name in changed)
    )


@contextmanager
def _replaced(head: nn.Linear, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let the head return what `forward` makes of its input, inside the model's own pass.

    So every hook of model and head runs where it belongs, and sharded weights are gathered.
    """
    head.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del head.forward


def _full(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight).float(), targets, reduction="sum")


def _chunked(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    size = max(1, -(-len(targets) // CHUNKS))
    parts = [F.linear(part, weight) for part in hidden.split(size)]
    pairs = zip(parts, targets.split(size), strict=True)
    found = [_Entropy.apply(*pair) for pair in pairs]  # type: ignore[no-untyped-call]
    return torch.stack(found).sum()


def _linear(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    dtype = hidden.dtype
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
    total: Tensor = _LinearEntropy.apply(hidden, weight, targets, dtype)  # type: ignore[no-untyped-call]
    return total


_LOSSES: Final[dict[Kind, Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "full": _full,
    "chunked": _chunked,
    "linear": _linear,
}


def _logits(hidden: Tensor, weight: Tensor, room: Tensor) -> Tensor:
    """hidden (N, h) · weightᵀ (h, V), in `room`; on a CPU the long side first, which is faster."""
    count, vocab = len(hidden), len(weight)
    room = room[: count * vocab]
    if hidden.device.type == "cpu":
        return torch.mm(weight, hidden.T, out=room.view(vocab, count)).T
    return torch.mm(hidden, weight.T, out=room.view(count, vocab))


class _Entropy(torch.autograd.Function):
    """Cross-entropy that keeps its logits (N, V) as they are and makes its softmax twice."""

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


class _LinearEntropy(torch.autograd.Function):
    """Cross-entropy of hidden (N, h) · weightᵀ (h, V), CHUNK positions at a time.

    The gradient of a sum of losses does not depend on anything after it but one factor, so both
    gradients are made while a chunk's logits are there. Used once: a second backward pass fails.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype
    ) -> Tensor:
        wanted = hidden.requires_grad or weight.requires_grad
        with torch.autocast(hidden.device.type, enabled=False):
            inputs, cast = hidden.to(dtype), weight.to(dtype)
            total = torch.zeros((), device=hidden.device)
            by_hidden = torch.empty_like(inputs) if wanted else None
            new = torch.empty_like if len(targets) else torch.zeros_like  # the first chunk fills it
            by_weight = new(weight) if weight.requires_grad else None  # else it is frozen
            room = cast.new_empty(min(len(targets), LINEAR_CHUNK) * len(weight))
            for start in range(0, len(targets), LINEAR_CHUNK):
                part = slice(start, start + LINEAR_CHUNK)
                logits = _logits(inputs[part], cast, room)  # (CHUNK, V), in place of which …
                slope = logits.float()
                chosen = targets[part, None]
                highest = slope.amax(dim=1, keepdim=True)
                total += (highest - slope.gather(1, chosen)).sum()
                slope.sub_(highest).exp_()
                sums = slope.sum(dim=1, keepdim=True)
                total += sums.log().sum()
                if by_hidden is not None:
                    slope.div_(sums)  # … come their probabilities
                    slope.scatter_add_(1, chosen, torch.full_like(sums, -1.0))
                    slope = slope if slope is logits else logits.copy_(slope)
                    torch.mm(slope, cast, out=by_hidden[part])
                    if by_weight is None:
                        pass
                    elif dtype == weight.dtype:
                        by_weight.addmm_(slope.T, inputs[part], beta=min(start, 1))
                    elif start:
                        by_weight += slope.T @ inputs[part]
                    else:
                        by_weight.copy_(slope.T @ inputs[part])
                del slope  # before the next chunk's are made
        ctx.gradients = by_hidden, by_weight
        ctx.dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        by_hidden, by_weight = ctx.gradients
        del ctx.gradients  # or the weight's gradient would be copied, not taken over
        moved = None if by_weight is None else by_weight.mul_(gradient)
        return (by_hidden * gradient).to(ctx.dtype), moved, None, None


Loss = Callable[[Any, Batch], tuple[Tensor, int]]


def training_loss(kind: Kind, alpha: float = 0.0) -> Loss:
    """The loss of a training step: `loss_sum`, under noise where `alpha` is not 0."""
    plain: Loss = partial(loss_sum, kind=kind)
    return Noisy(alpha, plain) if alpha else plain


@dataclass(frozen=True, slots=True)
class Noisy:
    """A loss, (model, batch) → (sum, count), whose embeddings are noisy."""

    alpha: float
    loss: Loss

    def __call__(self, model: Any, batch: Batch) -> tuple[Tensor, int]:
        """The loss of the batch, under the noise of its `example_seeds`."""
        hook = model.get_input_embeddings().register_forward_hook(partial(self._add, batch))
        try:
            return self.loss(model, batch)
        finally:
            hook.remove()

    def _add(self, batch: Batch, _module: Any, _inputs: Any, output: Tensor) -> Tensor:
        """In place, a row at a time: output (B, T, d) is kept by nothing yet, and the gradient of
        what is added to it is none.
        """
        packed = batch.bounds is not None
        start = 0
        with torch.no_grad():
            for row, (length, draw) in enumerate(
                zip(batch.lengths, batch.example_seeds, strict=True)
            ):
                place = output[0, start : start + length] if packed else output[row, :length]
                place += self._noise(place, draw)
                start += length
        return output

    def _noise(self, like: Tensor, draw: int) -> Tensor:
        """(L, d) in fp32."""
        random = torch.Generator(like.device).manual_seed(draw)
        noise = torch.empty(like.shape, dtype=torch.float32, device=like.device)
        most = self.alpha / math.sqrt(like.numel())
        return noise.uniform_(-most, most, generator=random)
