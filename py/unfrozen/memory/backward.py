"""One micro-batch on one card: the candidates for the highest points of forward and backward.

The pieces of a point are those of `unfrozen.memory.pieces`.
"""

from __future__ import annotations

from collections.abc import Callable

from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import BYTES, Recipe
from unfrozen.memory.activations import (
    beside_items,
    first_norm_bytes,
    outside_items,
)
from unfrozen.memory.flow import Flow, Item
from unfrozen.memory.gathering import Gathering
from unfrozen.memory.kinds import kind_bytes, layer_kinds
from unfrozen.memory.loss import loss_memory
from unfrozen.memory.mixed import selective_of, shared_of
from unfrozen.memory.pieces import Point
from unfrozen.memory.working import feed_forward_size, working_points
from unfrozen.model import ModelConfig


class Pass:
    """Forward and backward pass of one micro-batch of `model`, this card's share of it.

    `grads_bytes` is what all gradients of this card take, `loss_tokens` the positions whose logits
    are computed, `vocab` the logits of one of them on this card. In bytes: `layer` is what the
    largest layer keeps without checkpointing, `kept` what one keeps, checkpointing considered,
    `layers` what all of them keep on the card, `outside` what is kept outside them but for the
    head's input.
    """

    def __init__(
        self,
        model: ModelConfig,
        recipe: Recipe,
        cluster: Cluster,
        grads_bytes: int,
        loss_tokens: int,
        vocab: int,
    ) -> None:
        self.model, self.recipe, self.cluster = model, recipe, cluster
        self.grads_bytes, self.loss_tokens, self.vocab = grads_bytes, loss_tokens, vocab
        self.flow = Flow.of(model, recipe, sharded_weights=cluster.stage == 3)
        self.tokens = -(-recipe.tokens // cluster.context_parallel)
        self._whole_ranks = cluster.tensor_parallel if cluster.sequence_parallel else 1
        a = model.architecture
        self.head_size = 0 if a.labels else a.vocab * a.hidden
        self.gathering = Gathering(model, recipe, cluster)
        self._grad_width = self.gathering.grad_width or BYTES[recipe.params]
        self._tied = self.head_size if a.tied else 0
        self.head_trains = recipe.lora is None and self.head_size > 0
        self._resident = recipe.resident_grads(encoder=a.labels > 0)
        at_once = model.largest_tensor
        if recipe.kernels == "fused_block":
            at_once = max(at_once, feed_forward_size(model))
        self._largest_grad = round(grads_bytes * at_once / model.num_parameters)
        self.layer = self._layer_bytes()
        self.kept = self._kept_bytes()
        self.layers = self._layers_bytes()
        self.outside = self._outside_bytes(outside_items)
        self.beside = self._outside_bytes(beside_items)
        self.loss_kind = "classification" if a.labels else recipe.loss
        if recipe.loss == "vocab_parallel" and cluster.stage == 3:
            self.loss_kind = "loss_parallel"
        sizes = self.flow.compute, loss_tokens, a.hidden, vocab
        self.loss = loss_memory(self.loss_kind, recipe.kernels, *sizes, capped=a.caps_logits)

    def _layer_bytes(self) -> int:
        each = kind_bytes(self.model, self.flow, self._whole_ranks)
        return round(self.tokens * max(size for size, _ in each))

    def _kept_bytes(self) -> int:
        a, recipe = self.model.architecture, self.recipe
        if recipe.checkpointing == "full":
            return round(self.tokens * self.flow.stream * a.hidden / self._whole_ranks)
        if recipe.checkpointing == "selective":
            kept = max(
                selective_of(of, self.flow, self._whole_ranks, sparse)
                for of, sparse in layer_kinds(self.model)
            )
            return round(self.tokens * kept)
        return self.layer

    def _layers_bytes(self) -> int:
        a = self.model.architecture
        if self.recipe.activation_offload:  # those of two layers are on their way
            return min(2, a.layers) * self.kept
        if self.recipe.checkpointing != "none":
            return a.layers * self.kept
        each = kind_bytes(self.model, self.flow, self._whole_ranks)
        if len(each) == 1:
            return a.layers * self.kept - self.tokens * first_norm_bytes(a, self.flow)
        return round(self.tokens * sum(count * size for size, count in each))

    def _outside_bytes(self, items: Callable[..., list[Item]]) -> int:
        a, recipe = self.model.architecture, self.recipe
        checkpointed = recipe.checkpointing != "none"
        found = items(a, self.flow, checkpointed, recipe.micro_batch)
        ranks = self._whole_ranks
        return round(self.tokens * sum(i.size / ranks if i.whole else i.size for i in found))

    def kept_point(self) -> Point:
        """What is kept when the loss is computed."""
        a = self.model.architecture
        inputs = self.flow.compute * a.hidden * self.loss_tokens if self.head_trains else 0
        kept = {"layers": self.layers, "outside": self.outside, "head_input": inputs}
        head = self.loss_kind != "linear"  # which casts it for itself
        return kept | {"casts": self.casts(a.layers, head=head)} | self._flowing(layer=False)

    def forward_points(self) -> tuple[Point, ...]:
        """The loss with its way back, and the head's backward pass."""
        a, loss = self.model.architecture, self.loss
        more = self.kept_point()
        early = self.head_size if loss.early and self.head_trains else 0
        selected = 0  # the last norm's output; under autocast also its rows, before they are cast
        if self.loss_kind == "linear":
            rows = self.tokens + (self.loss_tokens if self.flow.autocast else 0)
            selected = self.flow.stream * a.hidden * rows
        second = loss.weight_gradients * self.head_size if self.head_trains else 0
        return (
            self._point(
                early,
                more
                | {
                    "loss": loss.at_loss + selected,
                    "casts": self.casts(a.layers, forward=True, head=True),
                }
                | self.gathering.at_loss(early, forward=self.loss_kind.endswith("linear")),
                late=early,
                here=early,
            ),
            self._point(
                self.head_size,
                more
                | {
                    "head": loss.at_head,
                    "head_weight": second * self._grad_width,
                }
                | self.gathering.at_head(self.head_size if self.head_trains else 0),
                late=self.head_size,
                here=self.head_size,
            ),
            self._point(
                0, more | {"head": more["head_input"]} | self.gathering.after_head(), here=0
            ),
        )

    def layer_points(self) -> tuple[Point, ...]:
        """The last norm, the first layer differentiated, the last one, and the embedding."""
        a, model, t = self.model.architecture, self.model, self.tokens
        ids, embedding = 8 * t, a.vocab * a.hidden
        sum_of_two = 2 * self._grad_width * embedding if a.tied and self.head_trains else 0
        return (
            self._point(
                self.head_size,
                {
                    "layers": self.layers,
                    "outside": self.outside,
                    "norm": 20 * t * a.hidden // self._whole_ranks,
                    "casts": self.casts(a.layers),
                }
                | self.gathering.at_norm(),
                late=self.gathering.late,
                here=self._tied,
            ),
            *self._inside_points(),
            self._point(
                model.num_parameters,
                {
                    "outside": ids,
                    "embedding": t * self.flow.stream * a.hidden,
                    "tied": sum_of_two,
                }
                | self.gathering.at_embedding(),
                late=self.gathering.last,
                here=embedding,
            ),
            self._point(
                model.num_parameters,
                {"outside": ids} | self.gathering.at_end(),
                late=self.gathering.last,
            ),
        )

    def _inside_points(self) -> list[Point]:
        """The highest points inside the layers that are differentiated first and last."""
        a, model, t = self.model.architecture, self.model, self.tokens
        recomputed = self.recomputed
        shared = {"outside": self.beside} | self._flowing(layer=True)
        working = working_points(model, self.flow, self._whole_ranks)
        again = self.flow.autocast and self.flow.kernels == "fused_block"
        cast = self.flow.compute * a.ffn * a.hidden if again else 0
        found = []
        for index, reached in self._places():
            left, first = a.layers - index, index == 0
            layers = self.layers if first else min(self.layers, left * self.kept)
            for name, freed, added, grads in working:
                pieces = {"layers": layers, "recomputed": recomputed}
                pieces["casts"] = self.casts(left) + cast
                pieces["recomputed" if recomputed else "layers"] -= t * freed
                pieces |= self.gathering.in_layer(grads, first=first, last=left == 1)
                late = self.gathering.late + grads
                point = shared | pieces | {name: t * added}
                here = self._tied + (grads if name == "feed_forward" else 0)
                found.append(self._point(reached + grads, point, late, here))
        return found

    def _places(self) -> list[tuple[int, int]]:
        """Layers where a point may be highest, counted from the last one, and the parameters whose
        gradients are there when their turn comes.

        What is kept falls, and gradients grow, by the same amount a layer, so that the ends are
        enough; but cards that gather have another layer on its way, and one behind them, in all
        but these.
        """
        a, model = self.model.architecture, self.model
        below = (a.positions + (0 if a.tied else a.vocab)) * a.hidden + model.tower_parameters
        above_first = model.num_parameters - model.layer_parameters(0) - below
        found = {0: self.head_size, a.layers - 1: above_first}
        if self.gathering.largest:
            each = (model.num_parameters - model.outer_parameters) // a.layers
            between = {index for index in (1, a.layers - 2) if 0 < index < a.layers - 1}
            found |= {index: self.head_size + index * each for index in between}
        return sorted(found.items())

    @property
    def recomputed(self) -> int:
        """What a layer that is made again holds beside what was kept of it; 0 where none is."""
        kind = self.recipe.checkpointing
        if kind == "none":
            return 0
        shared = min(
            shared_of(of, self.flow, kind, self._whole_ranks, sparse)
            for of, sparse in layer_kinds(self.model)
        )
        return self.layer - round(self.tokens * shared)

    def _flowing(self, layer: bool) -> Point:
        """Buffers of parallelism and of quantised weights, inside a layer or outside."""
        a, cluster, c = self.model.architecture, self.cluster, self.flow.compute
        found: Point = {}
        if cluster.sequence_parallel and cluster.tensor_parallel > 1:
            found["gathered_inputs"] = (2 if layer else 1) * c * self.tokens * a.hidden
        if cluster.context_parallel > 1 and layer:
            found["ring"] = 4 * c * self.tokens * a.kv_width
        if self.recipe.base and layer:
            found["dequantised"] = c * self.model.largest_matrix
        return found

    def _point(self, reached: int, pieces: Point, late: int = 0, here: int = 0) -> Point:
        """The pieces, with the gradients of `reached` parameters, or all when accumulating; on
        several cards without those of `late` ones, which no card has its share of yet. Where
        weights move within the pass, with those of the parameters that are just `here`.
        """
        cut = self.gathering.largest > 0
        grads = self.grads_of(self.gathering.scattered(reached, late))
        if self.recipe.early_update:  # those of a unit are in a buffer that is counted
            return pieces | {"grads": 0 if cut else self.grads_of(here)}
        if self._resident:
            fresh = 0 if cut else min(grads, self._largest_grad)
            return pieces | {"grads": self.grads_bytes, "fresh": fresh}
        return pieces | {"grads": grads}

    def grads_of(self, parameters: int) -> int:
        """Bytes of the gradients of so many parameters on this card."""
        return round(self.grads_bytes * self._share_reached(parameters))

    def _share_reached(self, parameters: int) -> float:
        """The share of all gradients that exist; adapters sit inside the layers only."""
        if self.recipe.lora is None:
            return parameters / self.model.num_parameters
        inside = self.model.num_parameters - self.model.outer_parameters
        return min(1.0, max(0, parameters - self.head_size) / inside)

    def casts(self, layers: int, *, forward: bool = False, head: bool = False) -> int:
        """16-bit copies of the weights of `layers` layers that autocast makes, and of the `head`.

        Until its context ends, after the loss, it keeps them all; then the graph keeps those that
        no checkpoint will make again, and that of a head which is not differentiated yet.
        """
        if not self.flow.autocast:
            return 0
        a = self.model.architecture
        once = self.recipe.checkpointing != "none" and not forward
        kept = self.model.layer_linears
        if self.flow.kernels == "fused_block":  # it casts the others again
            kept = a.q_width * a.hidden
        copies = (min(layers, 1) if once else layers) * kept
        return self.flow.compute * (copies + (self.head_size if head else 0))
