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
from unfrozen.plan.timing.collectives import CROWD, Ring, ring
from unfrozen.plan.timing.outside import trained
from unfrozen.plan.timing.passes import Layer, MicroBatch, Seconds


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

    def __init__(self, job: Job, part: MicroBatch) -> None:
        self.job, self.part = job, part
        cluster, gpu = job.cluster, part.machine.gpu
        self.tensor = ring(gpu, cluster.tensor_parallel)
        self.context = ring(gpu, cluster.context_parallel, cluster.tensor_parallel)
        self.data = ring(gpu, cluster.shards, cluster.tensor_parallel)

    def beside(self, seconds: float, work: Seconds) -> Waits:
        """A collective of so many seconds beside so much work, and what the work loses to it."""
        hidden = min(seconds, work.busy)
        return Waits.on(self.data, seconds - hidden, CROWD * hidden)

    def layer(self, layer: Layer, weights: float) -> Waits:
        """One layer of `weights` weights, forward and backward."""
        found = self._tensor(layer).plus(self._context(layer))
        if self.data.cards <= 1 or not self.job.cluster.stage:
            return found
        recipe = self.job.recipe
        gathered = self.data.gather(self._gathered_width() * weights)
        scattered = self.data.gather(self.gradient_width() * self._trained_share() * weights)
        if self.job.cluster.stage == 3:
            found = found.plus(self.beside(gathered, layer.forward))
            return found.plus(self.beside(gathered + scattered, layer.backward))
        if self.job.cluster.stage == 2 or recipe.grad_accum == 1:
            return found.plus(self.beside(scattered, layer.backward))
        return found

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
        if self.tensor.cards <= 1 or recipe.loss in ("vocab_parallel", "classification"):
            return Waits()
        size = self.part.tokens * self.job.model.architecture.vocab * BYTES[recipe.compute]
        return Waits.on(self.tensor, 2 * self.tensor.gather(size))

    def step(self, backward: Seconds, forward: Seconds) -> Waits:
        """Once a step: gradients of all micro-batches, and the new weights below ZeRO 3."""
        cluster, recipe = self.job.cluster, self.job.recipe
        if self.data.cards <= 1 or cluster.stage == 3:
            return Waits()
        own = trained(self.job) / cluster.tensor_parallel
        gradients = self.gradient_width() * own
        if cluster.stage == 0:
            return self.beside(self.data.reduce(gradients), backward)
        found = self.beside(self.data.gather(BYTES[recipe.params] * own), forward)
        if cluster.stage == 1 and recipe.grad_accum > 1:
            found = found.plus(self.beside(self.data.gather(gradients), backward))
        return found

    def gradient_width(self) -> int:
        """Bytes of a gradient as it is summed."""
        wide = self.job.cluster.outer_apart or self.job.cluster.stage < 3
        return BYTES[self.job.recipe.grads] if wide else min(2, BYTES[self.job.recipe.grads]) * 1

    def _gathered_width(self) -> int:
        return min(BYTES[self.job.recipe.compute], BYTES[self.job.recipe.params])

    def _trained_share(self) -> float:
        return trained(self.job) / self.job.model.num_parameters

    def _tensor(self, layer: Layer) -> Waits:
        """Two sums of the residual stream a layer and direction, and again where it is repeated."""
        if self.tensor.cards <= 1:
            return Waits()
        recipe = self.job.recipe
        size = self.part.tokens * self.part.local.hidden * BYTES[recipe.compute]
        times = 6 if recipe.checkpointing == "full" else 4
        return Waits.on(self.tensor, times * self.tensor.reduce(size))

    def _context(self, layer: Layer) -> Waits:
        """Keys and values to each of the others; backward their gradients too."""
        ranks = self.context.cards
        if ranks <= 1:
            return Waits()
        part, recipe = self.part, self.job.recipe
        sent = 2 * part.local.kv_width * part.tokens * BYTES[recipe.compute] * (ranks - 1)
        seconds = self.context.latency + sent / self.context.rate
        again = 2 if recipe.checkpointing == "full" else 1
        forward = again * max(0.0, seconds - part.attention.forward)
        backward = max(0.0, 2 * seconds - part.attention.backward)
        return Waits.on(self.context, forward + backward)
