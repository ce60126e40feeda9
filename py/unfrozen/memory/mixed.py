"""Layers that hold something else than attention, or no feed-forward part: what they keep.

Latent attention and LFM2's convolution are read off autograd in transformers 5.24 and compared with
a real forward pass, as the items of `activations` are. State spaces and the delta rule are those
of the kernels that training uses (mamba_ssm, flash-linear-attention), which save their inputs and
make the rest again: mamba_ssm ops/triton/ssd_combined.py, fla ops/gated_delta_rule/chunk.py. They
are estimates.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from unfrozen.memory.activations import layer_bytes, layer_items, norm_bytes
from unfrozen.memory.attention import attention_items
from unfrozen.memory.checkpoints import selective_bytes, shared_bytes
from unfrozen.memory.flow import Flow, Item
from unfrozen.model import Architecture
from unfrozen.model.mixers import Absent, Convolution, Delta, Dual, Latent, Mixer, Selective


def is_plain(a: Architecture) -> bool:
    """Whether a layer is attention and a feed-forward part, as `activations` knows it."""
    return a.mixer is None and a.feeds


@lru_cache(maxsize=4096)
def items_of(a: Architecture, flow: Flow, sparse: bool = False) -> tuple[Item, ...]:
    """What one layer of any kind keeps for its backward pass, in bytes a token."""
    if is_plain(a):
        return layer_items(a, flow, sparse)
    norms = a.qk_norm if a.beside or a.mixer is None else "none"
    whole = replace(a, mixer=None, feeds=True, beside=False, qk_norm=norms)
    inside = {item.label for item in attention_items(a, flow)}
    inside |= {"q, k, v and attention output"}
    found = layer_items(whole, flow, sparse)
    kept = [item for item in found if a.beside or item.label not in inside]
    if not a.feeds or isinstance(a.mixer, Absent):
        kept = [_halved(item) for item in kept if a.feeds or not _feeds(item)]
    mixed = mixer_items(a.mixer, a, flow) if a.mixer else ()
    return tuple(item for item in (*kept, *mixed) if item.size)


def _feeds(item: Item) -> bool:
    words = ("feed-forward", "expert", "routing", "copies for the experts")
    return any(word in item.label for word in words)


def _halved(item: Item) -> Item:
    """One norm, and one input, of the two that a whole layer has."""
    if "norm" in item.label or item.label == "inputs of the linear layers":
        return item._replace(size=item.size // 2, formula=f"({item.formula}) / 2")
    return item


@lru_cache(maxsize=4096)
def bytes_of(a: Architecture, flow: Flow, sparse: bool = False, whole_ranks: int = 1) -> float:
    """Bytes a token that one layer of any kind keeps."""
    if is_plain(a):
        return layer_bytes(a, flow, sparse, whole_ranks)
    found = items_of(a, flow, sparse)
    return sum(item.size / whole_ranks if item.whole else item.size for item in found)


def selective_of(a: Architecture, flow: Flow, whole_ranks: int = 1, sparse: bool = False) -> float:
    """Bytes a token of one layer under selective checkpointing; of a mixer its input and output."""
    if is_plain(a):
        return selective_bytes(a, flow, whole_ranks, sparse)
    return (flow.stream + flow.compute) * a.hidden / whole_ranks


def shared_of(
    a: Architecture, flow: Flow, kind: str, whole_ranks: int = 1, sparse: bool = False
) -> float:
    """What of a checkpointed layer is there once when it is made again."""
    if is_plain(a):
        return shared_bytes(a, flow, kind, whole_ranks, sparse)
    return shared_bytes(replace(a, mixer=None, feeds=True), flow, "full", whole_ranks, sparse)


def mixer_items(mixer: Mixer, a: Architecture, flow: Flow) -> tuple[Item, ...]:
    """What stands in place of attention keeps; the input of its first product is counted apart."""
    if isinstance(mixer, Latent):
        return _latent(mixer, a, flow)
    if isinstance(mixer, Convolution):
        return _convolution(mixer, flow)
    if isinstance(mixer, Delta):
        return _delta(mixer, flow)
    if isinstance(mixer, Dual):
        return _dual(mixer, flow)
    if isinstance(mixer, Selective):
        return _selective(mixer, flow)
    return ()


def _latent(m: Latent, a: Architecture, flow: Flow) -> tuple[Item, ...]:
    """Compressed vectors with their norms; then q and k of every head, put together from parts with
    and without positions, the product that holds values and keys, and the output.
    """
    c, narrow = flow.compute, replace(flow, stream=flow.compute)
    beside = m.rope if c == 4 else 0  # a wider copy of the compressed part leaves the rest behind
    size = norm_bytes(a, narrow, m.kv_rank) + 4 * beside + c * m.kv_rank
    if m.q_rank:
        size += norm_bytes(a, narrow, m.q_rank) + c * m.q_rank
    heads, d = m.heads, m.nope + m.rope
    eager = flow.attention == "eager"
    values = m.value if eager else m.nope + m.value  # a view of the product, or a copy
    scores = flow.seq_len * heads
    outputs = 1 if eager or flow.packed else 2  # a copy is made where the layout differs
    found = [
        Item("compressed queries, keys and values", "norms and inputs of r_q and r_kv", size, True),
        Item("q, k and v", f"{c}·a·(2·(d_n + d_r) + d_n + d_v)", c * heads * (2 * d + values)),
        Item("attention output", f"{c}·a·d_v", c * heads * m.value * outputs),
    ]
    if eager:
        upcast = 4 * scores if c == 2 else 0
        return (*found, Item("attention weights", f"{c}·a·s", c * scores + upcast))
    return (*found, Item("log-sum-exp of the scores", "4·a", 4 * heads))


def _convolution(m: Convolution, flow: Flow) -> tuple[Item, ...]:
    """Three gates of one product, the gated input, what the convolution made, and the output."""
    c, s = flow.compute, flow.seq_len
    longer = m.width * (s + m.conv - 1) // s
    size = c * (3 * m.width + m.width + longer + m.width)
    return (Item("gated convolution", f"6·{c}·h", size),)


def _delta(m: Delta, flow: Flow) -> tuple[Item, ...]:
    """Inputs of the kernel: q, k and v before and after the convolution, gates, states a chunk."""
    c, chunk = flow.compute, 64
    mixed = 2 * m.keys + m.values
    states = 4 * m.value_heads * m.key_dim * m.value_dim // chunk
    gates = 3 * 4 * m.value_heads
    inner = 2 * mixed + m.values + 3 * m.values  # before and after, z, output, its norm and product
    return (
        Item("queries, keys and values of the delta rule", f"{c}·(2·(2k + v) + 4v)", c * inner),
        Item("gates and decays", "12·a", gates),
        Item("states of the chunks", "4·a·d_k·d_v / 64", states),
    )


def _dual(m: Dual, flow: Flow) -> tuple[Item, ...]:
    """Inputs of the kernel: x, B and C before and after the convolution, z, steps, states."""
    c = flow.compute
    inner = 2 * m.convolved + m.inner + m.inner + (m.inner if m.normed else 0)
    states = 4 * m.heads * m.head_dim * m.state // m.chunk
    return (
        Item("x, B, C, gate and output of the state space", f"{c}·(2·(i + 2gn) + 3i)", c * inner),
        Item("steps and decays", "8·a", 2 * 4 * m.heads),
        Item("states of the chunks", "4·i·n / chunk", states),
    )


def _selective(m: Selective, flow: Flow) -> tuple[Item, ...]:
    """Inputs of the kernel: x and z, x after the convolution, steps, B and C, its output."""
    c = flow.compute
    inner = 5 * m.inner + m.rank + 2 * m.state
    return (Item("x, gate, steps and output of the state space", f"{c}·(5i + r + 2n)", c * inner),)
