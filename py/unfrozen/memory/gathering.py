"""The all-gather and reduce-scatter buffers of sharded weights and gradients, unit by unit.

Under ZeRO-3, as FSDP does it, a unit's weights are gathered when it computes; its gradients, once
all of them are there, are copied into a buffer and reduce-scattered. A unit is a layer, or the
root: everything outside the layers. The root stays gathered for the whole pass, and its gradients,
that of the head first, wait until the pass is over. Where embedding and head are not tied they can
be units of their own (`Cluster.outer_apart`). A root that is resharded after its forward pass
(`Cluster.root_resharded`) is not there while a loss outside the model is computed. Where gradients
are reduced after the last micro-batch only (`no_sync`), they wait unsharded, in the reduce dtype,
and are accumulated in place: no buffer waits beside them (torch/distributed/fsdp/
_fully_shard/_fsdp_param.py, `to_accumulated_grad_if_needed`, torch 2.13). Under ZeRO-2 weights are
whole, and a unit's gradients pass through a buffer where the reduce dtype is wider.

With reentrant checkpoints it is FSDP1 that shards. Their first forward pass records no graph, so
that it registers no hook before a layer's backward pass, and gathers none in advance
(torch/distributed/fsdp/_runtime_utils.py, `_register_pre_backward_hooks`, torch 2.4). It gathers
into the unsharded weights themselves, and has no buffer beside them. Of a unit whose weights are
frozen it watches the inputs' gradients (`_register_post_backward_reshard_only_hook`): the hook
holds input and gradient of the checkpoint until the whole backward pass is over.

Copies of embedding and head that train beside adapters belong to the root, and their gradients wait
until the pass is over.
"""

from __future__ import annotations

from unfrozen.job.cluster import Cluster
from unfrozen.job.lora import trained_whole
from unfrozen.job.recipe import BYTES, Recipe
from unfrozen.memory.adapters import QUANTISED_BITS, linear_parameters, quantized_parameters
from unfrozen.memory.points import Point
from unfrozen.model import ModelConfig


def reduced_grad_bytes(recipe: Recipe, cluster: Cluster) -> int:
    """Return the bytes of a gradient in the dtype in which it is reduced."""
    return BYTES[recipe.reduce or ("fp32" if cluster.outer_apart else recipe.grads)]


