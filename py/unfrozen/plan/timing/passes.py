"""Seconds of one micro-batch on one GPU: layers, embedding, head and loss; bytes of an update."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

from unfrozen.hardware import Gpu, memory_bytes_per_second, sustained_tflops
from unfrozen.job import Job
from unfrozen.job.optimizers import OPTIMIZERS
from unfrozen.job.recipe import BYTES, Recipe
from unfrozen.job.settings import LOW_BITS
from unfrozen.memory.adapters import linear_parameters, quantized_parameters
from unfrozen.memory.layer_setup import LayerSetup
from unfrozen.memory.loss import linear_chunk, loss_chunk
from unfrozen.model import Architecture
from unfrozen.plan.flops import adapter_parameters, frozen, head_trains, outer_trained
from unfrozen.plan.timing.adapters import adapter_seconds
from unfrozen.plan.timing.attention import Attention, attention, by_megatron, kernel
from unfrozen.plan.timing.layers import (
    Matmul,
    Rates,
    bias_seconds,
    layer_matmuls,
    layer_moved,
    matmul_seconds,
    places_of_token,
)

_LOGIT_BYTES: Final = {
    "logits_fp32": (36, 16),
    "logits_bf16": (14, 8),
    "chunked": (36, 16),
    "fused_linear": (10, 10),
    "linear": (14, 14),
    "fused_vocab": (10, 10),
    "vocab_parallel": (30, 16),
    "loss_parallel": (36, 16),
    "classification": (0, 0),
}
"""Bytes per logit through memory, both directions, by loss, eager and compiled. Eager: to fp32
(2 read, 4 written), log-softmax (4, 4), the gradient of the chosen entries (4), that of the
log-softmax (8, 4), back to 16 bits (4, 2). Compiled: 16-bit logits read twice and their gradient
written, the softmax once in fp32. Megatron's works in place on fp32."""
IN_PARTS: Final = ("vocab_parallel", "loss_parallel")
"""Losses that leave each tensor-parallel rank its own words."""
CLIP_BYTES: Final = 3
"""A gradient is read for its norm, then read and scaled: three times its width."""


def logit_bytes(recipe: Recipe) -> float:
    """Return the bytes moved per logit, forward and backward; 0 where there are none."""
    return float(_LOGIT_BYTES[recipe.loss][recipe.loss_compiled])


def head_bytes(job: Job, local: Architecture) -> float:
    """Return bytes moved per token by logits, loss, and the head's weight gradients."""
    recipe = job.recipe
    moved = logit_bytes(recipe) * local.vocab
    if recipe.loss == "linear" and head_trains(job):
        c = BYTES[recipe.compute]  # the sum in fp32 is read and written, in 16 bits a product too
        passes = 8 + (2 * c if c < 4 else 0)
        moved += passes * local.vocab * local.hidden / linear_chunk(c)
    return moved


def embedding_bytes(job: Job, local: Architecture) -> float:
    """Return bytes moved per micro-batch by the embedding and its zeroed gradient."""
    width = BYTES[job.recipe.compute]
    rows = 6.0 * width * job.recipe.tokens * local.hidden / job.cluster.context_parallel
    trains = not frozen(job) or outer_trained(job)[0]
    return rows + (width * local.vocab * local.hidden if trains else 0)


def trained(job: Job) -> int:
    """Return the number of weights that train, of the whole model."""
    if frozen(job):
        return adapter_parameters(job) + sum(outer_trained(job))
    return job.model.num_parameters


def moment_width(recipe: Recipe) -> float:
    """Return the bytes of a weight's moments."""
    width = 1.0 if recipe.moments == "int8" else BYTES[recipe.moments or "fp32"]
    return OPTIMIZERS[recipe.optimizer].states * width


def gradient_width(job: Job) -> int:
    """Return the bytes of a gradient as it is reduced."""
    recipe, cluster = job.recipe, job.cluster
    if recipe.reduce:
        return BYTES[recipe.reduce]
    wide = cluster.outer_apart or cluster.stage < 3
    return BYTES[recipe.grads] if wide else min(2, BYTES[recipe.grads])


