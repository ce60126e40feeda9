"""Attention: q, k, v, its output, and, where it is eager, scores of a heads for s positions."""

from __future__ import annotations

from unfrozen.memory.flow import Flow, Item
from unfrozen.model import Architecture


def attention_items(a: Architecture, flow: Flow) -> list[Item]:
    """What attention keeps: q, k, v, its output and what the scores leave."""
    c, q = flow.compute, a.q_width
    qkv, written = qkv_numbers(a, flow)
    found = [Item("q, k and v", f"{c}·({written})", c * qkv)]
    eager = flow.attention == "eager"
    reads_output = flow.adapters is None or flow.adapters.out or flow.keeps_inputs
    outputs = int(not eager or bool(reads_output))
    if a.copies_rotated and not eager and reads_output and not flow.packed:
        outputs += 1  # a copy is made where the layout differs
    found.append(Item("attention output", f"{outputs}·{c}·q", outputs * c * q))
    if a.gates_output:
        gates = 3 if c == 4 else 2  # in fp32 the norm of q saves a view of both
        found.append(Item("gate of the attention output", f"{gates}·{c}·q", gates * c * q))
    return found + scores_items(a, flow)


def scores_items(a: Architecture, flow: Flow) -> list[Item]:
    """What the scores leave: a mask and a number a row, or in eager attention the weights."""
    c, s, heads = flow.compute, flow.seq_len, a.heads
    if flow.attention != "eager":
        mask = c * s if flow.attention == "sdpa" and flow.kernels != "fused" else 0
        return [
            Item("mask, cast in each layer", f"{c}·s", mask),
            Item("log-sum-exp of the scores", "4·a", 4 * heads),
        ]
    if a.sinks:  # a column more, and the place of the largest score of each row
        return [Item("attention weights", f"{c}·a·(s + 1) + 8·a", (c * (s + 1) + 8) * heads)]
    upcasts = _upcasts_softmax(a, flow)
    found = [
        Item("attention weights", f"{c}·a·s", c * heads * s),
        Item("attention weights in fp32", "4·a·s", 4 * heads * s if upcasts else 0),
        Item("capped scores", f"{c}·a·s", c * heads * s if a.caps_scores else 0),
    ]
    if flow.dropout:
        noise = flow.noise(c)
        size = (noise + c) * heads * s
        found.append(Item("dropped weights and their mask", f"({noise} + {c})·a·s", size))
    return found


def softmax_working(a: Architecture, flow: Flow) -> tuple[int, int]:
    """Bytes a token freed, and added, where the softmax of eager attention is differentiated.

    By then the attention's output, the values and, where they were cast, the 16-bit weights are
    gone; the gradients of weights and scores exist at once.
    """
    c, scores = flow.compute, a.heads * flow.seq_len
    upcasts = _upcasts_softmax(a, flow)
    freed = 2 * c * a.q_width + (c * scores if upcasts else 0)
    return freed, 2 * (4 if upcasts else c) * scores + 2 * c * a.hidden


def qkv_numbers(a: Architecture, flow: Flow) -> tuple[int, str]:
    """Numbers kept of q, k and v, and how that is written."""
    q, k = a.q_width, a.kv_width
    repeated = k < q and a.kv_heads > 1  # one head is repeated by a view
    if flow.attention == "eager":
        repeated = k < q or flow.batched  # the batched product needs its own copies
    if repeated and flow.attention != "flash":
        return 3 * q, "3·q"
    # a view of the fused product keeps all of it alive, beside the rotated copies of q and k
    fused = flow.adapters is not None and flow.adapters.library == "litgpt"
    if fused and k == q and flow.kernels != "fused" and a.gated:
        return 2 * q + 3 * k, "2·q + 3·k"
    if a.fused_projections and a.copies_rotated and flow.kernels != "fused":
        return 2 * q + 3 * k, "2·q + 3·k"
    return q + 2 * k, "q + 2·k"


def _upcasts_softmax(a: Architecture, flow: Flow) -> bool:
    """GPT-2 and BERT leave the precision of the softmax to autocast, the others upcast always."""
    return flow.compute == 2 and (not a.positions or flow.autocast)
