"""Activations: what the forward pass keeps for the backward pass, in bytes a token.

Read off autograd: each item names the tensors that transformers' modules save (torch 2.13, eager
kernels), and the tests compare the sum with what a real forward pass saves. For fused kernels the
items are those of implementations that recompute norms and the activation function; without gates
and with dropout that is the 34 h of Korthikanti et al., arXiv 2205.05198, section 4.1. A fused
block (`gpu_runner.model.fused_blocks`) recomputes the outputs of norms and activation as well.

With fp32 weights and 16-bit compute (autocast) the residual stream and the norms stay fp32, and
every linear layer saves its own 16-bit copy of its input. A frozen linear layer saves no input:
only the adapters that read it do.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from unfrozen.errors import PlanError
from unfrozen.memory.adapters import adapter_inputs, inner_values, output_read, reads_product
from unfrozen.memory.attention import (
    attention_items,
    qkv_numbers,
    scores_items,
    softmax_working,
)
from unfrozen.memory.experts import experts_items
from unfrozen.memory.flow import Flow, Item
from unfrozen.model import Architecture
from unfrozen.model.mixers import Latent

# tensors of width f that the activation function and what surrounds it save, and how many of them
# are read by nothing but the weight of the last linear layer
_GATED_SAVES: Final = {
    "silu": (4, 1),
    "gelu": (4, 1),
    "gelu_pytorch_tanh": (4, 1),
    "relu": (3, 1),
    "gelu_new": (7, 1),
}
_PLAIN_SAVES: Final = {
    "gelu": (2, 1),
    "gelu_pytorch_tanh": (2, 1),
    "silu": (2, 1),
    "relu": (1, 0),
    "relu2": (2, 1),
    "gelu_new": (5, 1),
}


@lru_cache(maxsize=4096)
def layer_items(a: Architecture, flow: Flow, sparse: bool = False) -> tuple[Item, ...]:
    """What one layer keeps for its backward pass. PlanError where it is unknown."""
    if flow.kernels == "fused":
        items = [*_fused_items(a, flow), *scores_items(a, flow)]
        items += experts_items(a, flow) if sparse else [_fused_mlp(a, flow)]
    elif flow.kernels == "fused_block":
        items = [_block_norms(a, flow), *attention_items(a, flow)]
        items += experts_items(a, flow) if sparse else [_block_mlp(a, flow)]
    else:
        items = [_norms(a, flow), *_inputs(a, flow, sparse), *attention_items(a, flow)]
        items += experts_items(a, flow) if sparse else [_mlp(a, flow)]
    if a.told:
        items.append(_told(a, flow))
    if flow.adapters:
        items.append(inner_values(flow.adapters))
    if flow.dropout and (not a.gated or a.dropout):
        noise = flow.noise(flow.compute)
        items.append(Item("masks of two dropouts", f"2·{noise}·h", 2 * noise * a.hidden, True))
    return tuple(item for item in items if item.size)


@lru_cache(maxsize=4096)
def layer_bytes(a: Architecture, flow: Flow, sparse: bool = False, whole_ranks: int = 1) -> float:
    """Bytes a token that one layer keeps; `whole_ranks` cards share what is left whole."""
    items = layer_items(a, flow, sparse)
    return sum(item.size / whole_ranks if item.whole else item.size for item in items)


@lru_cache(maxsize=4096)
def before_experts_bytes(a: Architecture, flow: Flow, whole_ranks: int = 1) -> float:
    """Bytes a token that a sparse layer keeps up to its router."""
    items = experts_items(a, flow)
    after = sum(item.size / whole_ranks if item.whole else item.size for item in items)
    return layer_bytes(a, flow, True, whole_ranks) - after


def outside_items(a: Architecture, flow: Flow, checkpointed: bool, batch: int) -> list[Item]:
    """What is kept outside the layers: ids, mask, rotary tables, the last norm."""
    norm = Item("last norm", _norm_formula(a, flow, "h"), norm_bytes(a, flow, a.hidden), True)
    return [*beside_items(a, flow, checkpointed, batch), *([norm] if a.has_head else [])]


def beside_items(a: Architecture, flow: Flow, checkpointed: bool, batch: int) -> list[Item]:
    """What of it all layers read, so that it stays until the first of them is differentiated."""
    masks = {"flash": 0, "sdpa_masked": flow.compute}  # … or truth values, kept by a checkpoint
    mask = 0 if flow.kernels == "fused" else masks.get(flow.attention, int(checkpointed))
    turned = a.mixer.rope if isinstance(a.mixer, Latent) else a.head_dim
    rotary = 0 if a.positions else 2 * turned * flow.stream // batch
    noise = flow.noise(flow.stream) if a.positions and a.has_embedding else 0
    items = [  # a frozen embedding needs no ids
        Item("token ids", "8", 0 if flow.adapters or not a.has_embedding else 8),
        Item("attention mask", f"{mask}·s", mask * flow.seq_len),
        Item("rotary tables", f"2·{flow.stream}·d / b", rotary),
        Item("mask of the embedding's dropout", f"{noise}·h", noise * a.hidden, True),
        _told_before(a, flow),
    ]
    return [item for item in items if item.size]


def _told(a: Architecture, flow: Flow) -> Item:
    """What a layer keeps of what it is told: the gate before and after its activation function, and
    the inputs of both products, where these train.
    """
    c, trained = flow.compute, int(not flow.adapters)
    size = (2 + trained) * c * a.told + trained * c * a.hidden
    return Item(
        "gate of what the layer is told", f"{2 + trained}·{c}·p + {trained * c}·h", size, True
    )


def _told_before(a: Architecture, flow: Flow) -> Item:
    """What all layers are told, the norm that it came out of, and the embedding that it is of."""
    c, normalised, trained = flow.compute, 0 if flow.adapters else 4, int(not flow.adapters)
    each = f"L·(p·({c} + {4 + normalised}) + 4) + {trained * c}·h"
    size = a.layers * (a.told * (c + 4 + normalised) + 4) + trained * c * a.hidden
    return Item("what the layers are told", each, size if a.told else 0, True)


def norm_bytes(a: Architecture, flow: Flow, width: int, rows: int = 1) -> int:
    """Bytes a token of one norm over `width` numbers in `rows` groups, its output not counted.

    RMSNorm saves its fp32 input, the inverse root (4 bytes a row) and, for the gradient of its
    weight, the normalised values in the compute precision unless the weight multiplies in fp32.
    LayerNorm saves its input, the mean and the inverse deviation.
    """
    stream = flow.stream
    if a.norm == "layer":
        return stream * width + 2 * stream * rows
    if a.norm == "layer_fp32":
        return 4 * width + 8 * rows
    if a.norm == "layer_scaled":  # two differences to the mean, and what the weight multiplies
        return 12 * width + 4 * rows
    normalised = 4 if a.norm == "rms_fp32" else stream
    return (4 + (0 if flow.adapters else normalised)) * width + 4 * rows


def unreached_bytes(a: Architecture, flow: Flow) -> int:
    """Bytes a token that the first layer need not keep: no gradient goes into a frozen embedding,
    so what comes before the layer's first adapter is not differentiated.
    """
    adapters = flow.adapters
    if not adapters or a.norm_places == "post":
        return 0
    norm = norm_bytes(a, flow, a.hidden)
    if adapters.qkv or flow.kernels != "eager" or a.mixer or a.experts:
        return norm
    found = norm + sum(item.size for item in attention_items(a, flow))
    if adapters.out:  # which reads the output, or a copy of it
        return found - (flow.compute * a.q_width if output_read(flow) else 0)
    if a.norm_places != "pre" or a.parallel_residual:
        return found
    found += norm
    if not adapters.up:
        found += _mlp(a, flow).size - (flow.compute * a.ffn if reads_product(flow) else 0)
    return found


def unreached_weights(a: Architecture, flow: Flow) -> int:
    """Frozen weights of the first layer that nothing keeps: no gradient goes into their input."""
    adapters = flow.adapters
    if not adapters or a.norm_places == "post":
        return 0
    found = a.hidden * (a.q_width + 2 * a.kv_width)
    if adapters.qkv or a.mixer or a.experts:
        return found
    found += a.hidden * a.q_width
    if adapters.out:
        return found
    up = (2 if a.gated else 1) * a.hidden * a.ffn
    return found + up + (0 if adapters.up else a.hidden * a.ffn)


def _norm_formula(a: Architecture, flow: Flow, width: str) -> str:
    if a.norm == "layer":
        return f"{flow.stream}·{width} + {2 * flow.stream}"
    if a.norm == "layer_fp32":
        return f"4·{width} + 8"
    normalised = 4 if a.norm == "rms_fp32" else flow.stream
    return f"{4 if flow.adapters else 4 + normalised}·{width} + 4"


def _norms(a: Architecture, flow: Flow) -> Item:
    count = a.norms or (4 if a.norm_places == "sandwich" else 2)
    total = count * norm_bytes(a, flow, a.hidden)
    formula = f"{count}·({_norm_formula(a, flow, 'h')})"
    if a.parallel_residual and count > 1:  # both norms read, and save, the same tensor
        total -= flow.stream * a.hidden
        formula += f" − {flow.stream}·h"
    if a.qk_norm != "none":
        total += _qk_norm_bytes(a, flow)
        formula += " + norms of q and k"
    return Item("norms: input and normalised values", formula, total, True)


def _qk_norm_bytes(a: Architecture, flow: Flow) -> int:
    """The norms of queries and keys, which read 16-bit projections."""
    q_rows, k_rows = (a.heads, a.kv_heads) if a.qk_norm == "head" else (1, 1)
    narrow = replace(flow, stream=flow.compute)
    values = 4 * (a.kv_width + k_rows) if a.v_norm else 0
    both = norm_bytes(a, narrow, a.q_width, q_rows) + norm_bytes(a, narrow, a.kv_width, k_rows)
    return both + values


def _inputs(a: Architecture, flow: Flow, sparse: bool) -> list[Item]:
    """Inputs of the q, k, v and of the gate and up projections (those of o and down are below)."""
    if flow.adapters:
        return adapter_inputs(a, flow)
    copies = 1 if a.norms == 1 else 2
    if flow.autocast:
        readers = (1 if a.fused_projections else 3) + (2 if a.gated and not sparse else 1)
        if sparse and a.experts and a.experts.shared_ffn:  # gate, up and the gate of the whole
            readers += 3
        copies = 2 if a.fused_projections else readers
    size = copies * flow.compute * a.hidden
    return [Item("inputs of the linear layers", f"{copies}·{flow.compute}·h", size, True)]


def softmax_point(a: Architecture, flow: Flow) -> tuple[int, int]:
    """Bytes a token freed, and added, where the softmax of eager attention is differentiated: the
    feed-forward part and its norm are gone by then.
    """
    freed, added = softmax_working(a, flow)
    if flow.kernels == "fused_block":
        return freed + _block_mlp(a, flow).size + _block_norms(a, flow).size // 2, added
    freed += _mlp(a, flow).size + _norms(a, flow).size // 2 + flow.compute * a.hidden
    return freed, added


def _saves(a: Architecture) -> tuple[int, int]:
    saves = _GATED_SAVES if a.gated else _PLAIN_SAVES
    if a.activation not in saves:
        bound = f"known activation functions are {', '.join(saves)}"
        raise PlanError("model.hidden_act", a.activation, bound, "choose a model with one of them")
    return saves[a.activation]


def _mlp(a: Architecture, flow: Flow) -> Item:
    count, unread = _saves(a)
    count -= 0 if reads_product(flow) else unread
    c = flow.compute
    return Item("feed-forward part", f"{count}·{c}·f", count * c * a.ffn)


def feed_forward_bytes(a: Architecture, flow: Flow) -> int:
    """Bytes a token that the feed-forward part of a fused block keeps."""
    return _block_mlp(a, flow).size


def _fused_items(a: Architecture, flow: Flow) -> list[Item]:
    """Inputs of the norms and of the linear layers, q, k, v and the attention's output."""
    c, h = flow.compute, a.hidden
    adapters = flow.adapters
    inputs = 2 if adapters is None else int(adapters.qkv > 0) + int(adapters.up > 0)
    qkv, written = qkv_numbers(a, flow)
    return [
        Item("inputs of the norms", f"2·{flow.stream}·h", 2 * flow.stream * h, True),
        Item("inputs of the linear layers", f"{inputs}·{c}·h", inputs * c * h, True),
        Item("q, k, v and attention output", f"{c}·({written} + q)", c * (qkv + a.q_width)),
    ]


def _fused_mlp(a: Architecture, flow: Flow) -> Item:
    _saves(a)
    count = (3 if a.gated else 2) - (0 if reads_product(flow) else 1)
    c = flow.compute
    return Item("feed-forward part", f"{count}·{c}·f", count * c * a.ffn)


def _block_norms(a: Architecture, flow: Flow) -> Item:
    """Inputs of the norms and a number a row; what they return is made again."""
    size = 2 * (flow.stream * a.hidden + 4)
    formula = f"2·({flow.stream}·h + 4)"
    if a.qk_norm != "none":
        size += _qk_norm_bytes(a, flow)
        formula += " + norms of q and k"
    return Item("inputs of the norms", formula, size, True)


def _block_mlp(a: Architecture, flow: Flow) -> Item:
    """Gate and up; the activation function's result and the product are made again."""
    _saves(a)
    count, c = 2 if a.gated else 1, flow.compute
    return Item("feed-forward part", f"{count}·{c}·f", count * c * a.ffn)