def copied_bytes(job: Job) -> tuple[float, float]:
    """Return the bytes per sharded weight that FSDP2 copies forward and backward, on the stream
    that computes: what was gathered, into each weight; gradients, into what is scattered
    (torch/distributed/fsdp/_fully_shard/_fsdp_collectives.py, `split_with_sizes_copy`,
    `chunk_cat`). FSDP1 and DeepSpeed compute with views of what they gathered.
    """
    recipe, cluster = job.recipe, job.cluster
    other = job.framework is not None and job.framework.name in OTHER_SHARDING
    if cluster.stage < 2 or cluster.shards <= 1 or other or recipe.reenters:
        return 0.0, 0.0
    width = min(BYTES[recipe.compute], BYTES[recipe.params])
    scattered = (width + gradient_width(job)) * trained(job) / job.model.num_parameters
    times = recipe.grad_accum if recipe.accumulates_whole else 1
    again = 2.0 * width if cluster.stage == 3 else 0.0  # ZeRO-2 keeps what it gathered
    return 2.0 * width, again + scattered / times


def update_bytes(recipe: Recipe) -> float:
    """Return the bytes moved per weight by the update and by gradient clipping."""
    weights = BYTES[recipe.params]
    lost = 2 if recipe.rounds and recipe.rounding == "kahan" else 0
    kept = 2 * (weights + (4 if recipe.master else 0) + moment_width(recipe) + lost)
    loose = 0.0
    if recipe.step in ("foreach", "for_loop"):
        exact = recipe.master or recipe.params == "fp32"
        loose = OPTIMIZERS[recipe.optimizer].unfused_bytes * (1.0 if exact else 0.5)
    average = 2 * BYTES["fp32"] + weights if recipe.ema else 0  # read and written; weights read
    return kept + loose + average + (1 + CLIP_BYTES) * BYTES[recipe.grads]


KERNEL_SECONDS: Final = 1.3e-6
"""Between one kernel and the next on the GPU, however they were launched (NVIDIA, Constant time
launch for straight-line CUDA graphs, 2024)."""
ATTENTION_KERNELS: Final = {"eager": (6, 9), "masked": (2, 4)}
"""Kernels of one layer's attention forward and backward; one and three of FlashAttention."""
EXPERT_KERNELS: Final = (6, 10)
"""Kernels of one expert beside its matmuls, in a loop over experts: where its tokens are, their
rows, function and product, scaling, the sum (transformers 4.48, modeling_mixtral.py)."""
OF_TRANSFORMERS: Final = (
    *("transformers", "accelerate", "trl", "axolotl", "ms-swift", "llama-factory", "deepspeed"),
)
"""Frameworks that train the modules of transformers as they are."""
OTHER_SHARDING: Final = ("deepspeed", "llama-factory", "ms-swift", "llm-foundry", "megatron")
"""Frameworks that shard weights by DeepSpeed, FSDP1 or Megatron-Core; the others by FSDP2."""
UNPACKED_BYTES: Final = 4.5
"""A quantized weight: half a byte or one read, two written, two read by the product."""
CAST_BYTES: Final = 5
"""fp8: a number is read for its largest value, read again and written in one byte."""
FUSED_CAST_BYTES: Final = 2
"""Where the kernel that makes a number casts it too (Transformer Engine): one byte written for the
product, and one turned over for its gradient."""


WEIGHT_GRADIENT: Final = 1 / 0.955
"""Matmuls that add to a weight's gradient take longer than those of the same size forward: 0.704
of the peak against 0.738 in the median (simumax-a100; on a B200 0.476 against 0.491)."""


class Seconds(NamedTuple):
    """Device time by cause, and kernels launched."""

    matmuls: float = 0.0
    attention: float = 0.0
    memory: float = 0.0
    kernels: float = 0.0

    @property
    def busy(self) -> float:
        """Time that the GPU computes or moves."""
        return self.matmuls + self.attention + self.memory

    def plus(self, other: Seconds, times: float = 1.0) -> Seconds:
        """Return the sum with `times` the other."""
        return Seconds(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))


class LayerTime(NamedTuple):
    """One layer: its forward pass, its backward pass with what is recomputed there."""

    forward: Seconds
    backward: Seconds


