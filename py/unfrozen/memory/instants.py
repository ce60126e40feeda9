"""The instants of one optimizer step, each with its components; the peak is their maximum.

    load             the weights, before the first step
    end_of_forward   every activation, the loss and the way back through it, up to the gradient of
                     the head's input
    backward         the highest point inside the layers and the embedding
    end_of_backward  every gradient, no activation
    optimizer_step   the update and its temporaries

Gradients that are not summed but for the last micro-batch stay whole until then, however the rest
is sharded, and become shards in its backward pass. Where GPUs hold whole gradients, PyTorch's
DDP has them a second time in the buckets in which it sums them, from its first step on
(torch/nn/parallel/distributed.py, `gradient_as_bucket_view`).

Gradients of earlier micro-batches live through the forward pass; without accumulation they do not
exist yet, which is why a peak is a maximum and not a sum. Steps are those after the first, whose
forward pass runs before the moments exist. Passes without gradients, of a reference model or to
score rollouts, hold one layer at a time and are never the highest.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

from unfrozen.errors import PlanError
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import BYTES, Recipe
from unfrozen.memory.backward import MicroBatchMemory, head_update_points, layer_update_points
from unfrozen.memory.gathering import reduced_grad_bytes
from unfrozen.memory.pipeline import InFlightBatches, candidate_ranks, joined_stages, stages_of_rank
from unfrozen.memory.points import POINT_TERMS, Point, highest
from unfrozen.memory.states import (
    ExpertShare,
    per_gpu_bytes,
    state_bytes,
    trained_parameters,
    unsharded_moment_bytes,
    update_bytes,
)
from unfrozen.model import ModelConfig

Components = dict[str, int]
Instants = dict[str, Components]


class Step:
    """One step of a model under a recipe, on one GPU of a cluster.

    `loss_tokens` counts the positions of a micro-batch whose logits are computed; None means all.
    Raises PlanError where it does not lie in 1 … micro_batch · seq_len, and ModelError where
    tensor parallelism does not divide the model. `rank` is that of a pipeline, or a GPU of a
    device map; None: the one that holds most. `local` is the part of the model that this GPU's
    rank holds, `states` the bytes of weights, master copy, gradients and moments on the GPU,
    `micro_batch` one forward and backward pass, of a rank with several stages through that of them
    that needs most.
    """

    def __init__(
        self,
        model: ModelConfig,
        recipe: Recipe,
        cluster: Cluster | None = None,
        loss_tokens: int | None = None,
        rank: int | None = None,
    ) -> None:
        tokens = recipe.tokens
        if loss_tokens is not None and not 1 <= loss_tokens <= tokens:
            bound = f"it must lie in 1 … {tokens}, the tokens of a micro-batch"
            raise PlanError("loss_tokens", loss_tokens, bound, "correct it")
        self.recipe, self.cluster = recipe, cluster or Cluster()
        one = self.cluster
        split = model.split(one.tensor_parallel, one.expert_parallel, one.expert_tensor_parallel)
        apart = one.pipeline_parallel > 1
        if rank is None:
            rank = peak_rank_number(model, recipe, one, loss_tokens) if apart else 0
        self.rank = rank
        stages = stages_of_rank(split, one, rank) if apart else (split,)
        self.local = joined_stages(stages, split)
        self.states = self._states(self.local)
        everywhere = recipe.loss not in ("vocab_parallel", "loss_parallel")
        vocab = (model if everywhere else split).architecture.vocab
        rows = -(-(loss_tokens or tokens) // one.context_parallel)
        self._batches = tuple(
            MicroBatchMemory(stage, recipe, one, self._grads_of(stage), rows, vocab)
            for stage in stages
        )
        self._kept = (
            InFlightBatches(self._batches, rank, self.local, model.architecture.layers)
            if apart
            else None
        )
        self._beside = self._beside_work()
        self.micro_batch = self._batches[0]
        if len(stages) > 1:
            self.micro_batch = max(zip(self._batches, self._beside, strict=True), key=_highest)[0]

    def _states(self, held: ModelConfig) -> dict[str, int]:
        share = ExpertShare(held.expert_parameters, held.num_parameters)
        whole = unsharded_moment_bytes(held, self.recipe)
        sizes = state_bytes(held, self.recipe)
        more = self._embedding_share(held)
        if more > 1:
            sizes = {name: round(size * more) for name, size in sizes.items()}
        for name in ("params", *(("reference",) if self.recipe.copies_weights else ())):
            sizes[name] += BYTES[self.recipe.params] * held.frozen
        return per_gpu_bytes(sizes, self.cluster, whole, share)

    def _grads_of(self, stage: ModelConfig) -> int:
        """Return bytes of all gradients during a pass: sharded ones, unless they wait unsharded."""
        if self.recipe.accumulates_whole and self.cluster.stage >= 2:
            trained = trained_parameters(stage, self.recipe) * self._embedding_share(stage)
            return round(reduced_grad_bytes(self.recipe, self.cluster) * trained)
        return self.states["grads"] if stage is self.local else self._states(stage)["grads"]

    def _embedding_share(self, held: ModelConfig) -> float:
        """Return this rank's parameters over those that it would hold of a sharded embedding."""
        a = held.architecture
        if not self.cluster.whole_embedding or self.recipe.lora or not a.has_embedding:
            return 1.0
        return 1 + (self.cluster.tensor_parallel - 1) * a.vocab * a.hidden / held.num_parameters

    def _beside_work(self) -> tuple[Point, ...]:
        """Return what a pipeline rank holds beside the pass in progress, stage by stage."""
        kept = self._kept
        if kept is None:
            return ({},)
        more = kept.shared() | ({"grads": self.states["grads"]} if len(self._batches) > 1 else {})
        return tuple(kept.beside(stage) | more for stage in range(len(self._batches)))

    @property
    def in_flight(self) -> int:
        """Micro-batches in flight on a pipeline rank beside the pass, of one stage each."""
        return self._kept.count(self._batches.index(self.micro_batch)) if self._kept else 0

    @property
    def buckets(self) -> int:
        """Bytes of the buckets in which GPUs that hold whole gradients sum them."""
        recipe, cluster = self.recipe, self.cluster
        by_default = cluster.stage == 0 and cluster.alike > 1
        chosen = by_default if recipe.grad_buckets is None else recipe.grad_buckets and by_default
        return self.states["grads"] if chosen and not recipe.optimizer_in_backward else 0

    @cached_property
    def passes(self) -> dict[str, tuple[Point, ...]]:
        """Every point of the forward and of the backward pass, without the states."""
        forward: list[Point] = []
        backward: list[Point] = []
        for part, beside in zip(self._batches, self._beside, strict=True):
            first = (*part.forward_points(), *head_update_points(part))
            second = (*part.layer_points(), *layer_update_points(part))
            forward += [p | beside for p in first] if beside else first
            backward += [p | beside for p in second] if beside else second
        return {"end_of_forward": tuple(forward), "backward": tuple(backward)}

    @cached_property
    def points(self) -> dict[str, Point]:
        """The point of each instant that computes, without the states."""
        last = self.micro_batch
        still = {"held": last.held, "routers": last.routers(last.model.architecture.layers)}
        step = {"update": update_bytes(self.local, self.recipe, self.cluster.shards)}
        found = {
            **{name: highest(points) for name, points in self.passes.items()},
            "end_of_backward": still,
            "optimizer_step": still | step,
        }
        if self.buckets:
            found = {name: point | {"buckets": self.buckets} for name, point in found.items()}
        return found

    def instants(self) -> Instants:
        """Return the bytes by instant and component; components of 0 bytes are left out."""
        states = dict(self.states)
        grads = 0 if self.recipe.optimizer_in_backward else states["grads"]
        del states["grads"]
        resident = ("params", "reference", "master", "adapters", "quant_constants")
        points = self.points
        found = {
            "load": {name: states[name] for name in resident},
            "end_of_forward": merged(states, points["end_of_forward"]),
            "backward": merged(states, points["backward"]),
            "end_of_backward": merged(states | {"grads": grads}, points["end_of_backward"]),
            "optimizer_step": merged(states | {"grads": grads}, points["optimizer_step"]),
        }
        return {
            name: {key: size for key, size in components.items() if size}
            for name, components in found.items()
        }


