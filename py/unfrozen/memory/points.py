"""Points of the forward or backward pass: bytes by named term.

`POINT_TERMS` gives the component of each term and how it is computed. Points are compared by their
sums, and the highest of a phase is its memory.
"""

from __future__ import annotations

from typing import Final, NamedTuple

Point = dict[str, int]


class PointTerm(NamedTuple):
    """A term of a point: its component, its label, how it is computed."""

    component: str
    label: str
    formula: str


POINT_TERMS: Final = {
    "gathered": PointTerm("gathered", "weights gathered for compute", "c · (root + layers)"),
    "grads": PointTerm("grads", "gradients", "bytes · reached"),
    "layers": PointTerm("activations", "saved by the layers", "T·L·saved"),
    "recomputed": PointTerm("activations", "one layer, recomputed", "T·saved"),
    "outside": PointTerm("activations", "saved outside the layers", "T·saved"),
    "in_flight": PointTerm("activations", "micro-batches in flight", "what each of them saves"),
    "head_input": PointTerm("activations", "input of the head", "c·T·h"),
    "loss": PointTerm("logits_loss", "loss and its backward pass", "see the loss"),
    "head": PointTerm("logits_loss", "gradients of the logits and the head's input", "c·T·(V + h)"),
    "held": PointTerm("logits_loss", "logits that the caller keeps alive", "bytes · T·V"),
    "routers": PointTerm("activations", "graphs of router auxiliary losses", "T·L·saved"),
    "casts": PointTerm("workspace", "16-bit copies of weights under autocast", "2 · matrices"),
    "folded": PointTerm("activations", "experts with their adapters added", "c · experts"),
    "norm": PointTerm("workspace", "backward pass of a norm", "5·4·T·h"),
    "feed_forward": PointTerm("workspace", "backward pass of the MLP", "c·T·(h + 2f)"),
    "low_casts": PointTerm(
        "workspace", "inputs of a matmul, cast to low precision", "width · T·(h + f)"
    ),
    "scores": PointTerm("workspace", "backward pass of the softmax", "2·4·T·a·s + 2c·T·h"),
    "embedding": PointTerm(
        "workspace", "gradient of the embedding's output", "c·T·h, 4·T·h from fp32"
    ),
    "tied": PointTerm("workspace", "second gradient of a tied embedding, their sum", "2·c·V·h"),
    "widened": PointTerm("workspace", "gradient of the embedding, summed in fp32", "4·V·h"),
    "buckets": PointTerm("workspace", "gradient buckets of DDP", "N"),
    "fresh": PointTerm("workspace", "gradient about to be accumulated", "largest tensor"),
    "head_weight": PointTerm("workspace", "second gradient of the head's weight", "V·h"),
    "unreduced": PointTerm("workspace", "gradients of a unit before reduce-scatter", "unit"),
    "gathered_inputs": PointTerm(
        "workspace", "layer input, gathered along the sequence", "2·c·T·h"
    ),
    "ring": PointTerm("workspace", "keys and values of the neighbours (ring)", "4·c·T·k"),
    "passed": PointTerm("workspace", "tensors sent between pipeline stages", "c·T·h"),
    "dispatched": PointTerm("workspace", "tokens dispatched by other GPUs", "c·T·t·h"),
    "dequantised": PointTerm("workspace", "one linear layer in 16 bits", "c · largest matrix"),
    "update": PointTerm("workspace", "temporaries of the update", "see the optimizer"),
}


def highest(points: tuple[Point, ...]) -> Point:
    """Return the point with the largest sum."""
    return max(points, key=lambda point: sum(point.values()))