class Machine(NamedTuple):
    """The rates of a GPU for one job: its matmuls, those that stay in 16 bits, those of experts
    that take no part in autocast, its memory.
    """

    gpu: Gpu
    rates: Rates
    wide: Rates
    widest: Rates

    @classmethod
    def of(cls, gpu: Gpu, compute: str) -> Machine:
        """Return the machine of a GPU and a dtype."""
        memory, units = memory_bytes_per_second(gpu), gpu.multiprocessors
        half = "bf16" if compute in LOW_BITS else compute
        rates = {name: sustained_tflops(gpu, name) for name in (compute, half, "fp32")}
        names = (compute, half, "fp32")
        return cls(gpu, *(Rates(1e12 * rates[name], units, memory) for name in names))


class BatchTime:
    """One micro-batch of a job on one GPU: its layers and what stands outside them."""

    def __init__(self, job: Job, machine: Machine) -> None:
        self.job, self.machine = job, machine
        self.local = job.model.architecture.split(job.cluster.tensor_parallel)
        self.setup = LayerSetup.of(job.model, job.recipe, job.cluster.stage == 3)
        self.tokens = job.recipe.tokens / job.cluster.context_parallel
        self.loops = _loops_over_experts(job, machine.gpu)
        self.adapters = adapter_seconds(job, self.setup, self.tokens, machine.wide, machine.widest)

    def attention(self, kind: Architecture) -> Attention:
        """Return the time of one layer's attention, or of the scan in its place."""
        rates = self.machine.wide
        return attention(self.job, kind, self.machine.gpu, rates.flops, rates.memory)

    def matmuls(self, sparse: bool, kind: Architecture | None = None) -> tuple[Matmul, ...]:
        """Return the matmuls of one layer on this GPU; experts compute their whole capacity."""
        ranks, kind = self.job.cluster.expert_parallel, kind or self.local
        kind = _joined(kind) if by_megatron(self.job) else kind
        return layer_matmuls(kind, sparse, ranks, self.setup.padding)

    def layer(self, sparse: bool, kind: Architecture | None = None) -> LayerTime:
        """Return the seconds of one layer, dense or sparse; of this `kind` where layers differ."""
        kind = kind or self.local
        matmuls, scores = self.matmuls(sparse, kind), self.attention(kind)
        forward, inputs, weights = self._matmuls(matmuls)
        moved = self._moved(sparse, kind, matmuls)
        ahead = Seconds(forward, scores.forward, moved[0], moved[2] + self._kernels(matmuls, 0))
        gradients = inputs + (0.0 if frozen(self.job) else weights)
        back = Seconds(gradients, scores.backward, moved[1], moved[3] + self._kernels(matmuls, 1))
        ahead, back = self._with_adapters(ahead, back)
        spared = 0.0 if sparse else self._spared(matmuls)
        return LayerTime(ahead, self._with_recomputation(ahead, back, spared))

    def _with_adapters(self, ahead: Seconds, back: Seconds) -> tuple[Seconds, Seconds]:
        """Return both passes of a layer with its adapters."""
        here, there = (Seconds(one.matmuls, 0.0, one.memory, one.kernels) for one in self.adapters)
        return ahead.plus(here), back.plus(there)

    def outside(self) -> LayerTime:
        """Return the seconds of embedding, last norm, head and loss."""
        job, local, rates = self.job, self.local, self.machine.wide
        width = BYTES[job.recipe.compute]
        logits = local if job.recipe.loss in IN_PARTS else job.model.architecture
        memory = head_bytes(job, logits) * self.tokens / 2 / rates.memory
        looked_up = embedding_bytes(job, local) / 2 / rates.memory
        if job.recipe.loss == "classification":
            return LayerTime(Seconds(0, 0, looked_up, 4), Seconds(0, 0, looked_up, 6))
        d, v = local.hidden, local.vocab
        t = loss_chunk(job.recipe.loss, width, int(self.tokens), d, v)
        chunks = self.tokens / t
        head = chunks * matmul_seconds(t, v, d, rates, width, width)
        back = chunks * matmul_seconds(t, d, v, rates, width, width)
        summed = 2 * width if chunks > 1 else width  # what a chunk adds to is read and written
        weight = chunks * matmul_seconds(v, d, t, rates, width, summed) * head_trains(job)
        weight *= WEIGHT_GRADIENT
        return LayerTime(
            Seconds(head, 0, memory + looked_up, 12),
            Seconds(back + weight, 0, memory + looked_up, 14),
        )

    def _matmuls(self, matmuls: tuple[Matmul, ...]) -> tuple[float, float, float]:
        """Return seconds of matmuls forward, for input gradients and for weight gradients."""
        width = BYTES[self.job.recipe.compute]
        out = BYTES[self.job.recipe.grads] if self.job.cluster.stage < 3 else width
        apart = self.loops
        found = _directions(matmuls, self.tokens, self.machine.rates, width, out, apart)
        experts = tuple(p for p in matmuls if p.routed)
        if self.setup.in_experts <= width or not experts:
            return found
        asked = _directions(experts, self.tokens, self.machine.rates, width, out, apart)
        widest, in_experts = self.machine.widest, self.setup.in_experts
        wide = _directions(experts, self.tokens, widest, in_experts, out, apart)
        forward, inputs, weights = (
            all_of + w - a for all_of, w, a in zip(found, wide, asked, strict=True)
        )
        return forward, inputs, weights

    def _moved(
        self, sparse: bool, kind: Architecture, matmuls: tuple[Matmul, ...]
    ) -> tuple[float, float, float, float]:
        """Return the seconds of memory-bound kernels forward and backward, and their number."""
        cluster, recipe = self.job.cluster, self.job.recipe
        whole_ranks = cluster.tensor_parallel if cluster.sequence_parallel else 1
        places = None
        if sparse and kind.experts and by_megatron(self.job):
            places = places_of_token(cluster.expert_parallel, kind.experts.per_token)
        moved = layer_moved(kind, self.setup, sparse, whole_ranks, places)
        memory = self.machine.wide.memory
        forward, backward = self.tokens * moved.forward, self.tokens * moved.backward
        if recipe.compute in LOW_BITS:
            engine = by_megatron(self.job)
            forward += self._cast(matmuls, weights=not engine)
            backward += 2 * self._cast(matmuls, weights=False)
        backward += self._accumulated(matmuls)
        weights = sum(p.weights for p in matmuls)
        sharded = sum(p.weights for p in matmuls if cluster.expert_shards > 1 or not p.routed)
        copied = copied_bytes(self.job)
        forward, backward = forward + copied[0] * sharded, backward + copied[1] * sharded
        if recipe.base:
            model = self.job.model
            share = quantized_parameters(model, recipe) / linear_parameters(model)
            unpacked = UNPACKED_BYTES * share * weights
            forward, backward = forward + unpacked, backward + unpacked
        ahead, back = forward / memory, backward / memory
        if sparse and kind.sinks and kind.experts and places is None and not self.loops:
            back += bias_seconds(self.tokens * kind.experts.per_token / kind.experts.count)
        return ahead, back, moved.kernels, moved.kernels_back

    def _cast(self, matmuls: tuple[Matmul, ...], weights: bool) -> float:
        """Return the bytes moved by casts to fp8: the inputs of matmuls, and the weights unless
        they are cast once a step, as in Transformer Engine.
        """
        width = FUSED_CAST_BYTES if by_megatron(self.job) else CAST_BYTES
        inputs = sum(self.tokens * p.share * p.groups * p.inputs * p.times for p in matmuls)
        own = weights * sum(p.weights for p in matmuls)
        return width * (inputs + own)

    def _accumulated(self, matmuls: tuple[Matmul, ...]) -> float:
        """Return the bytes moved by gradient accumulation: both read, one written; Megatron's
        matmuls add to what is there and only read it (`gradient_accumulation_fusion`).
        """
        recipe, cluster = self.job.recipe, self.job.cluster
        if frozen(self.job) or cluster.stage == 3:
            return 0.0
        weights = sum(p.weights for p in matmuls)
        named = self.job.framework is not None and by_megatron(self.job)
        moved = BYTES[recipe.grads] * (1.0 if named else 3.0)
        return moved * weights * (recipe.grad_accum - 1) / recipe.grad_accum

    def _kernels(self, matmuls: tuple[Matmul, ...], direction: int) -> int:
        """Return how many kernels matmuls and attention take; experts are one grouped matmul, or
        as many as there are, each with its own tokens to find, gather, scale and add.
        """
        count = sum(p.times * (p.groups if self.loops else 1) for p in matmuls)
        found = (1, 2)[direction] * count
        if self.loops:
            most = max((p.groups for p in matmuls if p.routed), default=0)
            found += EXPERT_KERNELS[direction] * most
        return found + ATTENTION_KERNELS.get(kernel(self.job), (1, 3))[direction]

    def _with_recomputation(self, ahead: Seconds, back: Seconds, spared: float) -> Seconds:
        """Return the seconds with recomputation: full checkpointing repeats the layer; selective
        the scores of eager attention, else every second matmul and all that only moves bytes (see
        `Recipe`).
        """
        chosen, eager = self.job.recipe.checkpointing, kernel(self.job) == "eager"
        if chosen == "full":
            again = ahead.plus(Seconds(spared), -1.0)
            return back.plus(again, 1 / self.job.recipe.checkpoint_every)
        if chosen == "selective" and eager:
            return back.plus(Seconds(0, ahead.attention, 0, 6))
        if chosen == "selective":
            return back.plus(Seconds(ahead.matmuls / 2, 0, ahead.memory, ahead.kernels / 2))
        return back

    def _spared(self, matmuls: tuple[Matmul, ...]) -> float:
        """Return the seconds of a dense layer's last matmul, which PyTorch does not repeat:
        recomputation stops at the last tensor that backward reads (torch/utils/checkpoint.py,
        `_StopRecomputationError`). Megatron and reentrant checkpoints repeat it.
        """
        if by_megatron(self.job) or self.job.recipe.reentrant:
            return 0.0
        return self._matmuls(matmuls[-1:])[0]


