"""What sharing a job out costs: collectives, as far as the products beside them do not hide them.

FSDP gathers the next layer while this one computes, and scatters its gradients while the one before
is differentiated (torch/distributed/fsdp; Zhao et al., arXiv 2304.11277, section 3.3). The first
gather and the last scatter hide behind nothing. Sums of tensor parallelism wait for each other
(arXiv 1909.08053, section 3). Context parallelism passes keys and values around while it computes
(Liu et al., Ring Attention, arXiv 2310.01889).
"""

from __future__ import annotations

from typing import NamedTuple

from unfrozen.job import Job
from unfrozen.job.recipe import BYTES
from unfrozen.model import Architecture
from unfrozen.plan.timing.collectives import CROWD, Ring, ring
from unfrozen.plan.timing.outside import IN_PARTS, trained
from unfrozen.plan.timing.passes import BatchTime, LayerTime, Seconds
from unfrozen.plan.timing.products import Product


class Waits(NamedTuple):
    """Seconds that a step waits for other cards, inside the machine and between machines, and how
    much longer its products take beside collectives.
    """

    inside: float = 0.0
    between: float = 0.0
    crowded: float = 0.0

    def plus(self, other: Waits, times: float = 1.0) -> Waits:
        """The sum with `times` the other."""
        return Waits(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))

    @classmethod
    def on(cls, found: Ring, seconds: float, crowded: float = 0.0) -> Waits:
        """A wait on a ring."""
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
        self.copies = ring(gpu, max(1, cluster.alike // cluster.shards), ranks * cluster.shards)
        self.experts = ring(gpu, cluster.expert_parallel)
        self.expert_data = ring(
            gpu, max(1, cluster.expert_shards), cluster.expert_ranks * cluster.expert_parallel
        )

    def layer(self, layer: LayerTime, sparse: bool, kind: Architecture | None = None) -> Waits:
        """One layer, forward and backward; of this `kind` where layers differ."""
        kind = kind or self.part.local
        found = self._tensor().plus(self._context(kind))
        if sparse:
            found = found.plus(self._dispatch())
        stage = self.job.cluster.stage
        summed = stage == 2 or (stage == 1 and self.job.recipe.grad_accum == 1)
        gathered, scattered = self._sharded(self.part.products(sparse, kind))
        if self.job.recipe.accumulates_whole:  # once for all micro-batches
            scattered /= self.job.recipe.grad_accum
        if stage == 3:
            found = found.plus(self._beside(gathered, layer.forward))
            return found.plus(self._beside(gathered + scattered, layer.backward))
        return found.plus(self._beside(scattered, layer.backward)) if summed else found

    def _sharded(self, products: tuple[Product, ...]) -> tuple[float, float]:
        """Seconds to gather one layer's weights, and to scatter its gradients."""
        own = sum(p.weights for p in products if p.groups == 1)
        experts = sum(p.weights for p in products if p.groups > 1)
        found = []
        for width in (self._gathered_width(), self.gradient_width() * self._trained_share()):
            apart = self.expert_data.gather(width * experts) if experts else 0.0
            found.append(self.data.gather(width * own) + apart)
        return found[0], found[1]

    def _beside(self, seconds: float, work: Seconds) -> Waits:
        """A collective of so many seconds beside so much work, and what the work loses to it."""
        hidden = min(seconds, work.busy)
        return Waits.on(self.data, seconds - hidden, CROWD * hidden)

    def _dispatch(self) -> Waits:
        """Tokens to the cards of their experts and back, each for its t experts; backward the same
        (Lepikhin et al., GShard, arXiv 2006.16668, section 3.1).
        """
        a, recipe = self.part.local, self.job.recipe
        if self.experts.cards <= 1 or a.experts is None:
            return Waits()
        size = self.part.tokens * a.experts.per_token * a.hidden * BYTES[recipe.compute]
        times = 6 if recipe.checkpointing == "full" else 4
        return Waits.on(self.experts, times * self.experts.exchange(size))

    def ends(self, weights: float) -> Waits:
        """What hides behind nothing: the first gather, the last scatter, the embedding's."""
        if self.data.cards <= 1 or self.job.cluster.stage != 3:
            return Waits()
        size = self._gathered_width() * weights
        scattered = self.gradient_width() * self._trained_share() * weights
        return Waits.on(self.data, self.data.gather(size) + self.data.gather(scattered))

    def logits(self) -> Waits:
        """Logits of all tensor-parallel ranks gathered for a loss that wants them whole, and their
        gradients summed back.
        """
        recipe = self.job.recipe
        if self.tensor.cards <= 1 or recipe.loss in (*IN_PARTS, "classification"):
            return Waits()
        size = self.part.tokens * self.job.model.architecture.vocab * BYTES[recipe.compute]
        return Waits.on(self.tensor, 2 * self.tensor.gather(size))

    def step(self, backward: Seconds, forward: Seconds) -> Waits:
        """Once a step: gradients of all micro-batches, and the new weights below ZeRO 3."""
        cluster, recipe = self.job.cluster, self.job.recipe
        own = trained(self.job) / (cluster.tensor_parallel * cluster.pipeline_parallel)
        gradients = self.gradient_width() * own
        apart = self.copies.reduce(gradients / cluster.shards)
        found = self._beside(apart, backward) if cluster.stage else Waits()
        if self.data.cards <= 1 or cluster.stage == 3:
            return found
        if cluster.stage == 0:
            return self._beside(self.data.reduce(gradients), backward)
        found = found.plus(self._beside(self.data.gather(BYTES[recipe.params] * own), forward))
        if cluster.stage == 1 and recipe.grad_accum > 1:
            found = found.plus(self._beside(self.data.gather(gradients), backward))
        return found

    def gradient_width(self) -> int:
        """Bytes of a gradient as it is summed."""
        recipe, cluster = self.job.recipe, self.job.cluster
        if recipe.reduce:
            return BYTES[recipe.reduce]
        wide = cluster.outer_apart or cluster.stage < 3
        return BYTES[recipe.grads] if wide else min(2, BYTES[recipe.grads])

    def stages(self) -> Waits:
        """A micro-batch's activations to the next stage of a pipeline, and their gradients back.

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
        """Two sums of the residual stream a layer and direction, and again where it is repeated."""
        if self.tensor.cards <= 1:
            return Waits()
        recipe = self.job.recipe
        size = self.part.tokens * self.part.local.hidden * BYTES[recipe.compute]
        times = 6 if recipe.checkpointing == "full" else 4
        return Waits.on(self.tensor, times * self.tensor.reduce(size))

    def _context(self, kind: Architecture) -> Waits:
        """Keys and values to each of the others; backward their gradients too."""
        ranks = self.context.cards
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
