"""Seconds of attention, by the kernel that runs it.

Forward it takes two matmuls of a score and a head, backward five (Dao, arXiv 2307.08691, section
3.1); under a causal mask half the scores are computed. Attention never runs at the rate of plain
matmuls: between them lies a softmax. Scans in chunks are matmuls of the same sizes, and are taken
to run as fast. Rates are published ones of `unfrozen.hardware`, for
heads of 128 and 4,096 positions, moved to other lengths and heads by the same figures.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from unfrozen.hardware import ATTENTION_SHARE, Gpu, best_matmul_tflops
from unfrozen.job import Job
from unfrozen.job.recipe import BYTES
from unfrozen.model import Architecture
from unfrozen.model.attention_windows import seen_share
from unfrozen.plan.timing.layers import AGAIN, scan_flops

Kernel = Literal["flash-1", "flash-2", "newest", "masked", "eager"]

_LENGTHS: Final = {
    "forward": (191.0, 260.0, 298.0, 319.0, 333.0, 335.0),
    "backward": (132.0, 193.0, 240.0, 269.0, 286.0, 292.0),
}
"""TFLOP/s of FlashAttention-2 on an H100 at 512, 1k … 16k positions, causal, heads of 128 (arXiv
2407.08608, figures 5 and 6); backward the paper has no causal bars for FlashAttention-2: those
without mask, times causal over not of the forward pass."""
_SHORTEST: Final = 512
_NARROW: Final = 284 / 319
"""Heads of 64 over heads of 128 at 4,096 positions (the same figure)."""
_VERSIONS: Final[dict[str, Kernel]] = {"flash2": "flash-2", "flash3": "newest", "flash4": "newest"}
"""The kernel of each version: cuDNN's rates are the newest ones'."""
FIRST_VERSION: Final = 1 / 1.8
"""FlashAttention in Triton over the second version: that is 1.3 to 2.5 times as fast (arXiv
2307.08691, section 4.1); this is the geometric mean."""
MASKED_SHARE: Final = 0.6
"""Assumed: PyTorch's memory-efficient kernel with a mask, over FlashAttention-2; it computes both
halves of the scores."""
SCORE_BYTES: Final = {2: (24, 28), 4: (32, 36)}
"""Bytes per score that eager attention moves forward and backward, by the width of a number.

As transformers has it (`eager_attention_forward`): a product written; scaled, masked, each read
and written; softmax in fp32 and cast back, each read and written; read by the product with values.
Backward two products read the scores' gradient and one writes it, one reads the scores; the casts,
the softmax (gradient and result read) and the scaling are read and written."""
FUSED_SCORES: Final = (4, 7)
"""One kernel that scales, masks and takes the softmax moves so many numbers of the scores' width,
as in Megatron-LM (fused_kernels/scaled_upper_triang_masked_softmax.h)."""
BACKWARD: Final = 2.5
"""Matmuls backward over those forward: five to two."""


class Attention(NamedTuple):
    """One layer's attention of the tokens of one GPU: seconds of each direction."""

    forward: float
    backward: float


def by_megatron(job: Job) -> bool:
    """Return whether Megatron-Core runs a job: it is named, or weights have wider gradients."""
    if job.framework:
        return job.framework.name == "megatron"
    return not job.recipe.lora and BYTES[job.recipe.grads] > BYTES[job.recipe.params]


