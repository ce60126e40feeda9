"""Seconds of communication that a step waits for: collectives.

A ring passes S bytes around n GPUs in (n - 1) / n · S over the slowest link it crosses: NVLink
inside a machine, PCIe through the host where GPUs have no other link, the adapters between
machines. A ring that crosses machines enters and leaves each of them once, and NCCL opens one ring
per adapter: all adapters of a machine whose GPUs are in the group carry a part (NCCL, src/graph
/search.cc; its `ncclTopoTuneModel`, src/graph/tuning.cc, adds latencies the same way).

Collectives count as far as the matmuls beside them do not hide them. FSDP gathers the next layer
while this one computes, and scatters its gradients while the one before is differentiated
(torch/distributed/fsdp; Zhao et al., arXiv 2304.11277, section 3.3). The first gather and the last
scatter hide behind nothing. All-reduces of tensor parallelism block (arXiv 1909.08053, section 3).
Context parallelism passes keys and values around while it computes (Liu et al., Ring Attention,
arXiv 2310.01889).

A pipeline of p ranks waits p − 1 times for both passes of a micro-batch through one stage of a
rank, whatever the number of micro-batches (Narayanan et al., arXiv 2104.04473, sections 2.2.1 and
2.2.2).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NamedTuple

from unfrozen.hardware import LINK_SHARE, Gpu
from unfrozen.job import Job
from unfrozen.job.recipe import BYTES
from unfrozen.model import Architecture
from unfrozen.plan.timing.attention import by_megatron
from unfrozen.plan.timing.layers import Matmul, places_of_token
from unfrozen.plan.timing.passes import (
    IN_PARTS,
    BatchTime,
    LayerTime,
    Seconds,
    gradient_width,
    layer_kinds,
    trained,
)
from unfrozen.units import GB

BASE_SECONDS: Final = 8.4e-6
HOP_SECONDS: Final = {"nvlink": 3.4e-6, "pcie": 5.7e-6, "network": 14.0e-6}
"""Latency of a ring under NCCL's simple protocol, and of each step of it (src/graph/tuning.cc)."""
_SLOWED, _SEQUENTIAL = 0.189, 0.102
CROWD: Final = _SLOWED / ((1 + _SEQUENTIAL) * (1 + _SLOWED) - 1)
"""Of each second that a collective runs behind matmuls, what they lose to it: 0.61. On A100, H100
and MI250 overlapped matmuls are 18.9% slower in the mean, and one after the other is 10.2% slower
than overlapped (Lee et al., arXiv 2507.03114, abstract): with C seconds of matmuls and M of
collectives, C + M = 1.102 · 1.189 C, so that 0.189 C is lost where M = 0.310 C hides. Blocks of a
collective take multiprocessors, memory and power."""
PCIE_SHARE: Final = 0.45
"""What a ring over PCIe reaches of a GPU's lane figure where eight share two host bridges, 13.5 of
30 GB/s (simumax-a100 of `unfrozen.hardware`)."""
RELAY: Final = 0.5
"""GPUs that cannot read each other's memory (GeForce from the 40 series on) pass every byte
through the host's: written once and read once over the same lanes (NCCL, SHM transport)."""


class Ring(NamedTuple):
    """GPUs that take part: bytes per second of the slowest link, and seconds of latency."""

    gpus: int
    rate: float
    latency: float
    outside: bool  # between machines
    machines: int = 1
    adapter: float = math.inf  # bytes per second of one GPU's own

    def gather(self, size: float) -> float:
        """Return the seconds of an all-gather of `size` bytes, or of a reduce-scatter."""
        if self.gpus <= 1 or not size:
            return 0.0
        return self.latency + size * (self.gpus - 1) / self.gpus / self.rate

    def reduce(self, size: float) -> float:
        """Return the seconds of an all-reduce: a reduce-scatter and a gather."""
        return 2 * self.gather(size)

    def exchange(self, size: float, apart: float) -> float:
        """Return the seconds of an all-to-all in which each GPU sends `size` bytes to all GPUs,
        itself included, and `apart` to all machines: each through its own adapter. All send at
        once, so that the latency is that of one hop.
        """
        if self.gpus <= 1:
            return 0.0
        inside = size / self.machines * (1 - self.machines / self.gpus) / self.rate
        between = apart * (1 - 1 / self.machines) / self.adapter
        hop = HOP_SECONDS["network" if self.outside else "nvlink"]
        return BASE_SECONDS + hop + max(inside, between)


