"""Seconds of the adapters of one layer: what they move, and their thin matmuls.

PEFT (0.18, src/peft/tuners/lora/layer.py and bnb.py) adds `lora_B(lora_A(dropout(x))) * scaling` to
what the frozen layer returns, kernel by kernel. Each reads and writes every number: the input is
cast to the adapter's dtype (beside a 4-bit layer only where autocast is off), dropped, under
autocast cast again, and read; the output is written, scaled, added, and cast back. Backward does
the same the other way round. litgpt, torchtune and NeMo AutoModel write the same line without
casts; litgpt reads the input of q, k and v once. Fused kernels add the product in place
(unsloth/kernels/fast_lora.py, 2025.10); where PEFT's adapters have dropout, Unsloth leaves them as
they are (models/llama.py, "Dropout = 0 is supported for fast patching").

Adapters of stacked experts are added to all of their weights, read and written; the gradient of the
sum is that of a weight, and is read for each of an adapter's matrices (PEFT 0.21, `ParamWrapper`).

A thin matmul computes a whole tile: none of CUTLASS's has fewer than 64 columns on tensor cores, or
32 on the fp32 units (include/cutlass/gemm/device/default_gemm_configuration.h).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from unfrozen.job import Job
from unfrozen.job.lora import INPUTS, Target, targets
from unfrozen.memory.experts import folded_bytes
from unfrozen.memory.layer_setup import LayerSetup
from unfrozen.plan.timing.layers import Rates

_NARROWEST: Final = {2: 64, 4: 32}
"""Columns of the narrowest tile, by bytes of a number."""
_DOWN: Final = ("out", "down")
"""Layers whose inputs tensor parallelism splits; of the others it splits the outputs."""


class AdapterTime(NamedTuple):
    """One layer's adapters: seconds of matmuls and of other kernels, and kernels, one direction."""

    matmuls: float = 0.0
    memory: float = 0.0
    kernels: float = 0.0

    def plus(self, other: AdapterTime) -> AdapterTime:
        """Return the sum."""
        return AdapterTime(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def adapter_seconds(
    job: Job, setup: LayerSetup, tokens: float, wide: Rates, widest: Rates
) -> tuple[AdapterTime, AdapterTime]:
    """Return the adapters of one layer forward and backward, on one tensor-parallel GPU."""
    ahead, back = AdapterTime(), AdapterTime()
    lora, adapters = job.recipe.lora, setup.adapters
    if lora is None or adapters is None:
        return ahead, back
    rates = widest if adapters.reads == 4 else wide
    fused = setup.kernels == "fused" and not (adapters.drops and lora.library == "peft")
    seen = set()
    for target in (each for each in targets(job.model, lora) if each.reads in INPUTS):
        outputs, inputs = _split(target, job.cluster.tensor_parallel)
        if lora.library == "litgpt" and target.reads == "qkv" and "qkv" in seen:
            inputs = 0.0
        seen.add(target.reads)
        sizes = (int(tokens * inputs), int(tokens * outputs), lora.rank)
        moved = _fused(sizes, setup) if fused else _eager(sizes, setup, job.recipe.base is not None)
        here, there = _thin(sizes, adapters.reads, rates)
        ahead = ahead.plus(AdapterTime(here, moved[0] / wide.memory, moved[1]))
        back = back.plus(AdapterTime(there, moved[2] / wide.memory, moved[3]))
    added = _folded(job, setup, tokens, wide)
    return ahead.plus(added[0]), back.plus(added[1])


def _folded(
    job: Job, setup: LayerSetup, tokens: float, wide: Rates
) -> tuple[AdapterTime, AdapterTime]:
    """Return what adapters of stacked experts take, forward and backward."""
    a = job.model.architecture
    sums = folded_bytes(a, setup)
    stacks = sum(map(bool, sums))
    if a.experts is None or not stacks:
        return AdapterTime(), AdapterTime()
    active = sum(sums) / setup.compute * a.experts.per_token / a.experts.local_count
    gradient = 2 * tokens * active / wide.flops
    read = sum(sums) / wide.memory
    return AdapterTime(0.0, 2 * read, 2 * stacks), AdapterTime(gradient, 3 * read, 4 * stacks)


def _split(target: Target, ranks: int) -> tuple[float, float]:
    outputs, inputs = target.shape
    return (outputs, inputs / ranks) if target.reads in _DOWN else (outputs / ranks, inputs)


def _thin(sizes: tuple[int, int, int], width: int, rates: Rates) -> tuple[float, float]:
    """Return the seconds of both matrices forward, and of their four gradients."""
    columns = max(sizes[2], _NARROWEST[width])
    each = [
        max(width * numbers / rates.memory, 2 * columns * numbers / rates.flops)
        for numbers in sizes[:2]
    ]
    return sum(each), 2 * sum(each)


def _eager(
    sizes: tuple[int, int, int], setup: LayerSetup, quantized: bool
) -> tuple[float, int, float, int]:
    """Return bytes and kernels of what is no matmul, forward and backward."""
    adapters = setup.adapters
    assert adapters is not None
    c, w, r = setup.compute, adapters.width, adapters.reads
    if quantized and r < w:
        w = c
    inputs, outputs = sizes[:2]
    cast, again, dropped, back = w != c, w != r, adapters.drops, r > c
    read = cast * (c + w) + dropped * (2 * w + 1) + again * (w + r)
    written = 2 * r + (c + r + max(c, r)) + back * (r + c)
    kernels = cast + dropped + again + 2 * (adapters.width != r) + 2 + 2 + back
    read_back = read + 3 * c  # and the sum with the gradient of the frozen layer's input
    written_back = 2 * r + 2 * back * (r + c)
    moved = read * inputs + written * outputs
    moved_back = read_back * inputs + written_back * outputs
    return moved, kernels, moved_back, kernels + 2 + back


def _fused(sizes: tuple[int, int, int], setup: LayerSetup) -> tuple[float, int, float, int]:
    inputs, outputs = sizes[:2]
    c = setup.compute  # what a product is added to is read
    dropped = (2 * c + 1) * inputs if setup.adapters and setup.adapters.drops else 0
    return dropped + c * outputs, 2, dropped + c * inputs, 6
