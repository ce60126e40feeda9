"""What a point of the forward or backward pass is made of: named pieces, in bytes.

`PIECES` says which component each belongs to and how it is computed. Points are compared by their
sums, and the highest of a phase is its memory.
"""

from __future__ import annotations

from typing import Final, NamedTuple

Point = dict[str, int]


class Piece(NamedTuple):
    """What a piece of a point is: its component, its name for readers, how it is computed."""

    component: str
    label: str
    formula: str


PIECES: Final = {
    "gathered": Piece("gathered", "weights gathered for computing", "c · (root + layers)"),
    "grads": Piece("grads", "gradients that exist", "bytes · reached"),
    "layers": Piece("activations", "kept by the layers", "T·L·kept"),
    "recomputed": Piece("activations", "one layer, recomputed", "T·kept"),
    "outside": Piece("activations", "kept outside the layers", "T·kept"),
    "in_flight": Piece("activations", "micro-batches in flight", "what each of them keeps"),
    "head_input": Piece("activations", "input of the head", "c·T·h"),
    "loss": Piece("logits_loss", "loss and its backward pass", "see the loss"),
    "head": Piece("logits_loss", "gradients of the logits and the head's input", "c·T·(V + h)"),
    "held": Piece("logits_loss", "logits that the caller holds", "bytes · T·V"),
    "routers": Piece("activations", "what leads to auxiliary losses that are held", "T·L·kept"),
    "casts": Piece("workspace", "16-bit copies of weights under autocast", "2 · matrices"),
    "norm": Piece("workspace", "backward pass of a norm", "5·4·T·h"),
    "feed_forward": Piece("workspace", "feed-forward part's backward pass", "c·T·(h + 2f)"),
    "low_casts": Piece("workspace", "factors of a product, cast to few bits", "width · T·(h + f)"),
    "scores": Piece("workspace", "softmax's backward pass", "2·4·T·a·s + 2c·T·h"),
    "embedding": Piece("workspace", "gradient of the embedding's output", "T·h"),
    "tied": Piece("workspace", "second gradient of a tied embedding, and their sum", "2·V·h"),
    "widened": Piece("workspace", "gradient of the embedding, summed in fp32", "4·V·h"),
    "buckets": Piece("workspace", "gradients again, in the buckets that cards sum", "N"),
    "fresh": Piece("workspace", "gradient about to be added", "largest tensor"),
    "head_weight": Piece("workspace", "second gradient of the head's weight", "V·h"),
    "unreduced": Piece("workspace", "gradients of a unit before they are scattered", "unit"),
    "gathered_inputs": Piece("workspace", "layer input, gathered along the sequence", "2·c·T·h"),
    "ring": Piece("workspace", "keys and values of the neighbours", "4·c·T·k"),
    "passed": Piece("workspace", "tensors on their way between stages", "c·T·h"),
    "dispatched": Piece("workspace", "copies from other cards' tokens", "c·T·t·h"),
    "dequantised": Piece("workspace", "one linear layer in 16 bits", "c · largest matrix"),
    "update": Piece("workspace", "temporaries of the update", "see the optimizer"),
}


def highest(points: tuple[Point, ...]) -> Point:
    """The point with the largest sum."""
    return max(points, key=lambda point: sum(point.values()))
