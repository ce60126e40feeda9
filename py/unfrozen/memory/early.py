"""The update within the backward pass: each weight moves when its gradient is there.

What an update needs for a moment it then needs beside what the pass still keeps, which is most for
the weights that come first: an untied head, and the last layer. On several cards a unit's gradients
come together, as its share of the buffer in which they were summed.
"""

from __future__ import annotations

from unfrozen.memory.activations import feed_forward_bytes
from unfrozen.memory.backward import Pass
from unfrozen.memory.pieces import Point
from unfrozen.memory.states import update_bytes
from unfrozen.memory.working import feed_forward_size


def head_update(part: Pass) -> tuple[Point, ...]:
    """The update of a head of its own, while everything is kept; () where there is none."""
    a = part.model.architecture
    late = part.gathering.late  # it waits for the embedding
    if not part.recipe.early_update or a.tied or not part.head_trains or late:
        return ()
    point = part.kept_point() | part.gathering.at_head_update()
    return (_updated(part, point | {"head": part.loss.at_head}, part.head_size),)


def layer_updates(part: Pass) -> tuple[Point, ...]:
    """The updates of the layer differentiated first and of the embedding; () where none is."""
    if not part.recipe.early_update:
        return ()
    a, model, flow = part.model.architecture, part.model, part.flow
    tied = part.head_size if a.tied else 0
    if part.gathering.largest:
        layer = {"layers": part.layers - part.kept, "outside": part.beside}
        point = layer | part.gathering.at_layer_update()
        first = _updated(part, point, model.largest_layer)
        end: Point = part.gathering.at_update()
        return first, _updated(part, end, part.gathering.largest)
    fused = flow.kernels == "fused_block"  # else its last product has become its gradient, no more
    freed = part.tokens * feed_forward_bytes(a, flow) if fused else 0
    again = part.recomputed(a.layers - 1)
    kept = {"layers": part.layers - (0 if again else freed), "outside": part.beside}
    kept |= {"recomputed": again - freed if again else 0, "casts": part.casts(a.layers)}
    together = feed_forward_size(model) if fused else a.ffn * a.hidden
    incoming: Point = {"embedding": part.tokens * flow.stream * a.hidden}
    first = _updated(part, kept | incoming, together, tied, a.ffn * a.hidden)
    return first, _updated(part, {"outside": 8 * part.tokens}, model.largest_tensor)


def _updated(part: Pass, point: Point, here: int, more: int = 0, tensor: int = 0) -> Point:
    """`point` with the gradients of `here` + `more` parameters and the update of a tensor."""
    largest = tensor or min(here, part.model.largest_tensor)
    update = update_bytes(part.model, part.recipe, part.cluster.shards, largest)
    point = point | {"held": part.held}
    return point | {"grads": part.grads_of(here + more), "update": update}
