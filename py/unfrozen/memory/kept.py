"""What the layers keep, and what is kept beside them, on one card: checkpointing considered.

Only each n-th layer may be made again, counted from the first (prime-rl and torchtitan:
`layer_id % freq == 0`); the others keep everything. Under LISA (Pan et al., arXiv 2403.17919) the
frozen layers keep what frozen linear layers keep: no inputs.

A router that keeps its auxiliary loss as an attribute (KempnerForge, kempnerforge/model/router.py
@bc775fe) keeps, once its layer is made again, the graph that leads to it: PyTorch's checkpoints let
go of the outputs of the second pass, and the attribute is none of them (torch/utils/checkpoint.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.activations import (
    before_experts_bytes,
    beside_items,
    layer_bytes,
    outside_items,
    unreached_bytes,
    unreached_weights,
)
from unfrozen.memory.adapters import adapter_parameters
from unfrozen.memory.experts import dispatched_bytes
from unfrozen.memory.flow import Adapters, Flow, Item
from unfrozen.memory.kinds import kind_bytes, layer_kinds
from unfrozen.memory.mixed import selective_of, shared_of
from unfrozen.memory.pieces import Point
from unfrozen.model import ModelConfig

_FROZEN: Final = Adapters(0, 0, 0, 0, 0, 0, 0, "peft")
"""A layer without a weight that trains: no adapter reads anything."""


class KeptLayers:
    """What one micro-batch of `model`, this card's share of it, keeps until it is differentiated.

    In bytes: `layer` is what the largest layer keeps without checkpointing, `kept` what one that
    is made again keeps, `layers` what all of them keep on the card, `outside` what is kept outside
    them but for the head's input, `beside` what of that stays until the first layer is reached.
    """

    def __init__(self, model: ModelConfig, recipe: Recipe, cluster: Cluster) -> None:
        self.model, self.recipe, self.cluster = model, recipe, cluster
        self.flow = Flow.of(model, recipe, sharded_weights=cluster.stage == 3)
        self.tokens = -(-recipe.tokens // cluster.context_parallel)
        self.whole_ranks = cluster.tensor_parallel if cluster.sequence_parallel else 1
        self.layer = self._layer_bytes()
        self.kept = self._kept_bytes()
        self.layers = self._layers_bytes()
        self._again = self._again_bytes()
        self.outside = self._outside_bytes(outside_items)
        self.beside = self._outside_bytes(beside_items)

    def made_again(self, layer: int) -> bool:
        """Whether a layer, counted from the first, is recomputed in the backward pass."""
        recipe = self.recipe
        return recipe.checkpointing != "none" and layer % recipe.checkpoint_every == 0

    def first_layers(self, count: int) -> int:
        """Bytes that the first `count` layers keep on the card."""
        recipe = self.recipe
        again = -(-count // recipe.checkpoint_every)
        if recipe.checkpointing == "none" or again == count:
            return min(self.layers, count * self.kept)
        return min(self.layers, again * self.kept + (count - again) * self.layer)

    def recomputed(self, layer: int) -> int:
        """What a layer that is made again holds beside what was kept of it; 0 where none is."""
        return self._again if self.made_again(layer) else 0

    def _again_bytes(self) -> int:
        kind = self.recipe.checkpointing
        if kind == "none":
            return 0
        shared = min(
            shared_of(of, self.flow, kind, self.whole_ranks, sparse)
            for of, sparse in layer_kinds(self.model)
        )
        return self.layer - round(self.tokens * shared)

    def routers(self, differentiated: int) -> int:
        """What leads to the auxiliary losses of so many layers, the last ones, made again."""
        held = self.recipe.router_held and self.recipe.checkpointing != "none"
        if not held or not self.model.sparse_layers:
            return 0
        each = before_experts_bytes(self.model.architecture, self.flow, self.whole_ranks)
        return round(self.tokens * each) * differentiated // self.recipe.checkpoint_every

    def _layer_bytes(self) -> int:
        each = kind_bytes(self.model, self.flow, self.whole_ranks)
        return round(self.tokens * max(size for size, _ in each))

    def _kept_bytes(self) -> int:
        a, recipe = self.model.architecture, self.recipe
        if recipe.checkpointing == "full":
            return round(self.tokens * self.flow.stream * a.hidden / self.whole_ranks)
        if recipe.checkpointing == "selective":
            kept = max(
                selective_of(of, self.flow, self.whole_ranks, sparse)
                for of, sparse in layer_kinds(self.model)
            )
            return round(self.tokens * kept)
        return self.layer

    def _layers_bytes(self) -> int:
        a = self.model.architecture
        if self.recipe.activation_offload:  # those of two layers are on their way
            whole = min(2, a.layers, self.recipe.checkpoint_every - 1)  # next to each other
            return whole * self.layer + (min(2, a.layers) - whole) * self.kept
        if self.recipe.checkpointing != "none":
            again = -(-a.layers // self.recipe.checkpoint_every)
            return again * self.kept + (a.layers - again) * self.layer
        if self.recipe.lisa_layers:
            return self._sampled_bytes(self.recipe.lisa_layers)
        each = kind_bytes(self.model, self.flow, self.whole_ranks)
        if len(each) == 1:
            return a.layers * self.kept - self.tokens * unreached_bytes(a, self.flow)
        return round(self.tokens * sum(count * size for size, count in each))

    def _sampled_bytes(self, sampled: int) -> int:
        """Of `sampled` layers that train and others that do not."""
        a = self.model.architecture
        frozen = replace(self.flow, adapters=_FROZEN)
        sparse = self.model.sparse_layers > 0
        each = round(self.tokens * layer_bytes(a, frozen, sparse, self.whole_ranks))
        trained = min(sampled, a.layers)
        return trained * self.layer + (a.layers - trained) * min(each, self.layer)

    def _outside_bytes(self, items: Callable[..., list[Item]]) -> int:
        a, recipe = self.model.architecture, self.recipe
        checkpointed = recipe.checkpointing != "none"
        found = items(a, self.flow, checkpointed, recipe.micro_batch)
        ranks = self.whole_ranks
        return round(self.tokens * sum(i.size / ranks if i.whole else i.size for i in found))

    def flowing(self, layer: bool) -> Point:
        """Buffers of parallelism and of quantised weights, inside a layer or outside."""
        a, cluster, c = self.model.architecture, self.cluster, self.flow.compute
        found: Point = {}
        if cluster.sequence_parallel and cluster.tensor_parallel > 1:
            found["gathered_inputs"] = (2 if layer else 1) * c * self.tokens * a.hidden
        if cluster.context_parallel > 1 and layer:
            found["ring"] = 4 * c * self.tokens * a.kv_width
        if cluster.expert_parallel > 1 and layer:
            found["dispatched"] = dispatched_bytes(a, self.flow, self.tokens) // self.whole_ranks
        if self.recipe.base and layer:
            found["dequantised"] = c * self.model.largest_matrix
        return found

    def casts(self, layers: int, *, forward: bool = False, head: bool = False) -> int:
        """16-bit copies of the weights of `layers` layers that autocast makes, and of the `head`.

        Until its context ends, after the loss, it keeps those of all that train; the graph keeps
        those that no checkpoint will make again, and that of a head which is not differentiated
        yet. Quantised weights are none that it casts.
        """
        a, flow, recipe = self.model.architecture, self.flow, self.recipe
        remade = recipe.checkpointing != "none"
        adapters = 0
        if recipe.lora and flow.adapters and flow.adapters.cast:
            each = adapter_parameters(self.model, recipe.lora) // a.layers
            adapters = each * (min(layers, 1) if remade and not forward else layers)
        if not flow.autocast:
            return flow.compute * adapters
        kept = self.model.layer_linears
        if flow.kernels == "fused_block":  # it casts the others again
            kept = a.q_width * a.hidden
        if recipe.base:
            kept = 0
        if recipe.lora and remade:  # frozen ones are there within their layer only
            copies = 0 if forward or head else kept
        elif recipe.lora:
            copies = max(0, layers * kept - unreached_weights(a, flow))
        else:
            copies = kept * (min(layers, 1) if remade and not forward else layers)
        return flow.compute * (copies + adapters + (a.head_size if head else 0))
