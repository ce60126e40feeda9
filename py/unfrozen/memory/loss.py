"""Logits and cross-entropy: often the largest tensors of a step, and the easiest to forget.

In bytes per logit, c those of the compute precision, at two points: the loss and its backward pass,
and the backward pass of the head.

    logits_fp32    log-softmax in fp32, the gradient of the chosen entries, that of the logits: 12;
                   then the gradient in the precision of the head: c. One kernel that recomputes the
                   log-softmax has logits and gradient: 8 (unslothai/unsloth, kernels/
                   cross_entropy_loss.py, which writes the gradient over a shifted copy)
    logits_bf16    the same without upcast: 3c, then c; where it is one kernel (a compiled loss, as
                   in torchtitan from 2025 on), the logits and their gradient: 2c
    chunked        the logits of all chunks stay: c. In the backward pass a chunk is upcast when its
                   turn comes, and its softmax recomputed: 4, in 16 bits 8. The head is
                   differentiated chunk by chunk, so that a gradient of its weight, the sum of those
                   before, and the new sum exist at once (this project's runner); in one kernel two
                   gradients (torchtune's CEWithChunkedOutputLoss, compiled)
    fused_linear   the forward pass computes the gradients chunk by chunk, each chunk of
                   ⌈T / ⌈V/h⌉⌉ tokens, rounded up to a power of two: 4 + c a logit of one chunk, the
                   gradients of the head's input and weight beside it (Liger, arXiv 2410.10989)
    fused_vocab    the logits of 2048 words at a time, for all tokens. In the backward pass those of
                   a chunk, c and 4; its softmax and the difference that goes into it; softmax and
                   gradient of the chunk before, whose names are still bound: 20 + c (prime-rl,
                   src/prime_rl/trainer/models/layers/lm_head.py @c95bd79)
    linear         like fused_linear with chunks of 256 tokens, in 16 bits 1024, whose fp32 logits
                   become their own gradient: 4 a logit of one chunk, and c for their 16-bit copy
                   (this project's runner). The weight's gradient is summed in fp32, whatever its
                   width, in 16 bits of one product a chunk, where the fp32 logits were
    vocab_parallel fp32 probabilities and the logits, 4 + c, over tensor-parallel ranks (Megatron,
                   core/tensor_parallel/cross_entropy.py, which works in place)
    loss_parallel  the same by PyTorch's tensors, which hold four fp32 matrices at once: 16. It is
                   meant where sharded weights are their own master copy, as with FSDP2; with
                   another (Megatron-FSDP) the optimizer, and the loss, are Megatron's
    classification none

A caller may keep the model's output alive through backward pass and update, because a name is
still bound to it (prime-rl, trainer/sft/train.py: `out`; KempnerForge, scripts/train.py: `logits`):
one more matrix of logits, in fp32 where they were upcast.

Logits with a soft cap (Gemma 2) also save the output of the tanh: c more.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from unfrozen.job.recipe import Recipe
from unfrozen.model import Architecture

CHUNKS: Final = 8  # of a chunked loss
"""At each trained token: which tokens, their log-probabilities, a strength."""
LINEAR_CHUNK: Final = 256  # tokens whose logits exist at once in a linear loss in fp32
FUSED_WORDS: Final = 2048  # of the vocabulary that a fused loss takes at once


class LossMemory(NamedTuple):
    """Bytes at the loss, and while the head is differentiated; gradients of its weight apart.

    `weight_gradients` is how many gradients of the head's weight exist beside the one that stays,
    `early` whether that one exists at the loss already.
    """

    at_loss: int
    at_head: int
    weight_gradients: int = 0
    early: bool = False


FORMULAS: Final = {
    "logits_fp32": "12·T·V, 8·T·V in one kernel",
    "logits_bf16": "3c·T·V, 2c·T·V in one kernel",
    "chunked": "c·T·V",
    "fused_linear": "(4 + c)·chunk·V + c·T·h",
    "fused_vocab": "(20 + c)·T·2048 + c·T·h",
    "linear": "(4 + c in 16 bits)·chunk·V + c·T·h",
    "vocab_parallel": "(4 + c)·T·V / ranks",
    "loss_parallel": "16·T·V / ranks",
    "classification": "0",
}
"""The bytes at the loss, by the recipe's `loss`."""


