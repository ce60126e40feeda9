"""One micro-batch on one GPU: candidates for the highest points of its forward and backward pass.

The terms of a point are those of `unfrozen.memory.points`. With the optimizer step in the backward
pass each weight is updated as soon as its gradient is there: what an update needs for a moment it
then needs beside what is still saved, which is most for the weights that come first: an untied
head, and the last layer. On several GPUs the gradients of a unit arrive together, as this GPU's
shard of the buffer in which they were reduced.
"""

from __future__ import annotations

from unfrozen.job.cluster import Cluster
from unfrozen.job.lora import trained_whole
from unfrozen.job.recipe import BYTES, Recipe
from unfrozen.memory.activations import feed_forward_bytes
from unfrozen.memory.gathering import ShardTraffic
from unfrozen.memory.loss import (
    alive_output_bytes,
    loss_kind,
    loss_memory,
    with_weight_sum,
)
from unfrozen.memory.points import Point
from unfrozen.memory.saved_activations import SavedActivations
from unfrozen.memory.states import beside_frozen, update_bytes
from unfrozen.memory.workspace import feed_forward_size, low_casts, workspace_points
from unfrozen.model import ModelConfig


class MicroBatchMemory(SavedActivations):
    """Forward and backward pass of one micro-batch of `model`, this GPU's share of it.

    `grads_bytes` is what all gradients of this GPU take during the pass, `loss_tokens` the
    positions whose logits are computed, `vocab` the logits of one of them on this GPU; see
    `SavedActivations` for the rest.
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
        super().__init__(model, recipe, cluster)
        self.grads_bytes, self.loss_tokens, self.vocab = grads_bytes, loss_tokens, vocab
        a = model.architecture
        self.head_size = a.head_size
        self.gathering = ShardTraffic(model, recipe, cluster)
        self._cut = bool(self.gathering.largest)
        self._grad_width = self.gathering.grad_width or BYTES[recipe.params]
        self._tied = self.head_size if a.tied else 0
        self._whole = trained_whole(model, recipe.lora) if recipe.lora else (0, 0)
        self.head_trains = bool(self.head_size and (recipe.lora is None or self._whole[1]))
        self._resident = recipe.resident_grads(encoder=bool(a.labels))
        self._at_once = recipe.whole_compile and self._resident and recipe.lora is None
        at_once = model.largest_tensor
        if recipe.kernels == "fused_block":
            at_once = max(at_once, feed_forward_size(model))
        self._largest_grad = round(grads_bytes * (at_once / model.num_parameters))
        self.loss_kind = loss_kind(a, recipe, sharded_weights=cluster.stage == 3)
        sizes = self.setup.compute, loss_tokens, a.hidden, vocab
        upcast = self.loss_kind == "logits_fp32"  # outside the model, and what compiles it
        self.one_kernel = recipe.compiled_loss is True if upcast else recipe.loss_compiled
        self.loss = loss_memory(self.loss_kind, self.one_kernel, *sizes, capped=a.caps_logits)
        if self.loss_kind == "linear" and self.head_trains:
            c, narrow = self.setup.compute, not self.setup.autocast
            sizes = c, loss_tokens, vocab, self.head_size
            self.loss = with_weight_sum(self.loss, *sizes, narrow=narrow)
        held = alive_output_bytes(self.loss_kind, self.setup.compute) if recipe.keeps_outputs else 0
        self.held = held * loss_tokens * vocab
        self._held: Point = {"held": self.held} if self.held else {}

    @property
    def _shares_head(self) -> bool:
        """Whether a tied head and its embedding train as one."""
        return self.head_trains and self.recipe.lora is None

    @property
    def watched(self) -> int:
        """Bytes of the gradients of all layers' inputs, where they stay until the pass is over."""
        a = self.model.architecture
        stays = self.recipe.reenters and self.gathering.watches_inputs
        return self.setup.stream * self.tokens * a.hidden * a.layers if stays else 0

    def saved_point(self) -> Point:
        """Return what is saved when the loss is computed."""
        a = self.model.architecture
        inputs = self.setup.compute * a.hidden * self.loss_tokens if self.head_trains else 0
        kept = {"layers": self.layers, "outside": self.outside, "head_input": inputs}
        if self.folds:
            kept["folded"] = self.folded(a.layers, forward=True)
        head = self.loss_kind != "linear"  # which casts it for itself
        return (
            kept | {"casts": self.casts(a.layers, head=head)} | self.parallel_buffers(layer=False)
        )

    def forward_points(self) -> tuple[Point, ...]:
        """Return the points at the loss and in the head's backward, or what is saved."""
        a, loss = self.model.architecture, self.loss
        more = self.saved_point()
        if not a.has_head:
            return (self._point(0, more),)
        early = self.head_size if loss.early and self.head_trains else 0
        selected = 0  # the last norm's output; under autocast also its rows, before they are cast
        if self.loss_kind == "linear":
            rows = self.tokens + (self.loss_tokens if self.setup.autocast else 0)
            selected = self.setup.stream * a.hidden * rows
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
                | self.gathering.at_head(self.head_size),
                late=self.head_size,
                here=self.head_size,
            ),
            self._point(
                0, more | {"head": more["head_input"]} | self.gathering.after_head(), here=0
            ),
        )

    def layer_points(self) -> tuple[Point, ...]:
        """Return points at the last norm, in the first and last layers, and at the embedding."""
        a, model, t = self.model.architecture, self.model, self.tokens
        ids, embedding = 8 * t if a.has_embedding else 0, a.embedding_size
        sum_of_two = 2 * self._grad_width * embedding if a.tied and self._shares_head else 0
        norm = (
            self._point(
                self.head_size,
                {
                    "layers": self.layers,
                    "outside": self.outside,
                    "norm": 20 * t * a.hidden // self.whole_ranks,
                    "folded": self.folded(a.layers, forward=True),
                    "casts": self.casts(a.layers),
                }
                | self.gathering.at_norm(),
                late=self.gathering.late,
                here=self._tied,
            ),
        )
        return (
            *(norm if a.has_head else ()),
            *self._inside_points(),
            self._point(
                model.num_parameters,
                {
                    "outside": ids,
                    "embedding": t * self.setup.stream * a.hidden,
                    "tied": sum_of_two,
                    "widened": self._widened(),
                    "routers": self.routers(a.layers),
                }
                | self.gathering.at_embedding(),
                late=self.gathering.last,
                here=embedding,
            ),
            self._point(
                model.num_parameters,
                {"outside": ids, "routers": self.routers(a.layers)} | self.gathering.at_end(),
                late=self.gathering.last,
            ),
        )

    def _inside_points(self) -> list[Point]:
        """Return the highest points inside the layers whose backward passes come first and last."""
        a, model, t = self.model.architecture, self.model, self.tokens
        shared = {"outside": self.beside} | self.parallel_buffers(layer=True)
        again = self.setup.autocast and self.setup.kernels == "fused_block"
        cast = self.setup.compute * a.ffn * a.hidden if again else 0
        few = low_casts(model, self.recipe.compute, t)
        low: Point = {"low_casts": few} if few else {}
        found = []
        for index, reached in self._places():
            left, first = a.layers - index, index == 0
            recomputed = self.recomputed(left - 1)
            stays = self.recipe.reenters and bool(recomputed)
            watched = self.watched
            layers = self.layers if first or watched else self.first_layers_bytes(left)
            layers += stays * self.setup.stream * t * a.hidden + watched * index // a.layers
            same = shared | low | {"casts": self.casts(left) + cast}
            if self.folds:
                same["folded"] = self.folded(left)
            if self.recipe.router_held:
                same["routers"] = self.routers(index)
            for name, freed, added, grads, fixed in workspace_points(
                model, self.setup, self.whole_ranks, left - 1
            ):
                gone = min(t * freed, recomputed)  # what was recomputed, then what was kept
                point = same | self.gathering.in_layer(grads, first=first, last=left == 1)
                point["layers"] = layers - (t * freed - gone)
                point["recomputed"] = recomputed - gone
                point[name] = t * added + fixed
                late = self.gathering.late + grads
                here = self._tied + (grads if name == "feed_forward" else 0)
                found.append(self._point(reached + grads, point, late, here))
        return found

    def _widened(self) -> int:
        """Return the fp32 sum that a compiled embedding makes of 16-bit gradients in backward."""
        inside = self.recipe.whole_compile and not self.gathering.largest and self.head_trains
        return 4 * self.head_size if inside and self.setup.compute < 4 else 0

    def _places(self) -> list[tuple[int, int]]:
        """Return the layers where a point may be highest, counted from the last, and the parameters
        whose gradients exist by then.

        What is kept falls, and gradients grow, by the same amount a layer, so that the ends are
        enough; but GPUs that gather have another layer on its way, and one behind them, in all
        but these, and where not all layers are recomputed, or train, any may be the highest.
        """
        a, model = self.model.architecture, self.model
        below = (a.positions + (0 if a.tied else a.vocab)) * a.hidden + model.tower_parameters
        below *= a.has_embedding
        above_first = model.num_parameters - model.layer_parameters(0) - below
        found = {0: self.head_size, a.layers - 1: above_first}
        between = {1, a.layers - 2} if self._cut else set()
        if self.recipe.checkpoint_every > 1:
            between = set(range(a.layers))
        each = (model.num_parameters - model.outer_parameters) // a.layers
        inside = {index for index in between if 0 < index < a.layers - 1}
        found |= {index: self.head_size + index * each for index in inside}
        return sorted(found.items())

    def _point(self, reached: int, pieces: Point, late: int = 0, here: int = 0) -> Point:
        """Return a point with the gradients of `reached` parameters, or with all when accumulating.

        On several GPUs those of `late` parameters are left out, which no GPU has its shard of yet.
        Where weights are updated within the pass, only the gradients of the parameters `here`
        exist.
        """
        cut = self._cut
        grads = self.grads_of(self.gathering.sharded_count(reached, late))
        if self.recipe.optimizer_in_backward:  # those of a unit are in a buffer that is counted
            return {**pieces, **self._held, "grads": 0 if cut else self.grads_of(here)}
        if self._resident:
            fresh = grads if self._at_once else min(grads, self._largest_grad)
            fresh = 0 if cut else fresh
            return {**pieces, **self._held, "grads": self.grads_bytes, "fresh": fresh}
        return {**pieces, **self._held, "grads": grads}

    def grads_of(self, parameters: int) -> int:
        """Return the bytes of the gradients of so many parameters on this GPU."""
        return round(self.grads_bytes * self._share_reached(parameters))

    def _share_reached(self, parameters: int) -> float:
        """Return the share of all gradients that exist.

        Adapters are inside the layers; the head that trains beside them is reached before, the
        embedding after them, and sharded ones are reduced when the pass is over.
        """
        model, recipe = self.model, self.recipe
        if recipe.lora is None:
            return parameters / model.num_parameters
        inside = model.num_parameters - model.outer_parameters
        reached = min(max(0, parameters - self.head_size), inside)
        if not any(self._whole):
            return reached / inside
        thin, whole = beside_frozen(model, recipe, BYTES[recipe.grads])
        embedding, head = self._whole
        there = head * (parameters > 0) + embedding * (parameters >= model.num_parameters)
        there = 0 if self._cut else there
        return (thin * reached / inside + whole * there / (embedding + head)) / (thin + whole)


