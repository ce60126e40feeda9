"""What is freed and added inside a layer while it is differentiated, at its highest points."""

from __future__ import annotations

from typing import Final, NamedTuple

from unfrozen.memory.activations import norm_bytes, softmax_point
from unfrozen.memory.adapters import reads_product
from unfrozen.memory.experts import experts_working
from unfrozen.memory.flow import Flow
from unfrozen.model import ModelConfig

_LOW_WIDTH: Final = {"fp8": 1.0, "int8": 1.0, "mxfp8": 1 + 1 / 32, "nvfp4": 1 / 2 + 1 / 16}
"""Bytes of one number with its share of a scale: one byte for 32 numbers in mxfp8 (OCP
Microscaling Formats 1.0, section 5.2), for 16 in nvfp4 (arXiv 2509.25149, section 2); those of fp8
and int8 belong to a tensor or a row, and vanish."""


class Working(NamedTuple):
    """A point inside a layer: the piece it adds, bytes a token freed and added, how many parameters
    of the layer have their gradient, and bytes that it adds whatever the tokens.
    """

    piece: str
    freed: int
    added: int
    reached: int
    fixed: int = 0


def feed_forward_size(model: ModelConfig) -> int:
    """Parameters of a dense feed-forward part."""
    a = model.architecture
    return (3 if a.gated else 2) * a.ffn * a.hidden


def low_casts(model: ModelConfig, compute: str, tokens: int) -> int:
    """Bytes of the factors of the last product of a feed-forward part, cast to few bits for its
    backward pass: gradient and weight, then gradient and input. 0 where products read 16 bits.
    """
    a, width = model.architecture, _LOW_WIDTH.get(compute, 0.0)
    ffn = a.experts.ffn * a.experts.per_token if a.experts else a.ffn
    return round(width * max(a.hidden * (tokens + ffn), tokens * (a.hidden + ffn)))


def working_points(
    model: ModelConfig, flow: Flow, whole_ranks: int = 1, layer: int = -1
) -> list[Working]:
    """Those of a layer, counted from the first.

    In the feed-forward part the incoming gradient and those of its products are added, the first
    of which takes the place of the product it frees.
    """
    a = model.architecture
    if a.is_sparse(layer % a.layers):
        points = experts_working(a, flow, whole_ranks)
        return [Working("feed_forward", *point) for point in points]
    # a product is differentiated by both of its factors: that with the gate, and in GPT-2's
    # gelu, which is written out, that with 1 + tanh
    wide = (2 if a.gated or a.activation == "gelu_new" else 1) * a.ffn
    after = norm_bytes(a, flow, a.hidden) if a.norm_places != "pre" else 0
    added = flow.compute * (a.hidden + wide) + (flow.compute - _product_width(flow)) * a.ffn
    found = [Working("feed_forward", after, added, a.hidden * a.ffn)]
    if after:  # the norm after the feed-forward part comes first, while all of that is there
        found.append(Working("norm", 0, (16 + flow.stream) * a.hidden // whole_ranks, 0))
    if flow.kernels == "fused_block":  # all gradients of its weights, the input's in fp32
        by_input = 4 if flow.compute == 4 else 4 + flow.compute
        incoming = flow.compute + (flow.stream if flow.autocast else 0)  # the residual's, too
        added = (by_input + incoming) * a.hidden + flow.compute * wide
        found = [Working("feed_forward", 0, added, feed_forward_size(model))]
    if flow.adapters and flow.adapters.width > flow.compute and flow.kernels == "eager":
        found += _casting(model, flow)
    if flow.attention == "eager" and flow.kernels != "fused":
        freed, added = softmax_point(a, flow)
        left = a.hidden * (a.q_width + 2 * a.kv_width)
        found.append(Working("scores", freed, added, model.layer_parameters(0) - left))
    return found


def _casting(model: ModelConfig, flow: Flow) -> list[Working]:
    """Adapters that are wider than the layer's products, where these are made again and after.

    Before the last product both terms of another, and their sum, are there, all as wide as the
    adapter unless autocast narrows them; at the last one its input, the wide copy of that which
    autocast casts in turn, and its output. Beside them are the gradient that waits, in as many
    precisions as it is read, the stream (in fp32 a norm keeps it) and its norm. Then the gradient
    by the adapter's input is as wide as that input.
    """
    a, adapters, c, stream = model.architecture, flow.adapters, flow.compute, flow.stream
    assert adapters is not None
    reads, waits = adapters.reads, 2 * stream + (stream if stream < 4 else 0)
    if adapters.down:  # scaled, and, unless no cast is needed, narrowed for the frozen product
        waits += reads + (c if stream > reads or reads > c else 0)
    found = []
    if adapters.up:
        freed = reads + int(adapters.drops) if adapters.down else 0
        terms = c + reads + (0 if adapters.cast else reads)
        found.append((freed * a.ffn, terms * a.ffn + waits * a.hidden))
    if adapters.down:
        wide = adapters.width if adapters.cast else 0
        found.append((0, (c + wide) * a.ffn + (waits + c) * a.hidden))
        found.append((0, reads * a.ffn + (c + stream) * a.hidden))
    return [Working("feed_forward", freed, added, 0) for freed, added in found]


def _product_width(flow: Flow) -> int:
    """Bytes of a number of what is kept of the input of the last product, and freed by it."""
    adapters = flow.adapters
    if adapters is None or reads_product(flow):
        return flow.compute
    return adapters.reads + int(adapters.drops) if adapters.down else 0
