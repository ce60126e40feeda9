"""Causal attention that never crosses a document, behind the attention interface of transformers.

Models of transformers look their attention up by name; `NAME` is ours. A packed sequence comes with
the bounds of its documents (`cu_seq_lens_q` in transformers). Each document then attends to itself
only: isolation is exact, and no score is computed only to be masked.

    CUDA, 16-bit                     PyTorch's variable-length FlashAttention, where the GPU has it
    CPU; windows; caps; sinks        our operator, see `gpu_runner.model.document_attention`
    anything else                    PyTorch's scaled_dot_product_attention, document by document,
                                     its heads in groups: see `_attend_groups`

Sequences without bounds are padded on the right and need no mask either. Sliding windows and chunks
count within a document. What a model asks of its attention is computed or refused, never ignored:
keywords, masks, padding on the left, attention to later tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_runner.errors import ModelLoadError
from gpu_runner.model.document_attention import documents, sink_shares, sinks_gradient
from gpu_runner.model.replaced_here import ThreadReplacement
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
    AttentionMaskInterface.register(NAME, _mask)
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
    with _packing_detection().replaced():
        yield


@cache
def _packing_detection() -> ThreadReplacement:
    from transformers import masking_utils

    return ThreadReplacement(masking_utils, "find_packed_sequence_indices", lambda *_, **__: None)


_WINDOW: Final = "sliding_window_overlay"
_CHUNKS: Final = "chunked_overlay"
_PACKED: Final = "packed_sequence_mask_function"
_MASKS: Final = ("causal_mask_function", _WINDOW, _CHUNKS, _PACKED)
"""Functions in `masking_utils` of transformers whose masks our attention knows …"""
_WRAPPERS: Final = ("and_masks", "remap_positions_for_packed_sequence")
"""… and those that combine them."""


class Mask(NamedTuple):
    """What a layer attends to of the tokens before it: `window` tokens, or those of its chunk.

    `packed`: they are of several documents, whose bounds the layer must be given.
    """

    window: int | None = None
    chunk: int | None = None
    packed: bool = False

    def __getitem__(self, _: object) -> Any:
        """Return the mask of the last queries, as Gemma 4 asks it while it writes: the same."""
        return self


def _mask(
    *_: Any,
    attention_mask: Tensor | None = None,
    mask_function: Any = None,
    local_size: int | None = None,
    q_length: int = 0,
    kv_length: int = 0,
    q_offset: int = 0,
    kv_offset: int = 0,
    cache_position: Tensor | None = None,
    device: Any = None,
    **__: Any,
) -> Tensor | Mask | None:
    """Return what layers of one kind attend to, as `attend` takes it; None for all before it.

    Only chunks after a cache are a mask (T, S). Raises `ModelLoadError` for any other mask.
    """
    if attention_mask is not None and not bool(attention_mask.all()):
        raise ModelLoadError(f"{NAME} takes no padding mask: pad on the right, or pack.")
    if cache_position is not None:  # of transformers 5.0, in place of `q_length` and `q_offset`
        q_length, q_offset = len(cache_position), int(cache_position[0])
    kinds = set(_mask_kinds(mask_function))
    if unknown := kinds.difference(_MASKS):
        raise _refused(f"a mask by {', '.join(sorted(unknown))}")
    if _CHUNKS not in kinds or local_size is None or q_offset + q_length <= local_size:
        window = local_size if _WINDOW in kinds else None
        return Mask(window, packed=_PACKED in kinds) if kinds & {_WINDOW, _PACKED} else None
    if not q_offset:
        return Mask(chunk=local_size, packed=_PACKED in kinds)
    rows = torch.arange(q_offset, q_offset + q_length, device=device)[:, None]
    keys = torch.arange(kv_offset, kv_offset + kv_length, device=device)
    return (keys <= rows) & (keys // local_size == rows // local_size)


def _mask_kinds(function: Any) -> Iterator[str]:
    """Yield the names of the functions that a mask function of transformers is combined of."""
    if function is None:
        return
    name = getattr(function, "__qualname__", type(function).__name__).partition(".")[0]
    if name not in _WRAPPERS:
        yield name
        return
    for cell in function.__closure__:
        held = cell.cell_contents
        for part in held if isinstance(held, tuple) else (held,):
            if callable(part):
                yield from _mask_kinds(part)


def _refused(what: str) -> ModelLoadError:
    return ModelLoadError(
        f"this model gives its attention {what}, which the runner does not compute: another model"
        " would be trained. Give a model of another type, and please report this one."
    )


_OUTSIDE: Final = frozenset(
    {
        *("cu_seq_lens_k", "max_length_k"),  # those of the queries
        *("position_ids", "use_cache", "cache_position", "logits_to_keep"),
        *("num_items_in_batch", "return_dict", "output_hidden_states", "output_router_logits"),
    }
)
"""Keywords of a model's forward pass that models hand on, and that do not change attention."""