def _loops_over_experts(job: Job, gpu: Gpu) -> bool:
    """Return whether a job computes one expert after the other: modules of transformers do where
    `grouped_mm` has no kernel, and all did before version 5.
    """
    named = job.framework.name if job.framework else ""
    return named in OF_TRANSFORMERS and not gpu.groups_matmuls


@lru_cache(maxsize=1024)
def _joined(a: Architecture) -> Architecture:
    """Return a layer whose projections of one input are one matmul: `linear_qkv`, `linear_fc1` of
    Megatron-Core.
    """
    return replace(a, fused_projections=True)


@lru_cache(maxsize=4096)
def _directions(
    matmuls: tuple[Matmul, ...], tokens: float, rates: Rates, width: int, out: int, apart: bool
) -> tuple[float, float, float]:
    """Return the seconds of matmuls forward, for their inputs and for their weights, whose
    gradients are `out` bytes wide; experts in one kernel, or in a kernel each (`apart`).
    """
    totals = [0.0, 0.0, 0.0]
    for p in matmuls:
        t = max(1, round(tokens * p.share))
        sizes = ((t, p.outputs, p.inputs), (t, p.inputs, p.outputs), (p.outputs, p.inputs, t))
        for place, size in enumerate(sizes):
            written = out if place == 2 else width
            kernels, groups = (p.groups, 1) if apart else (1, p.groups)
            each = kernels * matmul_seconds(*size, rates, width, written, groups)
            totals[place] += p.times * each * (WEIGHT_GRADIENT if place == 2 else 1.0)
    return totals[0], totals[1], totals[2]


LayerKind = tuple[bool, Architecture]
"""Whether a layer has experts, and its sizes."""


@lru_cache(maxsize=1024)
def layer_order(a: Architecture) -> tuple[LayerKind, ...]:
    """Return the kind of each layer, first to last."""
    return tuple(
        (a.is_sparse(index), a.variants[a.order[index]] if a.variants else a)
        for index in range(a.layers)
    )


@lru_cache(maxsize=4096)
def layer_kinds(a: Architecture) -> tuple[tuple[Architecture, bool, int], ...]:
    """Return the kinds of layers: sizes, whether they are sparse, and their number."""
    return tuple((kind, sparse, n) for (sparse, kind), n in Counter(layer_order(a)).items())
