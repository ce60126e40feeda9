"""The tensors of a model whose layers are of several kinds.

A `Blueprint` lists what stands before the layers, each kind of layer once with names relative to
it, which layer is of which kind, and what stands after them. `cut` is the
dimension that tensor-parallel ranks share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

Tensors = tuple["Tensor", ...]
Segments = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One trainable tensor, under the name transformers gives it.

    `cut` is the dimension that tensor-parallel ranks share, None where each holds it whole; of
    heads that are fewer than ranks each holds `least` numbers. `vocabulary` marks a dimension of
    `cut` that is as long as the vocabulary.
    """

    name: str
    shape: tuple[int, ...]
    cut: int | None = field(default=None, compare=False)
    least: int = field(default=1, compare=False)
    vocabulary: bool = field(default=False, compare=False)

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    def with_length(self, length: int) -> Tensor:
        """Return the same tensor with another length of its `cut` dimension."""
        assert self.cut is not None
        shape = (*self.shape[: self.cut], length, *self.shape[self.cut + 1 :])
        return replace(self, shape=shape)


class Blueprint:
    """The tensors of a model. `before` and `after` carry whole names, `kinds` relative ones.

    `at` is the name of a layer with {} for its number, or such names with the layers they begin at;
    `order` the kind of each layer. `towers`
    are the tensors of `before` whose names begin so: the vision encoder.
    """

    __slots__ = ("_hash", "after", "at", "before", "kinds", "order", "towers")

    def __init__(
        self,
        before: Iterable[Tensor],
        kinds: Iterable[Iterable[Tensor]],
        order: Iterable[int],
        after: Iterable[Tensor],
        at: str | Segments = "model.layers.{}",
        towers: tuple[str, ...] = (),
    ) -> None:
        self.before, self.after = tuple(before), tuple(after)
        self.kinds = tuple(tuple(kind) for kind in kinds)
        self.order, self.towers = tuple(order), towers
        self.at: Segments = ((at, 0),) if isinstance(at, str) else at
        self._hash = hash(self._parts())

    def __hash__(self) -> int:
        """Return the hash, which is computed once: every look-up of a plan asks for it."""
        return self._hash

    def __eq__(self, other: object) -> bool:
        """Return whether both list the same tensors."""
        if self is other:
            return True
        return isinstance(other, Blueprint) and self._parts() == other._parts()

    def layer(self, index: int) -> Iterator[Tensor]:
        """Yield the tensors of layer `index`, in the order transformers registers them."""
        at, begins = next(part for part in reversed(self.at) if index >= part[1])
        at = at.format(index - begins)
        for tensor in self.kinds[self.order[index]]:
            yield replace(tensor, name=f"{at}.{tensor.name}")

    def is_tower(self, tensor: Tensor) -> bool:
        """Return whether a tensor belongs to the vision encoder."""
        return bool(self.towers) and tensor.name.startswith(self.towers)

    def without_towers(self) -> Blueprint:
        """Return the language model alone."""
        before, after = (
            [t for t in part if not self.is_tower(t)] for part in (self.before, self.after)
        )
        return Blueprint(before, self.kinds, self.order, after, self.at)

    def active(self, share: float) -> float:
        """Return the weights of matrices that act on one token, which passes this `share` of the
        stacked experts.
        """
        each = [
            sum(t.size for t in kind if len(t.shape) == 2)
            + share * sum(t.size for t in kind if len(t.shape) == 3 and t.shape[1] > 1)
            for kind in self.kinds
        ]
        return sum(each[kind] for kind in self.order)

    def split(self, ranks: int) -> Blueprint:
        """Return the share of a tensor-parallel rank; the vocabulary is padded as in Megatron."""
        return self._changed(lambda tensor: _share(tensor, ranks))

    def with_vocabulary(self, rows: int) -> Blueprint:
        """Return the same with another number of rows of the embedding and of an untied head."""
        return self._changed(lambda t: t.with_length(rows) if t.vocabulary else t)

    def under(
        self, prefix: str, before: Iterable[Tensor], after: Iterable[Tensor], head: str
    ) -> Blueprint:
        """Return a language model inside a larger one, which adds tensors `before` and `after` its
        layers.

        "model.…" becomes `prefix`.…, and "lm_head.…" `head`.…; the added tensors are its towers.
        """
        added = (*before,), (*after,)
        towers = {".".join(t.name.split(".")[:2]) for part in added for t in part}

        def renamed(found: Tensors) -> Iterator[Tensor]:
            for t in found:
                first, _, rest = t.name.partition(".")
                yield replace(t, name=f"{prefix if first == 'model' else head}.{rest}")

        at = tuple((prefix + name.removeprefix("model"), begins) for name, begins in self.at)
        last = [t for t in renamed(self.after) if t.name.startswith(prefix)]
        heads = [t for t in renamed(self.after) if not t.name.startswith(prefix)]
        found, ends = (*added[0], *renamed(self.before)), (*last, *added[1], *heads)
        return Blueprint(found, self.kinds, self.order, ends, at, tuple(sorted(towers)))

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Blueprint:
        kinds = [[change(t) for t in kind] for kind in self.kinds]
        before, after = [change(t) for t in self.before], [change(t) for t in self.after]
        return Blueprint(before, kinds, self.order, after, self.at, self.towers)

    def _parts(self) -> tuple[object, ...]:
        return self.before, self.kinds, self.order, self.after, self.at


def _share(tensor: Tensor, ranks: int) -> Tensor:
    if tensor.cut is None:
        return tensor
    length = tensor.shape[tensor.cut]
    if tensor.vocabulary:
        return tensor.with_length(128 * -(-length // (128 * ranks)))
    return tensor.with_length(max(-(-length // ranks), min(length, tensor.least)))
