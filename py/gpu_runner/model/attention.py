"""Causal attention that never crosses a document, behind the attention interface of transformers.

Models of transformers look their attention up by name; `NAME` is ours. A packed sequence comes with
the bounds of its documents (`cu_seq_lens_q` in transformers). Each document then attends to itself
only: isolation is exact, and no score is computed only to be masked.

    CUDA, 16-bit                     PyTorch's variable-length FlashAttention, where the GPU has it
    CPU; windows; soft caps          our operator, see `gpu_runner.model.document_attention`
    anything else                    PyTorch's scaled_dot_product_attention, document by document

Sequences without bounds are padded on the right and need no mask either. Sliding windows count
within a document. A padding mask is refused: padding on the left would be ignored.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_runner.model.document_attention import documents
from unfrozen.model import ModelConfig
from unfrozen.runner import OWN_ATTENTION

NAME: Final = "unfrozen_documents"
WIDEST: Final = 256
OLDEST: Final = (8, 0)
SMALLER: Final = (((8, 6), (8, 9)), ((12, 0), (12, 1)))
"""Compute capabilities with too little shared memory for a backward of head sizes 193–224."""


def register() -> str:
    """Register our attention with transformers; return the name to load a model with."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _no_mask)
    return NAME


def arguments_for(shape: ModelConfig | None) -> dict[str, Any]:
    """Return the arguments that make a model of a known type attend within documents."""
    if shape is None or shape.architecture.model_type in OWN_ATTENTION:
        return {}
    return {"attn_implementation": register()}


def isolates(model: Any) -> bool:
    """Return whether this model keeps the documents of a packed sequence apart."""
    return getattr(model.config, "_attn_implementation", None) == NAME


def bounds_arguments(bounds: Tensor, longest: int, seen: Tensor | None = None) -> dict[str, Any]:
    """Return the arguments that give a model the bounds of the documents in a packed sequence.

    `seen` are the same bounds on the CPU, if `bounds` are on a GPU.
    """
    on_cpu = {} if seen is None or seen is bounds else {"seen_bounds": seen}
    return {
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
        **on_cpu,
    }


@contextmanager
def skip_packing_detection() -> Iterator[None]:
    """Keep transformers from searching position ids for packed documents, which waits for the GPU.

    Our attention is given their bounds; other models get padded sequences.
    """
    from transformers import masking_utils

    original = masking_utils.find_packed_sequence_indices
    masking_utils.find_packed_sequence_indices = lambda *_, **__: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = original


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
    seen_bounds: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Return the attention of query (B, H, T, d) to key and value (B, K, S, d), and no weights.

    The output is (B, T, H, d). With `cu_seq_lens_q` (D + 1,) int32, B is 1; `seen_bounds` are the
    same on the CPU. The arguments are those of transformers' attention interface.
    """
    del module, attention_mask
    if torch.is_autocast_enabled(
        query.device.type
    ):  # autocast covers PyTorch's attention, not ours
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    longest = max_length_q if cu_seq_lens_q is not None else key.shape[2]
    window = sliding_window if sliding_window is not None and sliding_window < longest else None
    cached = query.shape[2] < key.shape[2]
    bounds = cu_seq_lens_q if seen_bounds is None else seen_bounds
    limited = window is not None or softcap is not None
    if dropout or cached or (cu_seq_lens_q is None and not limited):
        given = (query, key, value, scale, dropout, window, softcap)
        return _attend_each(*given, bounds=bounds), None
    if cu_seq_lens_q is not None and softcap is None and has_flash(query):
        return _varlen(query, key, value, cu_seq_lens_q, longest, scale, window), None
    if limited or query.device.type == "cpu":
        if bounds is None:
            bounds = torch.tensor([0, longest], dtype=torch.int32)
        limits = (window or 0, softcap or 0.0)
        return documents(query, key, value, bounds, scale, *limits)[0], None
    return _attend_each(query, key, value, scale, bounds=bounds), None


def has_flash(query: Tensor) -> bool:
    """Return whether PyTorch's variable-length FlashAttention takes these queries (…, d) here.

    It is compiled for compute capability 8.0 and later, 16-bit dtypes and head sizes up to 256 that
    are multiples of 8; its backward on `SMALLER` GPUs not for all of these (PyTorch chooses kernels
    in `sdp_utils.cpp`). Windows and grouped-query attention need the arguments of torch 2.12.
    """
    width = query.shape[-1]
    return (
        query.is_cuda
        and query.dtype in (torch.float16, torch.bfloat16)
        and width <= WIDEST
        and width % 8 == 0
        and _has_backward(width, _capability(query.device))
        and _kernel_arguments() >= {"scale", "window_size", "enable_gqa"}
    )


def _has_backward(width: int, capability: tuple[int, int]) -> bool:
    small = any(first <= capability <= last for first, last in SMALLER)
    return capability >= OLDEST and not (small and 192 < width <= 224)


def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


@cache
def _kernel_arguments() -> set[str]:
    """Return the arguments of this PyTorch's kernel; none where it has no such kernel."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return set()
    return set(inspect.signature(varlen_attn).parameters)


def _attend_each(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *settings: Any,
    bounds: Tensor | None,
) -> Tensor:
    """Return the attention of each document, or of padded sequences: (B, T, H, d)."""
    if bounds is None:
        return _attend_all(query, key, value, *settings).transpose(1, 2)
    lengths = _lengths(bounds)
    parts = (tensor.split(lengths, dim=2) for tensor in (query, key, value))
    found = [_attend_all(q, k, v, *settings) for q, k, v in zip(*parts, strict=True)]
    return torch.cat([part.transpose(1, 2) for part in found], dim=1)


def _lengths(bounds: Tensor) -> list[int]:
    """Return the tokens of each document."""
    found: list[int] = bounds.diff().tolist()
    return [length for length in found if length]


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


def _attend_all(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    dropout: float = 0.0,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Return the attention of a document, or of sequences after a cache: (B, H, T, d)."""
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
    """Return (T, S) bool: which positions the last `new` of `seen` positions attend to."""
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
