"""Causal attention that never crosses a document, for every model that asks by the same interface.

Transformers' models look their attention up by name; `NAME` is ours. A packed sequence brings the
bounds of its documents (`cu_seq_lens_q`, transformers' own name for them). Then every document is
attended to alone: exact isolation, and no score is computed only to be masked.

    CUDA, 16-bit     PyTorch's variable-length FlashAttention
    CPU              one operator of ours around PyTorch's CPU kernel: no copy of q, k, v
    anything else    PyTorch's scaled_dot_product_attention, document by document

Rows without bounds are padded on the right and need no mask either. Sliding windows count within a
document; soft caps (Gemma 2) are written out. There is never a mask tensor from outside: padding on
the left is refused, not ignored.
"""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

NAME: Final = "unfrozen_documents"


def register() -> str:
    """Make transformers know our attention; returns the name to load a model with."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _no_mask)
    return NAME


def isolates(model: Any) -> bool:
    """Whether this model keeps the documents of a packed sequence apart."""
    return getattr(model.config, "_attn_implementation", None) == NAME


def bounds_arguments(bounds: Tensor, longest: int) -> dict[str, Any]:
    """What a model is called with beside a packed sequence: where its documents begin and end."""
    return {
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def _no_mask(*_: Any, attention_mask: Tensor | None = None, **__: Any) -> None:
    if attention_mask is not None and not bool(attention_mask.all()):
        raise ValueError(f"{NAME} takes no padding mask: pad on the right, or pack")


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int = 0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface: query (B, H, T, d), key and value (B, K, S, d).

    Returns (B, T, H, d) and no weights. With `cu_seq_lens_q` (D + 1,) int32, B is 1.
    """
    del module, attention_mask
    if torch.is_autocast_enabled(query.device.type):  # it knows PyTorch's attention, not ours
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    longest = max_length_q if cu_seq_lens_q is not None else key.shape[2]
    window = sliding_window if sliding_window is not None and sliding_window < longest else None
    if cu_seq_lens_q is None:
        return _whole(query, key, value, scale, dropout, window, softcap).transpose(1, 2), None
    plain = not dropout and softcap is None
    if plain and query.is_cuda and query.dtype != torch.float32:
        return _varlen(query, key, value, cu_seq_lens_q, longest, scale, window), None
    if plain and window is None and query.device.type == "cpu":
        return documents(query, key, value, cu_seq_lens_q, scale)[0], None
    lengths = cu_seq_lens_q.diff().tolist()
    parts = zip(
        query.split(lengths, dim=2), key.split(lengths, dim=2), value.split(lengths, dim=2),
        strict=True,
    )  # fmt: skip
    found = [_whole(q, k, v, scale, dropout, window, softcap) for q, k, v in parts]
    return torch.cat([part.transpose(1, 2) for part in found], dim=1), None


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor,
    longest: int,
    scale: float,
    window: int | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (N, heads, d)
    left = -1 if window is None else window - 1
    found = varlen_attn(
        q, k, v, bounds, bounds, longest, longest,
        scale=scale, window_size=(left, 0), enable_gqa=q.shape[1] != k.shape[1],
    )  # fmt: skip
    assert isinstance(found, Tensor)
    return found.unsqueeze(0)


def _whole(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    dropout: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """One document, or a batch of rows; what is new may follow what is cached. (B, H, T, d)."""
    new, seen = query.shape[2], key.shape[2]
    shared = query.shape[1] != key.shape[1]
    if softcap is not None:
        return _capped(query, key, value, scale, dropout, window, softcap)
    mask = None
    if window is not None or 1 < new < seen:
        mask = _allowed(new, seen, window, query.device)
    causal = mask is None and new > 1
    return F.scaled_dot_product_attention(
        query, key, value, mask, dropout, causal, scale=scale, enable_gqa=shared
    )


def _allowed(new: int, seen: int, window: int | None, device: torch.device) -> Tensor:
    """(T, S) truth values: the last `new` of `seen` positions see themselves and what is before."""
    back = torch.arange(seen - new, seen, device=device)[:, None] - torch.arange(
        seen, device=device
    )
    return (back >= 0) & (back < (window or seen))


def _capped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    dropout: float,
    window: int | None,
    softcap: float,
) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * scale / softcap)  # (B, H, T, S)
    allowed = _allowed(scores.shape[2], scores.shape[3], window, scores.device)
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    return F.dropout(weights, dropout) @ value


@torch.library.custom_op("unfrozen::documents", mutates_args=())
def documents(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Causal attention within each document on a CPU: output (1, N, H, d), log-sum-exp (N, H).

    One operator, so that a checkpoint may keep it whole and a compiler need not look inside.
    """
    _, heads, tokens, width = query.shape
    output = query.new_empty(1, tokens, heads, width)
    sums = query.new_empty(tokens, heads, dtype=torch.float32)
    for start, end, length in _spans(bounds):
        q, k, v = (_batch(tensor[0, :, start:end], length) for tensor in (query, key, value))
        part, part_sums = _FORWARD(q, k, v, 0.0, True, scale=scale)
        output[0, start:end] = part.transpose(1, 2).flatten(0, 1)
        sums[start:end] = part_sums.transpose(1, 2).flatten(0, 1)
    return output, sums


_FORWARD: Final = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_BACKWARD: Final = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


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
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value from that of `documents`' output."""
    found = tuple(torch.empty_like(tensor) for tensor in (query, key, value))
    for start, end, length in _spans(bounds):
        q, k, v = (_batch(tensor[0, :, start:end], length) for tensor in (query, key, value))
        g, o = (_batch(t[0, start:end].transpose(0, 1), length) for t in (gradient, output))
        part = sums[start:end].unflatten(0, (-1, length)).transpose(1, 2)
        for whole, piece in zip(
            found, _BACKWARD(g, q, k, v, o, part, 0.0, True, scale=scale), strict=True
        ):
            _batch(whole[0, :, start:end], length).copy_(piece)
    return found[0], found[1], found[2]


def _spans(bounds: Tensor) -> list[tuple[int, int, int]]:
    """Start, end and length of neighbours of one length, which are attended to as a batch."""
    found = []
    for length, group in groupby(pairwise(bounds.tolist()), lambda span: span[1] - span[0]):
        spans = list(group)
        found.append((spans[0][0], spans[-1][1], length))
    return found


def _batch(heads: Tensor, length: int) -> Tensor:
    """Documents (D, H, length, d) of `heads` (H, D · length, d), a view."""
    return heads.view(heads.shape[0], -1, length, heads.shape[2]).transpose(0, 1)


@documents.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    del key, value, bounds, scale
    _, heads, tokens, width = query.shape
    output = query.new_empty(1, tokens, heads, width)
    return output, query.new_empty(tokens, heads, dtype=torch.float32)


@documents_backward.register_fake
def _(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    del gradient
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, bounds, ctx.scale = inputs
    ctx.save_for_backward(query, key, value, *output, bounds)


def _differentiate(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Any, ...]:
    query, key, value, output, sums, bounds = ctx.saved_tensors
    found = documents_backward(gradient, query, key, value, output, sums, bounds, ctx.scale)
    return (*found, None, None)


documents.register_autograd(_differentiate, setup_context=_keep)