def _check_keywords(module: Any, is_causal: bool | None, others: dict[str, Any]) -> None:
    """Raise `ModelLoadError` for what would change attention and is not computed here."""
    asked = [name for name, value in others.items() if value is not None and name not in _OUTSIDE]
    if unknown := [name for name in asked if name != "output_attentions" or others[name]]:
        raise _refused(", ".join(sorted(unknown)))
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if not causal:
        raise _refused("tokens that come later")


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | Mask | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int = 0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    is_causal: bool | None = None,
    seen_bounds: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Return the attention of query (B, H, T, d) to key and value (B, K, S, d), and no weights.

    The output is (B, T, H, d). With `cu_seq_lens_q` (D + 1,) int32, B is 1; `seen_bounds` are the
    same on the CPU. `s_aux` (H,) are sinks. The arguments are those of transformers' attention
    interface, `attention_mask` is what `_mask` returns. Raises `ModelLoadError` for a keyword
    that it does not know.
    """
    _check_keywords(module, is_causal, others)
    if torch.is_autocast_enabled(
        query.device.type
    ):  # autocast covers PyTorch's attention, not ours
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    longest = max_length_q if cu_seq_lens_q is not None else key.shape[2]
    bounds = cu_seq_lens_q if seen_bounds is None else seen_bounds
    asked, mask = _split(attention_mask)
    if asked.packed and bounds is None:
        raise _refused("several documents without their bounds")
    if asked.chunk is not None:
        if bounds is None:
            bounds = torch.tensor([0, longest], dtype=torch.int32)
        bounds = _chunk_bounds(bounds, asked.chunk, longest)
        if cu_seq_lens_q is not None:
            cu_seq_lens_q = _chunk_bounds(cu_seq_lens_q, asked.chunk, longest)
        longest = min(longest, asked.chunk)
    window = sliding_window if asked.window is None else asked.window  # some models give one alone
    limits = _Limits(scale, window if window and window < longest else None, softcap, s_aux)
    if mask is not None and (bounds is not None or limits.any or mask.dtype != torch.bool):
        raise _refused("a mask of its own")
    if dropout or query.shape[2] < key.shape[2] or mask is not None:
        return _attend_each(query, key, value, limits, dropout, mask, bounds=bounds), None
    if cu_seq_lens_q is not None and softcap is None and has_flash(query):
        return _varlen(query, key, value, cu_seq_lens_q, longest, limits), None
    if limits.any or (bounds is not None and not _on_gpu(query)):
        if bounds is None:
            bounds = torch.tensor([0, longest], dtype=torch.int32)
        settings = scale, window or 0, softcap or 0.0, s_aux
        return documents(query, key, value, bounds, *settings)[0], None
    return _attend_each(query, key, value, limits, bounds=bounds), None


def _split(given: Tensor | Mask | None) -> tuple[Mask, Tensor | None]:
    """Return what a layer attends to, and a mask (T, S) if that says it."""
    return (Mask(), given) if isinstance(given, Tensor) else (given or Mask(), None)


class _Limits(NamedTuple):
    """What distinguishes attention from a plain causal softmax of scores times `scale`."""

    scale: float
    window: int | None = None
    softcap: float | None = None
    sinks: Tensor | None = None

    @property
    def any(self) -> bool:
        return any(limit is not None for limit in self[1:])


def _chunk_bounds(bounds: Tensor, chunk: int, longest: int) -> Tensor:
    """Return bounds of documents of at most `longest` tokens, cut into chunks; some are empty."""
    starts = torch.arange(0, longest, chunk, dtype=bounds.dtype, device=bounds.device)
    cut = torch.minimum(bounds[:-1, None] + starts, bounds[1:, None])
    return torch.cat((cut.flatten(), bounds[-1:]))


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
    limits: _Limits,
    dropout: float = 0.0,
    mask: Tensor | None = None,
    *,
    bounds: Tensor | None,
) -> Tensor:
    """Return the attention of each document, or of padded sequences: (B, T, H, d)."""
    if bounds is None:
        return _attend_all(query, key, value, limits, dropout, mask)
    lengths = _lengths(bounds)
    parts = (tensor.split(lengths, dim=2) for tensor in (query, key, value))
    found = [_attend_all(q, k, v, limits, dropout) for q, k, v in zip(*parts, strict=True)]
    return torch.cat(found, dim=1)


def _lengths(bounds: Tensor) -> list[int]:
    """Return the tokens of each document."""
    found: list[int] = bounds.diff().tolist()
    return [length for length in found if length]


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, limits: _Limits
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (N, heads, d)
    left = -1 if limits.window is None else limits.window - 1
    if limits.sinks is not None:
        settings = bounds, longest, limits.scale, left
        found = _VarlenWithSinks.apply(q, k, v, limits.sinks, *settings)  # type: ignore[no-untyped-call]
    else:
        found = varlen_attn(
            q, k, v, bounds, bounds, longest, longest,
            scale=limits.scale, window_size=(left, 0), enable_gqa=q.shape[1] != k.shape[1],
        )  # fmt: skip
    assert isinstance(found, Tensor)
    return found.unsqueeze(0)


class _VarlenWithSinks(torch.autograd.Function):
    """Variable-length FlashAttention (N, H, d), whose kernels know no sinks; see `sink_shares`.

    The kernel's output stays as it is: selective checkpointing keeps it.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor,
        bounds: Tensor, longest: int, scale: float, left: int,
    ) -> Tensor:  # fmt: skip
        from torch.nn.attention import varlen  # noqa: F401 (registers the operators)

        causal, window, gqa = left < 0, [left, 0], q.shape[1] != k.shape[1]
        output, sums, drawn = torch.ops.torch_attn._varlen_attn(
            q, k, v, bounds, bounds, longest, longest, causal, scale, window, gqa
        )
        share, total = sink_shares(sums.T, sinks)
        found: Tensor = (output * share).to(output.dtype)
        ctx.save_for_backward(q, k, v, sinks, found, total, bounds, drawn)
        ctx.settings = longest, causal, scale, window
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, sinks, output, total, bounds, drawn = ctx.saved_tensors
        longest, causal, scale, window = ctx.settings
        found = torch.ops.torch_attn._varlen_attn_backward(
            gradient.contiguous(), q, k, v, output, total.T.contiguous(), bounds, bounds,
            longest, longest, causal, drawn, scale, window,
        )  # fmt: skip
        by_sinks = sinks_gradient(gradient, output, total, sinks)
        return *found, by_sinks, None, None, None, None


