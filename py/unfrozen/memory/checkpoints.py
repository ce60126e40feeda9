"""Activation checkpointing: what stays of a layer, and what it shares with the layer made again.

In the backward pass a layer is made again beside what was kept of it. Some of that is the same
tensor twice: the layer's input where the first norm reads it as it is, the products that selective
checkpointing kept where something saves them as they are. They are counted once, and a kept product
that nothing reads any more (q, once it is rotated) is gone when the layer is complete.
"""

from __future__ import annotations

from functools import lru_cache

from unfrozen.memory.activations import layer_bytes
from unfrozen.memory.attention import qkv_numbers, scores_items
from unfrozen.memory.flow import Flow
from unfrozen.model import Architecture


@lru_cache(maxsize=4096)
def selective_bytes(
    a: Architecture, flow: Flow, whole_ranks: int = 1, sparse: bool = False
) -> float:
    """Bytes a token that one layer keeps under selective checkpointing.

    Eager attention recomputes its scores (Korthikanti et al., section 5). Otherwise every second
    matrix product and the attention's output are kept, the policy of torchtitan: q, v, the gate and
    the layer's last product, beside the layer's input. Of a `sparse` layer q, v and what is counted
    by `_routed`; grouped products are not counted among them, and made again.
    """
    if flow.attention == "eager":
        scores = sum(item.size for item in scores_items(a, flow))
        return layer_bytes(a, flow, sparse, whole_ranks) - scores
    q, k, c = a.q_width, a.kv_width, flow.compute
    if sparse:
        numbers = q + k + q + _routed(a)
        return c * numbers + 4 * a.heads + flow.stream * a.hidden / whole_ranks
    inner = q + 2 * k + (2 if a.gated else 1) * a.ffn if a.fused_projections else q + k + a.ffn
    whole = flow.stream * a.hidden + (0 if a.fused_projections else c * a.hidden)
    return c * (inner + q) + 4 * a.heads + whole / whole_ranks


@lru_cache(maxsize=4096)
def shared_bytes(
    a: Architecture, flow: Flow, kind: str, whole_ranks: int = 1, sparse: bool = False
) -> float:
    """Bytes a token of what checkpointing of this `kind` kept that are not there a second time
    once the layer is made again, the same tensors or gone.
    """
    if kind == "selective" and flow.attention == "eager":
        return selective_bytes(a, flow, whole_ranks, sparse)
    entrance = flow.stream * a.hidden / whole_ranks if keeps_input(a, flow) else 0
    if kind == "full":
        return entrance
    q, k, c = a.q_width, a.kv_width, flow.compute
    if sparse:  # the experts' products are made again, the router's scores are saved as they are
        return entrance + c * (q + k + q + _routed(a)) + 4 * a.heads
    products = q + k + a.ffn  # q is gone; v and the gate are saved as they are
    if a.fused_projections:
        products = q + 2 * k + (2 if a.gated else 1) * a.ffn
    numbers, _ = qkv_numbers(a, flow)
    if not a.fused_projections and numbers == 3 * q != q + 2 * k:
        products -= k  # copies for every head are saved instead
    return entrance + c * (products + q) + 4 * a.heads


def _routed(a: Architecture) -> int:
    """Numbers a token of every second product from the fifth on, the order of transformers: the
    router's scores; with a shared expert its gate, its last product and the gate of the whole.
    """
    experts = a.experts
    assert experts is not None
    if experts.shared_ffn:
        return experts.shared_ffn + a.hidden + 1
    return experts.count


def keeps_input(a: Architecture, flow: Flow) -> bool:
    """Whether the first operation of a layer saves the layer's input itself, not a wider copy."""
    if flow.kernels != "eager":
        return True
    if a.norm_places == "post":
        return not flow.autocast
    return a.norm == "layer" or flow.stream == 4