@lru_cache(maxsize=1024)
def peak_rank_number(
    model: ModelConfig, recipe: Recipe, cluster: Cluster, loss_tokens: int | None = None
) -> int:
    """Return the pipeline rank, or device-map GPU, with the highest peak; 0 without one."""
    split = model.split(
        cluster.tensor_parallel, cluster.expert_parallel, cluster.expert_tensor_parallel
    )

    def saved_bytes(rank: int) -> int:
        return peak(Step(model, recipe, cluster, loss_tokens, rank).instants())[1]

    return max(candidate_ranks(split, cluster), key=saved_bytes)


def _highest(stage: tuple[MicroBatchMemory, Point]) -> int:
    part, beside = stage
    points = [p | beside for p in (*part.forward_points(), *part.layer_points())]
    return sum(highest(tuple(points)).values())


def peak(instants: Instants) -> tuple[str, int]:
    """Return the instant with the most memory, and its bytes."""
    totals = {name: sum(components.values()) for name, components in instants.items()}
    name = max(totals, key=lambda instant: totals[instant])
    return name, totals[name]


def merged(states: Components, point: Point) -> Components:
    """Return the states and the terms of a point, summed by component."""
    total = dict(states)
    for name, size in point.items():
        component = POINT_TERMS[name].component
        total[component] = total.get(component, 0) + size
    return total


def instants(
    model: ModelConfig,
    recipe: Recipe,
    cluster: Cluster | None = None,
    loss_tokens: int | None = None,
) -> Instants:
    """Return the bytes by instant and component of one step; see `Step`."""
    return Step(model, recipe, cluster, loss_tokens).instants()