def _attend_all(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    limits: _Limits,
    dropout: float = 0.0,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the attention of a document, or of sequences after a cache: (B, T, H, d)."""
    new, seen = query.shape[2], key.shape[2]
    if limits.softcap is not None or limits.sinks is not None:
        return _materialized(query, key, value, limits, dropout).transpose(1, 2)
    if mask is None and (limits.window is not None or 1 < new < seen):
        mask = _allowed(new, seen, limits.window, query.device)
    causal = mask is None and new > 1
    shared = query.shape[1] != key.shape[1]
    if shared and _on_gpu(query) and (mask is not None or not _takes_groups(query)):
        return _attend_groups(query, key, value, mask, dropout, causal, limits.scale)
    return F.scaled_dot_product_attention(
        query, key, value, mask, dropout, causal, scale=limits.scale, enable_gqa=shared
    ).transpose(1, 2)


def _on_gpu(query: Tensor) -> bool:
    return query.device.type != "cpu"


def _takes_groups(query: Tensor) -> bool:
    """Return whether FlashAttention, which takes fewer keys than queries, computes these here."""
    narrow = query.dtype in (torch.float16, torch.bfloat16) and query.shape[-1] <= WIDEST
    return narrow and query.is_cuda and _capability(query.device) >= OLDEST


def _attend_groups(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    causal: bool,
    scale: float,
) -> Tensor:
    """Return attention (B, T, H, d) with the K groups of heads as a batch.

    The heads of a group read the same keys by a stride of 0. PyTorch 2.12 takes its
    memory-efficient kernel for as many heads of keys as of queries alone, else the one that
    stores all scores (`sdp_utils.cpp`); copies of the keys would be saved for backward.
    """
    rows, groups = key.shape[:2]
    each = query.shape[1] // groups
    queries = query.unflatten(1, (groups, each)).flatten(0, 1)  # (B·K, H/K, T, d)
    keys, values = (one.flatten(0, 1)[:, None].expand(-1, each, -1, -1) for one in (key, value))
    found: Tensor = F.scaled_dot_product_attention(
        queries, keys, values, mask, dropout, causal, scale=scale
    )
    found = found.unflatten(0, (rows, groups))
    return found.permute(0, 3, 1, 2, 4).flatten(2, 3)  # (B, T, K, H/K, d) → (B, T, H, d)


def _allowed(new: int, seen: int, window: int | None, device: torch.device) -> Tensor:
    """Return (T, S) bool: which positions the last `new` of `seen` positions attend to."""
    back = torch.arange(seen - new, seen, device=device)[:, None] - torch.arange(
        seen, device=device
    )
    return (back >= 0) & (back < (window or seen))


def _materialized(
    query: Tensor, key: Tensor, value: Tensor, limits: _Limits, dropout: float
) -> Tensor:
    """Return attention by all of its scores (B, H, T, S): with dropout, or of a few new tokens."""
    groups = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    scores = query @ key.transpose(2, 3) * limits.scale
    if limits.softcap is not None:
        scores = limits.softcap * torch.tanh(scores / limits.softcap)
    allowed = _allowed(scores.shape[2], scores.shape[3], limits.window, scores.device)
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    if limits.sinks is not None:
        sinks = limits.sinks.to(scores.dtype).view(-1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat((scores, sinks), dim=-1)
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    return F.dropout(weights[..., : key.shape[2]], dropout) @ value