def loss_kind(a: Architecture, recipe: Recipe, *, sharded_weights: bool) -> str:
    """Return the loss that the recipe means for this model.

    Without a vocabulary there is none; where sharded weights are their own master copy it is
    PyTorch's.
    """
    if not a.head_size:
        return "classification"
    pytorch = sharded_weights and recipe.master is None
    if recipe.loss == "vocab_parallel" and pytorch:
        return "loss_parallel"
    return recipe.loss


def linear_chunk(c: int) -> int:
    """Return the tokens whose logits exist at once in a linear loss, with `c` bytes a logit.

    In 16 bits every chunk has one more pass over the sum of the weight's gradient.
    """
    return LINEAR_CHUNK if c >= 4 else 4 * LINEAR_CHUNK


def loss_chunk(kind: str, c: int, tokens: int, hidden: int, vocab: int) -> int:
    """Return the tokens whose logits one matmul of the head makes, of `tokens`."""
    if kind == "linear":
        return min(tokens, linear_chunk(c))
    if kind != "fused_linear":
        return tokens
    parts = -(-vocab // hidden)
    return min(tokens, 1 << (-(-tokens // parts) - 1).bit_length())


def with_weight_sum(
    loss: LossMemory, c: int, tokens: int, vocab: int, weights: int, *, narrow: bool
) -> LossMemory:
    """Return a linear loss with the fp32 sum of the gradient of the head's `weights`.

    In 16 bits, products of a chunk are where its fp32 logits were; the gradient of `narrow` weights
    exists beside the sum.
    """
    if c >= 4:
        return loss
    logits = 4 * min(tokens, linear_chunk(c)) * vocab
    more = max(0, c * weights - logits) + ((4 - c) * weights if narrow else 0)
    return loss._replace(at_loss=loss.at_loss + more)


def alive_output_bytes(kind: str, c: int) -> int:
    """Return the bytes per logit of an output that the caller keeps alive."""
    narrow = {"logits_bf16": c, "chunked": c, "vocab_parallel": c}
    return narrow.get(kind, 4 if kind in ("logits_fp32", "loss_parallel") else 0)


def loss_memory(
    kind: str, compiled: bool, c: int, tokens: int, hidden: int, vocab: int, capped: bool = False
) -> LossMemory:
    """Return the memory of the losses of `tokens` tokens, with `c` bytes a logit in compute."""
    logits, inputs = tokens * vocab, c * tokens * hidden
    if kind == "classification":
        return LossMemory(0, 0)
    if kind == "chunked":
        if compiled:
            return LossMemory(c * logits, c * logits + inputs, weight_gradients=1)
        chunk = -(-tokens // CHUNKS) * vocab
        softmax = (8 if c < 4 else 4) * chunk
        left = c * (logits - chunk)  # of the second, where gradients of the weight begin to add up
        return LossMemory(left + softmax, left + inputs, weight_gradients=2, early=True)
    if kind in ("fused_linear", "linear"):
        chunk = loss_chunk(kind, c, tokens, hidden, vocab)
        copy = c if c < 4 or kind == "fused_linear" else 0
        return LossMemory((4 + copy) * chunk * vocab + inputs, inputs, 0, early=True)
    if kind == "fused_vocab":
        return LossMemory(
            (20 + c) * tokens * min(FUSED_WORDS, vocab) + inputs, inputs, 0, early=True
        )
    matrices = 2 if compiled else 3
    width = {
        "logits_fp32": 4 * matrices,
        "logits_bf16": matrices * c,
        "vocab_parallel": 4 + c,
        "loss_parallel": 16,
    }[kind]
    return LossMemory((width + (c if capped else 0)) * logits, c * logits + inputs)