def head_update_points(part: MicroBatchMemory) -> tuple[Point, ...]:
    """Return points at the update of a separate head, while all activations are saved or ()."""
    a = part.model.architecture
    late = part.gathering.late  # it waits for the embedding
    if not part.recipe.optimizer_in_backward or a.tied or not part.head_trains or late:
        return ()
    point = part.saved_point() | part.gathering.at_head_update()
    return (_updated(part, point | {"head": part.loss.at_head}, part.head_size),)


def layer_update_points(part: MicroBatchMemory) -> tuple[Point, ...]:
    """Return points at the updates of the last layer and of the embedding or ()."""
    if not part.recipe.optimizer_in_backward:
        return ()
    a, model, setup = part.model.architecture, part.model, part.setup
    tied = part.head_size if a.tied else 0
    if part.gathering.largest:
        layer = {"layers": part.layers - part.kept, "outside": part.beside}
        point = layer | part.gathering.at_layer_update()
        first = _updated(part, point, model.largest_layer)
        end: Point = part.gathering.at_update()
        return first, _updated(part, end, part.gathering.largest)
    fused = setup.kernels == "fused_block"  # else its last matmul has become its gradient, no more
    freed = part.tokens * feed_forward_bytes(a, setup) if fused else 0
    again = part.recomputed(a.layers - 1)
    kept = {"layers": part.layers - (0 if again else freed), "outside": part.beside}
    kept |= {"recomputed": again - freed if again else 0, "casts": part.casts(a.layers)}
    together = feed_forward_size(model) if fused else a.ffn * a.hidden
    incoming: Point = {"embedding": part.tokens * setup.stream * a.hidden}
    first = _updated(part, kept | incoming, together, tied, a.ffn * a.hidden)
    return first, _updated(part, {"outside": 8 * part.tokens}, model.largest_tensor)


def _updated(
    part: MicroBatchMemory, point: Point, here: int, more: int = 0, tensor: int = 0
) -> Point:
    """Return `point` with gradients of `here` + `more` parameters and the update of a tensor."""
    largest = tensor or min(here, part.model.largest_tensor)
    update = update_bytes(part.model, part.recipe, part.cluster.shards, largest)
    point = point | {"held": part.held}
    return point | {"grads": part.grads_of(here + more), "update": update}
