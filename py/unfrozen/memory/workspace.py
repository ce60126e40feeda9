"""The workspace of a layer's backward pass: what is freed and allocated at its highest points."""

from __future__ import annotations

from typing import Final, NamedTuple

from unfrozen.memory.activations import norm_bytes, softmax_workspace_point
from unfrozen.memory.adapters import reads_product
from unfrozen.memory.experts import expert_workspace
from unfrozen.memory.layer_setup import LayerSetup
from unfrozen.model import ModelConfig

_LOW_WIDTH: Final = {"fp8": 1.0, "int8": 1.0, "mxfp8": 1 + 1 / 32, "nvfp4": 1 / 2 + 1 / 16}
"""Bytes of one number with its share of a scale: one byte for 32 numbers in mxfp8 (OCP
Microscaling Formats 1.0, section 5.2), for 16 in nvfp4 (arXiv 2509.25149, section 2); those of fp8
and int8 belong to a tensor or a row, and vanish."""


class WorkspacePoint(NamedTuple):
    """A point inside a layer.

    piece    the term of `points` that it adds to
    freed    bytes per token
    added    bytes per token
    reached  parameters of the layer whose gradients exist
    fixed    bytes that it adds whatever the number of tokens
    """

    piece: str
    freed: int
    added: int
    reached: int
    fixed: int = 0


def feed_forward_size(model: ModelConfig) -> int:
    """Return the number of parameters of a dense MLP."""
    a = model.architecture
    return (3 if a.gated else 2) * a.ffn * a.hidden


def low_casts(model: ModelConfig, compute: str, tokens: int) -> int:
    """Return the bytes of the low-precision casts of an MLP's last matmul in its backward pass.

    They are gradient and weight, then gradient and input; 0 where matmuls read 16 bits.
    """
    a, width = model.architecture, _LOW_WIDTH.get(compute, 0.0)
    ffn = a.experts.ffn * a.experts.per_token if a.experts else a.ffn
    return round(width * max(a.hidden * (tokens + ffn), tokens * (a.hidden + ffn)))


def workspace_points(
    model: ModelConfig, setup: LayerSetup, whole_ranks: int, layer: int
) -> list[WorkspacePoint]:
    """Return the workspace points of a layer, counted from the first.

    In the MLP the incoming gradient and those of its matmuls are added, the first
    of which takes the place of the product it frees.
    """
    a = model.architecture
    if a.is_sparse(layer):
        points = expert_workspace(a, setup, whole_ranks)
        return [WorkspacePoint("feed_forward", *point) for point in points]
    # a product is differentiated by both of its factors: that with the gate, and in GPT-2's
    # gelu, which is written out, that with 1 + tanh
    wide = (2 if a.gated or a.activation == "gelu_new" else 1) * a.ffn
    after = norm_bytes(a, setup, a.hidden) if a.norm_places != "pre" else 0
    added = setup.compute * (a.hidden + wide) + (setup.compute - _product_width(setup)) * a.ffn
    found = [WorkspacePoint("feed_forward", after, added, a.hidden * a.ffn)]
    if after:  # the norm after the MLP comes first, while all of that is there
        found.append(WorkspacePoint("norm", 0, (16 + setup.stream) * a.hidden // whole_ranks, 0))
    if setup.kernels == "fused_block":  # all gradients of its weights, the input's in fp32
        by_input = 4 if setup.compute == 4 else 4 + setup.compute
        incoming = setup.compute + (setup.stream if setup.autocast else 0)  # the residual's, too
        added = (by_input + incoming) * a.hidden + setup.compute * wide
        found = [WorkspacePoint("feed_forward", 0, added, feed_forward_size(model))]
    if setup.adapters and setup.adapters.width > setup.compute and setup.kernels == "eager":
        found += _casting(model, setup)
    if setup.attention == "eager" and setup.kernels != "fused":
        freed, added = softmax_workspace_point(a, setup)
        left = a.hidden * (a.q_width + 2 * a.kv_width)
        found.append(WorkspacePoint("scores", freed, added, model.layer_parameters(layer) - left))
    return found


def _casting(model: ModelConfig, setup: LayerSetup) -> list[WorkspacePoint]:
    """Return the points of adapters wider than the layer's matmuls, where these are recomputed and
    after.

    Before the last matmul both terms of another, and their sum, are there, all as wide as the
    adapter unless autocast narrows them; at the last one its input, the wide copy of that which
    autocast casts in turn, and its output. Beside them are the gradient that waits, in as many
    precisions as it is read, the stream (in fp32 a norm keeps it) and its norm. Then the gradient
    by the adapter's input is as wide as that input.
    """
    a, adapters, c, stream = model.architecture, setup.adapters, setup.compute, setup.stream
    assert adapters is not None
    reads, waits = adapters.reads, 2 * stream + (stream if stream < 4 else 0)
    if adapters.down:  # scaled, and, unless no cast is needed, narrowed for the frozen matmul
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
    return [WorkspacePoint("feed_forward", freed, added, 0) for freed, added in found]


def _product_width(setup: LayerSetup) -> int:
    """Return the bytes per number saved of the input of the last matmul, which it frees."""
    adapters = setup.adapters
    if adapters is None or reads_product(setup):
        return setup.compute
    return adapters.reads + int(adapters.drops) if adapters.down else 0
