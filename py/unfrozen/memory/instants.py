"""The instants of one optimizer step, each with its components; the peak is their maximum.

    load             the weights, before the first step
    end_of_forward   every activation, the loss and the way back through it, up to the gradient of
                     the head's input
    backward         the highest point inside the layers and the embedding
    end_of_backward  every gradient, no activation
    optimizer_step   the update and its temporaries

Gradients of earlier micro-batches live through the forward pass; without accumulation they do not
exist yet, which is why a peak is a maximum and not a sum. Steps are those after the first, whose
forward pass runs before the moments exist.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from unfrozen.cluster import Cluster
from unfrozen.errors import PlanError
from unfrozen.memory.activations import (
    Precision,
    checkpoint_bytes,
    layer_bytes,
    outside_bytes,
)
from unfrozen.memory.loss import head_bytes, loss_bytes
from unfrozen.memory.sharding import gathered_bytes, per_card
from unfrozen.memory.states import state_bytes
from unfrozen.model import ModelConfig
from unfrozen.recipe import BYTES, Recipe

Components = dict[str, int]
Instants = dict[str, Components]


@dataclass(frozen=True)
class Step:
    """One step of a model under a recipe, on one card of a cluster.

    `loss_tokens` counts the positions of a micro-batch whose logits are computed; None means all.
    Raises PlanError where it does not lie in 1 … micro_batch · seq_len.
    """

    model: ModelConfig
    recipe: Recipe
    cluster: Cluster = field(default_factory=Cluster)
    loss_tokens: int | None = None

    def __post_init__(self) -> None:
        tokens = self.recipe.tokens
        if self.loss_tokens is not None and not 1 <= self.loss_tokens <= tokens:
            bound = f"it must lie in 1 … {tokens}, the tokens of a micro-batch"
            raise PlanError("loss_tokens", self.loss_tokens, bound, "correct it")

    def instants(self) -> Instants:
        """Bytes by instant and component; components that are 0 are left out."""
        states = per_card(state_bytes(self.model, self.recipe), self.cluster)
        grads = states.pop("grads")
        gathered = gathered_bytes(self.model, self.recipe, self.cluster)
        computing = states | {"gathered": gathered}
        forward, backward = _Pass(self, grads).points()
        found = {
            "load": {"params": states["params"], "master": states["master"]},
            "end_of_forward": computing | forward,
            "backward": computing | backward,
            "end_of_backward": states | {"grads": grads},
            "optimizer_step": states | {"grads": grads, "workspace": self._update_bytes(states)},
        }
        return {
            name: {key: size for key, size in components.items() if size}
            for name, components in found.items()
        }

    def _update_bytes(self, states: Components) -> int:
        """Temporaries of the update: none, one more copy of the weights, or of one tensor."""
        if self.recipe.step == "fused":
            return 0
        updated = states["master"] or states["params"]
        if self.recipe.step == "foreach":
            return updated
        share = self.model.largest_tensor / self.model.num_parameters
        return round(2 * share * updated)


def peak(instants: Instants) -> tuple[str, int]:
    """The instant that needs most, and its bytes."""
    totals = {name: sum(components.values()) for name, components in instants.items()}
    name = max(totals, key=lambda instant: totals[instant])
    return name, totals[name]


class _Pass:
    """Forward and backward of one micro-batch: candidates for the highest point of each."""

    def __init__(self, step: Step, grads_bytes: int) -> None:
        recipe, self._a = step.recipe, step.model.architecture
        self._step, self._recipe = step, recipe
        self._precision = Precision.of(recipe, sharded_weights=step.cluster.stage == 3)
        self._tokens = recipe.tokens
        self._loss_tokens = step.loss_tokens or recipe.tokens
        self._full_grads = grads_bytes
        self._grad_width = grads_bytes / step.model.num_parameters  # of this card's share
        a, precision = self._a, self._precision
        self._layer = self._tokens * layer_bytes(a, recipe, precision)
        self._checkpointed = recipe.checkpointing == "full"
        kept = self._tokens * checkpoint_bytes(a, precision) if self._checkpointed else self._layer
        self._layers = a.layers * kept
        share = self._loss_tokens / self._tokens
        self._outside = self._tokens * outside_bytes(a, recipe, precision, share)
        # the feed-forward part: the incoming gradient and those of its products, the first of
        # which takes the place of the product it frees
        width = a.hidden + (2 if a.gated else 1) * a.ffn
        self._mlp_working = self._tokens * precision.compute * width
        self._norm_working = self._tokens * 5 * 4 * a.hidden  # five fp32 tensors

    def points(self) -> tuple[Components, Components]:
        """Highest point of forward and loss, and of the rest of the backward pass."""
        c = self._precision.compute
        everything = self._layers + self._outside
        casts = self._cast_bytes(self._a.layers)
        loss = loss_bytes(self._a, self._recipe, c, self._loss_tokens)
        head = head_bytes(self._a, c, self._loss_tokens)
        forward = (
            self._point(0, activations=everything, logits_loss=loss, workspace=casts),
            self._point(self._head_size, activations=everything, logits_loss=head, workspace=casts),
        )
        return _highest(forward), _highest(self._layer_points())

    def _layer_points(self) -> tuple[Components, ...]:
        """The last norm, the first layer differentiated, the last one, and the embedding."""
        a, model = self._a, self._step.model
        recompute = self._layer if self._checkpointed else 0
        one_layer, ids = self._layers // a.layers + recompute, self._tokens * 8
        embedding = a.vocab * a.hidden
        above_first = model.num_parameters - model.layer_parameters(0)
        # a tied embedding has two gradients, and autograd adds them into a third tensor
        sum_of_two = 2 * BYTES[self._recipe.params] * embedding if a.tied else 0
        return (
            self._point(
                self._head_size,
                activations=self._layers + self._outside,
                workspace=self._norm_working + self._cast_bytes(a.layers),
            ),
            self._point(
                self._head_size + a.hidden * a.ffn,
                activations=self._layers + recompute + ids,
                workspace=self._mlp_working + self._cast_bytes(a.layers),
            ),
            self._point(
                above_first + a.hidden * a.ffn - (0 if a.tied else embedding),
                activations=one_layer + ids,
                workspace=self._mlp_working + self._cast_bytes(1),
            ),
            self._point(
                model.num_parameters,
                activations=ids,
                workspace=self._tokens * self._precision.stream * a.hidden + sum_of_two,
            ),
        )

    def _point(self, new_grads: int, **parts: int) -> Components:
        """Components with the gradients of `new_grads` parameters, or all when accumulating."""
        grads = round(self._grad_width * new_grads)
        if self._recipe.grad_accum > 1:
            largest = round(self._grad_width * self._step.model.largest_tensor)
            fresh = min(grads, largest)  # the gradient that is about to be added
            return parts | {"grads": self._full_grads, "workspace": parts["workspace"] + fresh}
        return parts | {"grads": grads}

    @property
    def _head_size(self) -> int:
        return self._a.vocab * self._a.hidden

    def _cast_bytes(self, layers: int) -> int:
        """16-bit copies of the weights that autocast makes and the graph keeps."""
        if not self._precision.autocast:
            return 0
        matrices = self._step.model.layer_matrices
        kept = min(layers, 1) if self._checkpointed else layers
        if layers == self._a.layers:
            return self._precision.compute * (kept * matrices + self._head_size)
        return self._precision.compute * kept * matrices


def _highest(points: tuple[Components, ...]) -> Components:
    return max(points, key=lambda components: sum(components.values()))


def instants(
    model: ModelConfig,
    recipe: Recipe,
    cluster: Cluster | None = None,
    loss_tokens: int | None = None,
) -> Instants:
    """Bytes by instant and component of one step; see `Step`."""
    return Step(model, recipe, cluster or Cluster(), loss_tokens).instants()