class ShardTraffic:
    """Gathered weights and unreduced gradients of a model; every method returns terms of a point.

    `late` are the parameters outside the layers whose gradients are scattered at the very end.
    """

    def __init__(self, model: ModelConfig, recipe: Recipe, cluster: Cluster) -> None:
        a = model.architecture
        self._model = model
        self._whole = cluster.stage == 3
        self._scatters = cluster.stage >= 2 and recipe.lora is None
        beside = trained_whole(model, recipe.lora) if recipe.lora and cluster.stage >= 2 else (0, 0)
        self._embedding, self._head = beside
        self._vocab = a.head_size or (0 if a.labels else a.embedding_size)
        both = a.has_embedding and a.has_head and self._vocab and not a.tied
        self._apart = bool(self._whole and cluster.outer_apart and both)
        self._width = BYTES[recipe.compute]
        self._layer_width: float = self._width
        if recipe.base:
            share = quantized_parameters(model, recipe) / linear_parameters(model)
            self._layer_width += share * (QUANTISED_BITS[recipe.base] / 8 - self._width)
        summed = reduced_grad_bytes(recipe, cluster)
        waits = not recipe.accumulates_whole and (self._whole or summed > self._width)
        self._summed = summed if waits else 0
        self._leaves_root = cluster.root_resharded
        self._ahead = 0 if recipe.reenters else 1
        outer = model.outer_parameters
        self._root = outer - 2 * self._vocab if self._apart else outer + sum(beside)
        if cluster.whole_embedding:
            self._root += (cluster.tensor_parallel - 1) * self._vocab
        self.late = self._vocab if self._whole and not self._apart else 0

    @property
    def summed_width(self) -> int:
        """Bytes of a gradient while it waits, whole, to be summed over GPUs."""
        return self._summed or self._width

    @property
    def grad_width(self) -> int | None:
        """Bytes of a gradient before it is scattered; None where weights are not cut."""
        return self._width if self._whole else None

    def sharded_count(self, reached: int, late: int) -> int:
        """Return how many of `reached` gradients are sharded already: all but the `late` ones."""
        return max(0, reached - late) if self._whole and self._scatters else reached

    @property
    def largest(self) -> int:
        """Parameters of the largest unit; 0 where weights are not cut."""
        return max(self._model.largest_layer, self._root, self._vocab) if self._whole else 0

    @property
    def most_gathered(self) -> int:
        """Bytes of gathered weights at the most: two layers run ahead (`limit_all_gathers`)."""
        return self._gathered(2).get("gathered", 0)

    @property
    def most_summed(self) -> int:
        """Bytes of the largest buffer in which gradients are summed over GPUs."""
        beside = self._embedding + self._head
        return self._summed * (self.largest if self._scatters else beside)

    @property
    def watches_inputs(self) -> bool:
        """Whether inputs of checkpoints, and their gradients, stay until the backward pass ends."""
        return self._whole and not self._ahead and not self._scatters

    @property
    def last(self) -> int:
        """Parameters of the unit whose gradients are scattered last: root or embedding."""
        return self._vocab if self._apart or not self._whole else self._root

    def at_loss(self, early: int, *, forward: bool) -> Point:
        """Return the gathered weights at the highest point of the loss; `early` is the size of the
        head's gradient, if it exists.

        In the `forward` pass, of the unit gathered last the buffer it came in is there too, until
        another is gathered; in the backward pass the last layer is on its way.
        """
        found = {} if self._leaves_root and not early else self._gathered(2 * self._ahead)
        if self._apart:
            layers, heads = (0, 2) if forward else (1, 1)
            found = self._gathered(layers, heads * self._vocab)
        return found | {"unreduced": self._width * early if self._whole else 0}

    def at_head(self, trained: int) -> Point:
        """Return the traffic in the backward pass of the head, which has `trained` parameters."""
        width = self._width if self._whole else self._width + self._summed
        unreduced = width * trained if self._scatters or self._head else 0
        return self.at_loss(0, forward=False) | {"unreduced": unreduced}

    def at_norm(self) -> Point:
        """Return the traffic in the last norm's backward, while the last layer is gathered."""
        before = 0 if self.late else self._vocab
        return self._gathered(2 * self._ahead) | {"unreduced": self._waiting(before)}

    def in_layer(self, reached: int, *, first: bool, last: bool) -> Point:
        """Return the traffic in a layer of which `reached` gradients exist; `first` and `last` in
        this pass.

        The next one is gathered, and the buffer in which the unit before was summed still there.
        """
        if not self._whole:
            layer = self._model.largest_layer
            return {"unreduced": (self._width + self._summed) * layer if self._scatters else 0}
        before = self._vocab if first else self._model.largest_layer
        own = self._width * reached if self._scatters else 0
        unreduced = own + self._waiting(0 if self.late and first else before)
        if last:
            found = self._gathered(1, self._vocab if self._apart else 0)
            return found | {"unreduced": unreduced}
        return self._gathered(1 + self._ahead) | {"unreduced": unreduced}

    def at_embedding(self) -> Point:
        """Return the traffic in the embedding's backward: its gradient, and a layer's buffer."""
        if not self._whole:
            return self.at_end()
        found = self._gathered(0, self._vocab if self._apart else 0)
        tied = self._model.architecture.tied  # its gradient is added to that of the head
        own = self._width * (self._vocab if self._scatters and not tied else self._embedding)
        return found | {"unreduced": own + self._waiting(self._model.largest_layer)}

    def at_end(self) -> Point:
        """Return the traffic while the last unit is reduce-scattered; no weight is gathered."""
        width = self._width + self._summed
        beside = self._embedding + self._head
        return {"unreduced": width * (self.last if self._scatters else beside)}

    def after_head(self) -> Point:
        """Return the traffic while a head of its own unit is reduce-scattered; {} without one.

        The last layer is on its way.
        """
        if not self._apart or not self._scatters:
            return {}
        return self._gathered(1) | {"unreduced": (self._width + self._summed) * self._vocab}

    def at_head_update(self) -> Point:
        """Return the traffic while a head of its own unit is updated within the backward pass."""
        if not self._apart:
            return {}
        return self._gathered(1) | {"unreduced": self._summed * self._vocab}

    def at_layer_update(self) -> Point:
        """Return the traffic while the last layer is updated, with the layer before it gathered."""
        return self._gathered(1) | {"unreduced": self._waiting(self._model.largest_layer)}

    def at_update(self) -> Point:
        """Return the traffic while the largest unit is updated in backward, buffer included."""
        return {"unreduced": self.most_summed}

    def _waiting(self, before: int) -> int:
        """Return the buffer of the previous unit, and the gradient of a head in the root."""
        if not self._whole or not self._scatters:
            return self._width * self._head if self._whole else 0
        return self._summed * before + self._width * self.late

    def _gathered(self, layers: int, more: int = 0) -> Point:
        if not self._whole:
            return {}
        inside = min(layers, self._model.architecture.layers) * self._model.largest_layer
        outside = self._width * (self._root + more)
        return {"gathered": round(outside + self._layer_width * inside)}
