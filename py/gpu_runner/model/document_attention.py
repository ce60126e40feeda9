"""Causal attention within documents as one operator, which saves q, k, v and its output.

A document is computed in blocks: some of its queries, and the keys they attend to. Without a window
it is one block, and neighbouring documents of the same length are a batch. With a window of w,
queries from the w-th on are computed a few at a time with the w keys before them: no score is
computed only to be masked, and no T × T mask is made or saved.

    CPU                        PyTorch's CPU kernel, without a copy of q, k, v
    soft caps, other devices   scores are materialized a few MiB at a time, and recomputed in
                               backward (as Dao et al., arXiv 2205.14135, section 3.1)

It is one operator so that activation checkpointing can save its output and compilers skip it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

ROWS: Final = (64, 256)
"""Queries of a window's block: fewer are slow, more compute scores outside of the window."""
SCORES: Final = 2**22
"""Scores that are materialized at once: 16 MiB in fp32."""


class Part(NamedTuple):
    """`times` blocks of queries (rows), each with the keys up to its last row.

    Each block begins `step` tokens after the one before it; `window` 0 is none.
    """

    rows_from: int
    rows: int
    keys_from: int
    keys: int
    step: int
    times: int
    window: int

    def queries(self, heads: Tensor) -> Tensor:
        """Return the queries of all blocks of `heads` (H, N, d): a view (times, H, rows, d)."""
        return _blocks(heads, self.rows_from, self.rows, self.step, self.times)

    def key_blocks(self, heads: Tensor) -> Tensor:
        """Return the keys of all blocks, overlapping with a window: a view (times, K, keys, d)."""
        return _blocks(heads, self.keys_from, self.keys, self.step, self.times)

    def add(self, heads: Tensor, gradients: Tensor) -> None:
        """Add gradients (times, K, keys, d) of the blocks to `heads` (K, N, d)."""
        for start, gradient in zip(range(self.times), gradients, strict=True):
            place = self.keys_from + start * self.step
            heads[:, place : place + self.keys] += gradient

    def mask(self, device: torch.device) -> Tensor:
        """Return (rows, keys) bool: which keys are masked for each row."""
        row = torch.arange(self.keys - self.rows, self.keys, device=device)[:, None]
        back = row - torch.arange(self.keys, device=device)
        return (back < 0) | (back >= (self.window or self.keys))


def _blocks(heads: Tensor, start: int, length: int, step: int, count: int) -> Tensor:
    of_head, of_token, of_number = heads.stride()  # one operator: a step makes a thousand of them
    return heads.as_strided(
        (count, len(heads), length, heads.shape[2]),
        (step * of_token, of_head, of_token, of_number),
        heads.storage_offset() + start * of_token,
    )


def parts(bounds: list[int], window: int) -> Iterator[Part]:
    """Yield the blocks of all documents, which lie between neighbours of `bounds`."""
    for length, group in groupby(pairwise(bounds), lambda span: span[1] - span[0]):
        starts = [start for start, _ in group]
        if not length:  # an empty document that pads `bounds`
            continue
        if not 0 < window < length:
            yield Part(starts[0], length, starts[0], length, length, len(starts), 0)
            continue
        rows = min(max(window, ROWS[0]), ROWS[1])
        for start in starts:
            yield Part(
                start, window, start, window, window, 1, 0
            )  # these attend to all before them
            whole, left = divmod(length - window, rows)
            if whole:
                yield Part(start + window, rows, start, window + rows, rows, whole, window)
            if left:
                at = start + whole * rows
                yield Part(at + window, left, at, window + left, left, 1, window)