@lru_cache(maxsize=4096)
def ring(gpu: Gpu, gpus: int, stride: int = 1) -> Ring:
    """Return the ring of `GPUs` GPUs with a `stride`; neighbours share a machine."""
    machine = gpu.linked_gpus if gpu.link_gb_s else gpu.node_gpus
    near = max(1, min(gpus, machine // stride))
    rate, hop = _inside(gpu)
    if near >= gpus:
        return Ring(gpus, rate, BASE_SECONDS + (gpus - 1) * hop, False)
    machines = -(-gpus // near)
    far = LINK_SHARE * GB * gpu.network_gb_s * near
    latency = (gpus - machines) * hop + (machines - 1) * HOP_SECONDS["network"]
    slowest = min(rate, far) if near > 1 else far
    adapter = LINK_SHARE * GB * gpu.network_gb_s
    return Ring(gpus, slowest, BASE_SECONDS + latency, True, machines, adapter)


def _inside(gpu: Gpu) -> tuple[float, float]:
    if gpu.link_gb_s:
        share = gpu.link_share or LINK_SHARE
        return share * GB * gpu.link_gb_s, HOP_SECONDS["nvlink"]
    share = PCIE_SHARE * (1.0 if gpu.peer_to_peer else RELAY)
    return share * GB * gpu.host_gb_s, HOP_SECONDS["pcie"]


class Waits(NamedTuple):
    """Seconds that a step waits for other GPUs, inside the machine and between machines, and how
    much longer its matmuls take beside collectives.
    """

    inside: float = 0.0
    between: float = 0.0
    crowded: float = 0.0

    def plus(self, other: Waits, times: float = 1.0) -> Waits:
        """Return the sum with `times` the other."""
        return Waits(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))

    @classmethod
    def on(cls, found: Ring, seconds: float, crowded: float = 0.0) -> Waits:
        """Return the wait for a ring."""
        return cls(0.0, seconds, crowded) if found.outside else cls(seconds, 0.0, crowded)


class Sharing:
    """The rings of a job, and what they cost a layer, a micro-batch and a step."""

    def __init__(self, job: Job, part: BatchTime) -> None:
        self.job, self.part = job, part
        cluster, gpu = job.cluster, part.machine.gpu
        ranks = cluster.tensor_parallel
        self.tensor = ring(gpu, ranks)
        self.context = ring(gpu, cluster.context_parallel, ranks)
        self.data = ring(gpu, cluster.shards, ranks)
        self.copies = ring(gpu, cluster.alike // cluster.shards, ranks * cluster.shards)
        self.experts = ring(gpu, cluster.expert_parallel)
        self._expert_width = ranks / cluster.expert_ranks  # over that of a share of the layers
        self.expert_data = ring(
            gpu, max(1, cluster.expert_shards), cluster.expert_ranks * cluster.expert_parallel
        )

    def layer(self, layer: LayerTime, sparse: bool, kind: Architecture | None = None) -> Waits:
        """Return waits of one layer, forward and backward; of this `kind` where layers differ."""
        kind = kind or self.part.local
        found = self._exchanged(sparse, kind)
        stage = self.job.cluster.stage
        summed = stage == 2 or (stage == 1 and self.job.recipe.grad_accum == 1)
        gathered, scattered = self._sharded(self.part.matmuls(sparse, kind))
        if self.job.recipe.accumulates_whole:  # once for all micro-batches
            scattered /= self.job.recipe.grad_accum
        if stage == 3:
            found = found.plus(self._beside(gathered, layer.forward))
            return found.plus(self._beside(gathered + scattered, layer.backward))
        return found.plus(self._beside(scattered, layer.backward)) if summed else found

    def extra_pass(self, layer: LayerTime, sparse: bool, kind: Architecture) -> Waits:
        """Return waits of one layer in a forward pass without gradients."""
        passes = 3 if self.job.recipe.checkpointing == "full" else 2
        found = Waits().plus(self._exchanged(sparse, kind), 1 / passes)
        if self.job.cluster.stage < 3:
            return found
        gathered, _ = self._sharded(self.part.matmuls(sparse, kind))
        return found.plus(self._beside(gathered, layer.forward))

    def _exchanged(self, sparse: bool, kind: Architecture) -> Waits:
        found = self._tensor().plus(self._context(kind))
        return found.plus(self._dispatch()) if sparse else found

    def _sharded(self, matmuls: tuple[Matmul, ...]) -> tuple[float, float]:
        """Return the seconds to gather one layer's weights, and to reduce-scatter its gradients."""
        own = sum(p.weights for p in matmuls if not p.routed)
        experts = self._expert_width * sum(p.weights for p in matmuls if p.routed)
        found = []
        for width in (self._gathered_width(), gradient_width(self.job) * self._trained_share()):
            found.append(self.data.gather(width * own) + self.expert_data.gather(width * experts))
        return found[0], found[1]

    def _beside(self, seconds: float, work: Seconds) -> Waits:
        """Return the wait for a collective that overlaps compute, and what compute loses to it."""
        hidden = min(seconds, work.busy)
        return Waits.on(self.data, seconds - hidden, CROWD * hidden)

    def _dispatch(self) -> Waits:
        """Return the waits for tokens to the GPUs of their experts and back, forward and backward
        (Lepikhin et al., GShard, arXiv 2006.16668, section 3.1): a copy for each of its experts;
        by Megatron's flex dispatcher once to each GPU, and between machines once to each of them
        (DeepEP, README; HybridEP, "no redundant communication").
        """
        a, recipe, cluster = self.part.local, self.job.recipe, self.job.cluster
        if self.experts.gpus <= 1 or a.experts is None:
            return Waits()
        ranks = cluster.tensor_parallel if cluster.sequence_parallel else 1
        token = self.part.tokens / ranks * a.hidden * max(2, BYTES[recipe.compute])
        copies = apart = float(a.experts.per_token)
        if by_megatron(self.job):
            copies = places_of_token(self.experts.gpus, a.experts.per_token)
            apart = places_of_token(self.experts.machines, a.experts.per_token)
        times = 6 if recipe.checkpointing == "full" else 4
        seconds = self.experts.exchange(copies * token, apart * token)
        return Waits.on(self.experts, times * seconds)

    def ends(self, weights: float) -> Waits:
        """Return waits without overlap: the first gather, the last scatter, the embedding."""
        if self.data.gpus <= 1 or self.job.cluster.stage != 3:
            return Waits()
        gathered = self.data.gather(self._gathered_width() * weights)
        scattered = self.data.gather(gradient_width(self.job) * self._trained_share() * weights)
        times = 2 if self.job.cluster.root_resharded else 1
        return Waits.on(self.data, times * gathered + scattered)

    def logits(self) -> Waits:
        """Return waits for logits gathered over tensor-parallel ranks, and their gradients."""
        recipe = self.job.recipe
        if self.tensor.gpus <= 1 or recipe.loss in (*IN_PARTS, "classification"):
            return Waits()
        size = self.part.tokens * self.job.model.architecture.vocab * BYTES[recipe.compute]
        return Waits.on(self.tensor, 2 * self.tensor.gather(size))

    def step(self, backward: Seconds, forward: Seconds) -> Waits:
        """Return the waits once a step: gradient reduction, and the new weights below ZeRO-3."""
        cluster, recipe = self.job.cluster, self.job.recipe
        own, experts = self._weights()
        width = gradient_width(self.job)
        apart = self.copies.reduce(width * (own + experts) / cluster.shards)
        found = self._beside(apart, backward) if cluster.stage else Waits()
        if self.data.gpus <= 1 or cluster.stage == 3:
            return found

        def gathered(each: int) -> float:
            return self.data.gather(each * own) + self.expert_data.gather(each * experts)

        if cluster.stage == 0:
            return self._beside(2 * gathered(width), backward)
        found = found.plus(self._beside(gathered(BYTES[recipe.params]), forward))
        if cluster.stage == 1 and recipe.grad_accum > 1:
            found = found.plus(self._beside(gathered(width), backward))
        return found

    def _weights(self) -> tuple[float, float]:
        """Return the weights that train on one GPU, before they are sharded: those outside experts,
        which all GPUs alike hold, and its own experts'.
        """
        cluster, part = self.job.cluster, self.part
        parts = cluster.tensor_parallel * cluster.pipeline_parallel
        whole = trained(self.job) / parts
        if part.job.recipe.lora or cluster.expert_parallel == 1:
            return whole, 0.0
        counted = sum(
            count * p.weights
            for kind, sparse, count in layer_kinds(part.local)
            for p in part.matmuls(sparse, kind)
            if p.routed
        )
        experts = counted * self._trained_share() / cluster.pipeline_parallel
        return whole - experts * cluster.expert_parallel, experts * self._expert_width

    def stages(self) -> Waits:
        """Return the waits for a micro-batch's activations between pipeline stages, and their
        gradients.

        Ranks with several stages compute one while they send for another, as Megatron-LM does
        (megatron/training/arguments.py, `overlap_p2p_comm`); with one they wait.
        """
        cluster, recipe = self.job.cluster, self.job.recipe
        if cluster.pipeline_parallel <= 1 or cluster.chunks > 1:
            return Waits()
        size = self.part.tokens * self.part.local.hidden * BYTES[recipe.compute]
        size /= cluster.tensor_parallel if cluster.sequence_parallel else 1
        apart = ring(self.part.machine.gpu, 2, cluster.tensor_parallel * cluster.alike)
        return Waits.on(apart, 2 * (apart.latency + size / apart.rate))

    def _gathered_width(self) -> int:
        return min(BYTES[self.job.recipe.compute], BYTES[self.job.recipe.params])

    def _trained_share(self) -> float:
        return trained(self.job) / self.job.model.num_parameters

    def _tensor(self) -> Waits:
        """Return the waits for two all-reduces of the residual stream per layer and direction, and
        again where it is recomputed.
        """
        if self.tensor.gpus <= 1:
            return Waits()
        recipe = self.job.recipe
        size = self.part.tokens * self.part.local.hidden * BYTES[recipe.compute]
        times = 6 if recipe.checkpointing == "full" else 4
        return Waits.on(self.tensor, times * self.tensor.reduce(size))

    def _context(self, kind: Architecture) -> Waits:
        """Return the waits for keys and values of the other ranks; backward their gradients too."""
        ranks = self.context.gpus
        if ranks <= 1:
            return Waits()
        part, recipe = self.part, self.job.recipe
        sent = sum(kind.kv_widths) * part.tokens * BYTES[recipe.compute] * (ranks - 1)
        seconds = self.context.latency + sent / self.context.rate
        again = 2 if recipe.checkpointing == "full" else 1
        scores = part.attention(kind)
        forward = again * max(0.0, seconds - scores.forward)
        backward = max(0.0, 2 * seconds - scores.backward)
        return Waits.on(self.context, forward + backward)


def bubble_seconds(ranks: int, chunks: int, busy: float) -> float:
    """Return the seconds of a step in the pipeline bubble, where both passes of one micro-batch
    keep a rank `busy` for all its chunks.
    """
    return (ranks - 1) * busy / chunks