def kernel(job: Job) -> Kernel:
    """Return the kernel that a job's attention runs.

    It may name the version; else its framework has a default. Where none is named, recipes that sum
    16-bit gradients in fp32 are Megatron's, whose Transformer Engine takes cuDNN from Hopper on.
    GPT without biases, trained from fp32 weights, is llm-foundry's MPT of 2023, whose published
    runs took the Triton kernel (scripts/train/benchmarking/submit_benchmarks.py). torchtitan asks
    cuDNN first from Blackwell on (pytorch/torchtitan pull 1196). PyTorch drops a causal mask that
    pads nothing, so that "sdpa" is FlashAttention-2 as well.
    """
    recipe, a = job.recipe, job.model.architecture
    if recipe.attention in _VERSIONS:
        return _VERSIONS[recipe.attention]
    if recipe.attention == "eager" or recipe.compute == "fp32":
        return "eager" if recipe.attention == "eager" else "masked"
    if recipe.attention in ("sdpa_masked", "efficient"):
        return "masked"
    if by_megatron(job):
        return "newest"
    named = job.framework.name if job.framework else ""
    if named == "llm-foundry":
        return "flash-1"
    if named == "torchtitan" and job.gpu and job.gpu.fp4:
        return "newest"
    if not named and a.model_type == "gpt" and not a.has_bias("mlp.") and recipe.params == "fp32":
        return "flash-1"
    return "flash-2"


def attention(job: Job, local: Architecture, gpu: Gpu, matmuls: float, memory: float) -> Attention:
    """Return one layer's attention, or the scan in its place, on one tensor-parallel GPU.

    `matmuls` operations and `memory` bytes per second are those of the GPU's plain kernels.
    """
    recipe, ranks = job.recipe, job.cluster.context_parallel
    chosen = kernel(job)
    scans = recipe.tokens / ranks * scan_flops(local.mixer) / (_best(gpu)[0] * 1e12)
    flops = 2.0 * recipe.tokens * recipe.seq_len * sum(local.score_widths) / ranks
    if not flops:
        return Attention(scans, AGAIN * scans)
    if recipe.flashes or recipe.attention == "efficient":  # the others compute what a window hides
        flops *= seen_share(local.windows, recipe.seq_len)
    if chosen == "eager":
        scores = recipe.tokens * recipe.seq_len * local.heads / ranks
        width = BYTES[recipe.compute]
        fused = [each * width for each in FUSED_SCORES] if recipe.kernels == "fused" else None
        ahead, back = (size * scores / memory for size in fused or SCORE_BYTES[width])
        return Attention(flops / matmuls + ahead, 2 * flops / matmuls + back)
    forward, backward = _rates(chosen, gpu, recipe.seq_len, local.head_dim)
    flops *= 1.0 if chosen == "masked" else 0.5
    return Attention(flops / forward + scans, BACKWARD * flops / backward + AGAIN * scans)


def _best(gpu: Gpu) -> tuple[float, float]:
    """Return the TFLOP/s of FlashAttention-2 forward and backward on a GPU, at 4,096 positions."""
    best = best_matmul_tflops(gpu)
    forward, backward = gpu.flash_attention_2_tflops or (share * best for share in ATTENTION_SHARE)
    return forward, backward


@lru_cache(maxsize=4096)
def _rates(chosen: Kernel, gpu: Gpu, length: int, head_dim: int) -> tuple[float, float]:
    newest = gpu.fastest_attention_tflops
    forward, backward = newest if chosen == "newest" and newest else _best(gpu)
    scale = {"flash-1": FIRST_VERSION, "masked": MASKED_SHARE}.get(chosen, 1.0)
    scale *= 1e12 * _heads(head_dim)
    return scale * forward * _at("forward", length), scale * backward * _at("backward", length)


def _heads(head_dim: int) -> float:
    """Return the head dimension padded to one with a kernel: 32, 64, 96 …"""
    padded = 32 * math.ceil(head_dim / 32)
    narrow = 1.0 if padded >= 128 else _NARROW if padded >= 64 else _NARROW**2
    return narrow * head_dim / padded


def _at(direction: str, length: int) -> float:
    """Return the rate relative to that at 4,096 positions, interpolated logarithmically."""
    rates = _LENGTHS[direction]
    place = max(-2.0, math.log2(length / _SHORTEST))
    if place < 0:
        return rates[0] * 2**place / rates[3]
    left = min(int(place), len(rates) - 2)
    share = min(1.0, place - left)
    return (rates[left] + share * (rates[left + 1] - rates[left])) / rates[3]