def _split_rows(part: Part, heads: int) -> Iterator[Part]:
    """Yield blocks of so few rows that their scores are about SCORES at most."""
    for block in range(part.times):
        first, keys_from = (at + block * part.step for at in (part.rows_from, part.keys_from))
        rows = max(16, SCORES // (heads * part.keys))
        for start in range(first, first + part.rows, rows):
            end = min(start + rows, first + part.rows)
            seen = max(keys_from, start + 1 - part.window if part.window else keys_from)
            yield Part(start, end - start, seen, end - seen, end - start, 1, part.window)


def _exact(tensor: Tensor) -> torch.dtype:
    """Return the dtype of sums over a tensor: fp32, or fp64."""
    return torch.promote_types(tensor.dtype, torch.float32)


@torch.library.custom_op("unfrozen::documents", mutates_args=())
def documents(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor,
    scale: float,
    window: int = 0,
    cap: float = 0.0,
    sinks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the attention of query (B, H, N, d) to key and value (B, K, N, d) within documents.

    The documents of each sequence lie between neighbours of `bounds` (D + 1,). A token attends to
    itself and earlier tokens, `window` in all; a score becomes `cap` · tanh(score / cap). 0 is no
    window, no cap. A head's sink (H,) is one more score of each row, whose value is 0. Returns
    (B, N, H, d) and the log-sum-exp of the scores (B, N, H).
    """
    rows, heads, tokens, width = query.shape
    output = query.new_empty(rows, tokens, heads, width)
    sums = query.new_empty(rows, tokens, heads, dtype=_exact(query))
    kernel = _forward if query.device.type == "cpu" and not cap else _materialized
    for row in range(rows):
        of_row = query[row], key[row], value[row]
        out, lse = output[row].transpose(0, 1), sums[row].T  # (H, N, d), (H, N)
        for part in parts(bounds.tolist(), window):
            kernel(part, *of_row, out, lse, scale, cap)
    if sinks is None:
        return output, sums
    share, total = sink_shares(sums, sinks)
    return output.mul_(share), total


def sink_shares(sums: Tensor, sinks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share (…, H, 1) that sinks (H,) leave to the keys, and all scores' log-sum-exp.

    `sums` (…, H) is that of the keys' scores. A backward kernel that is given the new one, and the
    output times the share, computes the right gradients of query, key and value: it reads the
    shares of the keys off the one, and the sum of all shares' gradients, to which a sink adds 0,
    off the other.
    """
    total = torch.logaddexp(sums, sinks.float())
    return (sums - total).exp_()[..., None], total


def sinks_gradient(gradient: Tensor, output: Tensor, sums: Tensor, sinks: Tensor) -> Tensor:
    """Return the gradient (H,) of sinks from that of an output (…, H, d) without their share.

    `sums` (…, H) are the log-sum-exp of all scores.
    """
    inner = (gradient.float() * output.float()).sum(-1)  # (…, H)
    share = (sinks.float() - sums).exp_()
    return share.mul_(inner).flatten(0, -2).sum(0).neg_().to(sinks.dtype)


_FORWARD: Final = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_BACKWARD: Final = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _mask_arguments(part: Part, like: Tensor) -> dict[str, Any]:
    """Return the arguments of the CPU kernel that mask keys."""
    if not part.window:
        return {"is_causal": True}
    hidden = part.mask(like.device)
    mask = like.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
    return {"is_causal": False, "attn_mask": mask}


def _forward(
    part: Part, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float, _: float
) -> None:
    given = part.queries(q), part.key_blocks(k), part.key_blocks(v)
    found, sums = _FORWARD(*given, 0.0, **_mask_arguments(part, q), scale=scale)
    part.queries(out).copy_(found)
    part.queries(lse[..., None]).copy_(sums[..., None])


def _scores(part: Part, q: Tensor, k: Tensor, scale: float, cap: float) -> tuple[Tensor, Tensor]:
    """Return scores (K, H/K, rows, keys) in fp32, and the derivative of a cap."""
    groups = q.shape[0] // k.shape[0]
    rows, keys = part.queries(q)[0], part.key_blocks(k)[0]  # (H, rows, d), (K, keys, d)
    joined = rows.reshape(len(keys), groups * part.rows, -1)
    found = (joined @ keys.transpose(1, 2)).float().mul_(scale)
    slope = found.new_empty(())
    if cap:
        found = found.div_(cap).tanh_()
        slope = 1 - found.square()
        found.mul_(cap)
    found = found.unflatten(1, (groups, part.rows))
    return found.masked_fill_(part.mask(q.device), -torch.inf), slope


def _materialized(
    whole: Part, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float, cap: float
) -> None:
    for part in _split_rows(whole, len(q)):
        scores, _ = _scores(part, q, k, scale, cap)
        sums = scores.logsumexp(dim=-1, keepdim=True)
        weights = scores.sub_(sums).exp_().to(v.dtype).flatten(1, 2)  # (K, H/K · rows, keys)
        found = weights @ part.key_blocks(v)[0]
        rows = slice(part.rows_from, part.rows_from + part.rows)
        out[:, rows] = found.reshape(len(q), part.rows, -1)
        lse[:, rows] = sums.reshape(len(q), part.rows)


@torch.library.custom_op("unfrozen::documents_backward", mutates_args=())
def documents_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    sums: Tensor,
    bounds: Tensor,
    scale: float,
    window: int,
    cap: float,
    sinks: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of query, key, value and sinks from that of `documents`' output.

    Where several blocks attend to a key, its gradients are summed in fp32. Without sinks the last
    one is empty.
    """
    exact = _exact(key) if window or cap else key.dtype
    by_query = torch.empty_like(query)
    by_key, by_value = (torch.zeros_like(t, dtype=exact) for t in (key, value))
    kernel = _backward if query.device.type == "cpu" and not cap else _materialized_backward
    for row in range(len(query)):
        found = by_query[row], by_key[row], by_value[row]
        of_row = query[row], key[row], value[row]
        known = (gradient[row].transpose(0, 1), output[row].transpose(0, 1), sums[row].T)
        for part in parts(bounds.tolist(), window):
            kernel(part, found, of_row, known, scale, cap)
    if sinks is None:
        by_sinks = query.new_empty(0)
    else:
        by_sinks = sinks_gradient(gradient, output, sums, sinks)
    return by_query, by_key.to(key.dtype), by_value.to(value.dtype), by_sinks


_Three = tuple[Tensor, Tensor, Tensor]


def _backward(
    part: Part, found: _Three, of_row: _Three, known: _Three, scale: float, _: float
) -> None:
    q, k, v = of_row
    given = part.queries(q), part.key_blocks(k), part.key_blocks(v)
    gradient, output = (part.queries(t) for t in known[:2])
    sums = part.queries(known[2][..., None])[..., 0]
    new = _BACKWARD(gradient, *given, output, sums, 0.0, **_mask_arguments(part, q), scale=scale)
    part.queries(found[0]).copy_(new[0])
    for whole, piece in zip(found[1:], new[1:], strict=True):
        if part.step == part.keys and not part.window:
            part.key_blocks(whole).add_(piece)
        else:
            part.add(whole, piece)


def _materialized_backward(
    whole: Part, found: _Three, of_row: _Three, known: _Three, scale: float, cap: float
) -> None:
    q, k, v = of_row
    groups = len(q) // len(k)
    for part in _split_rows(whole, len(q)):
        scores, slope = _scores(part, q, k, scale, cap)
        rows, keys, values = part.queries(q)[0], part.key_blocks(k)[0], part.key_blocks(v)[0]
        gradient, output = (part.queries(t)[0] for t in known[:2])
        sums = part.queries(known[2][..., None])[0]  # (H, rows, 1)
        weights = scores.sub_(sums.unflatten(0, (-1, groups))).exp_().flatten(1, 2)
        inner = (gradient.float() * output.float()).sum(-1, keepdim=True)
        shape = (len(k), groups * part.rows, -1)
        incoming = gradient.reshape(shape)
        part.add(found[2], (weights.to(v.dtype).transpose(1, 2) @ incoming)[None])
        change = (incoming @ values.transpose(1, 2)).float().sub_(inner.reshape(shape))
        change = change.mul_(weights).mul_(scale)
        change = (change.mul_(slope) if cap else change).to(q.dtype)
        part.queries(found[0])[0].copy_((change @ keys).reshape(rows.shape))
        part.add(found[1], (change.transpose(1, 2) @ rows.reshape(shape))[None])


@documents.register_fake
def _(query: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    rows, heads, tokens, width = query.shape
    output = query.new_empty(rows, tokens, heads, width)
    return output, query.new_empty(rows, tokens, heads, dtype=_exact(query))


@documents_backward.register_fake
def _(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *others: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del gradient
    sinks = others[-1]
    by_sinks = query.new_empty(0) if sinks is None else torch.empty_like(sinks)
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), by_sinks


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, bounds, *ctx.settings, sinks = inputs
    ctx.save_for_backward(query, key, value, *output, bounds, sinks)


def _differentiate(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Any, ...]:
    *saved, sinks = ctx.saved_tensors
    *found, by_sinks = documents_backward(gradient, *saved, *ctx.settings, sinks)
    return (*found, None, None, None, None, None if sinks is None else by_sinks)


documents.register_autograd(_differentiate, setup_context=_save_for_backward)
