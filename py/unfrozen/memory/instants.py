"""The instants of one optimizer step, each with its components; the peak is their maximum.

    load             the weights, before the first step
    end_of_forward   every activation, the loss and the way back through it, up to the gradient of
                     the head's input
    backward         the highest point inside the layers and the embedding
    end_of_backward  every gradient, no activation
    optimizer_step   the update and its temporaries

Gradients that are not summed but for the last micro-batch stay whole until then, however the rest is
shared out, and become shards in its backward pass. Where cards hold whole gradients, PyTorch's DDP
has them a second time in the buckets in which it sums them, from its first step on
(torch/nn/parallel/distributed.py, `gradient_as_bucket_view`).

Gradients of earlier micro-batches live through the forward pass; without accumulation they do not
exist yet, which is why a peak is a maximum and not a sum. Steps are those after the first, whose
forward pass runs before the moments exist.
"""

from __future__ import annotations

from unfrozen.errors import PlanError
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.backward import Pass
from unfrozen.memory.early import head_update, layer_updates
from unfrozen.memory.gathering import summed_bytes
from unfrozen.memory.pieces import PIECES, Point, highest
from unfrozen.memory.sharding import per_card
from unfrozen.memory.states import (
    state_bytes,
    trained_parameters,
    update_bytes,
    whole_moment_bytes,
)
from unfrozen.model import ModelConfig

Components = dict[str, int]
Instants = dict[str, Components]


class Step:
    """One step of a model under a recipe, on one card of a cluster.

    `loss_tokens` counts the positions of a micro-batch whose logits are computed; None means all.
    Raises PlanError where it does not lie in 1 … micro_batch · seq_len, and ModelError where
    tensor parallelism does not divide the model. `local` is the part of the model that this card's
    rank holds, `states` the bytes of weights, master copy, gradients and moments on the card,
    `micro_batch` one forward and backward pass.
    """

    def __init__(
        self,
        model: ModelConfig,
        recipe: Recipe,
        cluster: Cluster | None = None,
        loss_tokens: int | None = None,
    ) -> None:
        tokens = recipe.tokens
        if loss_tokens is not None and not 1 <= loss_tokens <= tokens:
            bound = f"it must lie in 1 … {tokens}, the tokens of a micro-batch"
            raise PlanError("loss_tokens", loss_tokens, bound, "correct it")
        self.recipe, self.cluster = recipe, cluster or Cluster()
        self.local = model.split(self.cluster.tensor_parallel)
        whole = whole_moment_bytes(self.local, recipe)
        held = state_bytes(self.local, recipe)
        if self.cluster.whole_embedding and recipe.lora is None:
            held = {name: round(size * self._embedding_share()) for name, size in held.items()}
        self.states = per_card(held, self.cluster, whole)
        everywhere = recipe.loss != "vocab_parallel"
        self.micro_batch = Pass(
            self.local,
            recipe,
            self.cluster,
            self._grads_in_pass(),
            -(-(loss_tokens or tokens) // self.cluster.context_parallel),
            (model if everywhere else self.local).architecture.vocab,
        )

    def _embedding_share(self) -> float:
        """This rank's parameters over those that it would hold of a split embedding."""
        a = self.local.architecture
        more = (self.cluster.tensor_parallel - 1) * a.vocab * a.hidden
        return 1 + more / self.local.num_parameters

    def _grads_in_pass(self) -> int:
        """Bytes of all gradients during a pass: those of the shards, unless they wait whole."""
        if not self.recipe.accumulates_whole or self.cluster.stage < 2:
            return self.states["grads"]
        trained = trained_parameters(self.local, self.recipe)
        if self.cluster.whole_embedding:
            trained = round(trained * self._embedding_share())
        return summed_bytes(self.recipe, self.cluster) * trained

    @property
    def buckets(self) -> int:
        """Bytes of the buckets in which cards that hold whole gradients sum them."""
        recipe, cluster = self.recipe, self.cluster
        by_default = cluster.stage == 0 and cluster.alike > 1
        chosen = by_default if recipe.grad_buckets is None else recipe.grad_buckets and by_default
        return self.states["grads"] if chosen and not recipe.early_update else 0

    def points(self) -> dict[str, Point]:
        """The pieces of each instant that computes; states apart."""
        part = self.micro_batch
        still = {"held": part.held, "routers": part.routers(self.local.architecture.layers)}
        step = {"update": update_bytes(self.local, self.recipe, self.cluster.shards)}
        found = {
            "end_of_forward": highest((*part.forward_points(), *head_update(part))),
            "backward": highest((*part.layer_points(), *layer_updates(part))),
            "end_of_backward": still,
            "optimizer_step": still | step,
        }
        buckets = {"buckets": self.buckets}
        return {name: point | buckets for name, point in found.items()}

    def instants(self) -> Instants:
        """Bytes by instant and component; components that are 0 are left out."""
        states = dict(self.states)
        grads = 0 if self.recipe.early_update else states["grads"]
        del states["grads"]
        resident = ("params", "master", "adapters", "quant_constants")
        points = self.points()
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


def peak(instants: Instants) -> tuple[str, int]:
    """The instant that needs most, and its bytes."""
    totals = {name: sum(components.values()) for name, components in instants.items()}
    name = max(totals, key=lambda instant: totals[instant])
    return name, totals[name]


def merged(states: Components, point: Point) -> Components:
    """States and the pieces of a point, summed by component."""
    total = dict(states)
    for name, size in point.items():
        component = PIECES[name].component
        total[component] = total.get(component, 0) + size
    return total


def instants(
    model: ModelConfig,
    recipe: Recipe,
    cluster: Cluster | None = None,
    loss_tokens: int | None = None,
) -> Instants:
    """Bytes by instant and component of one step; see `Step`."""
    return Step(model, recipe, cluster, loss_tokens).instants()
