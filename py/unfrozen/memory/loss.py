"""Logits and cross-entropy: often the largest tensors of a step, and the easiest to forget.

For each position whose loss is computed, in bytes a logit:

    end of forward    what log-softmax keeps: 4 in fp32, 2 without upcast
    backward          that, the gradient of the chosen entries, and the gradient of the logits:
                      12 in fp32, 6 without upcast
    head's backward   the logits' gradient in the precision of the head, beside the gradient of
                      the head's weight
"""

from __future__ import annotations

from unfrozen.model import Architecture
from unfrozen.recipe import Recipe


def softmax_width(recipe: Recipe, compute: int) -> int:
    """Bytes of one number in which the cross-entropy runs."""
    return 4 if recipe.loss == "logits_fp32" else compute


def loss_bytes(a: Architecture, recipe: Recipe, compute: int, loss_tokens: int) -> int:
    """Peak of the loss and its backward pass: three matrices of loss tokens × vocabulary."""
    return 3 * softmax_width(recipe, compute) * loss_tokens * a.vocab


def head_bytes(a: Architecture, compute: int, loss_tokens: int) -> int:
    """The gradient of the logits and that of the head's input, while the head is differentiated."""
    return compute * loss_tokens * (a.vocab + a.hidden)
