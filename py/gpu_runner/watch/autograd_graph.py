"""Which forward passes a backward pass goes through, read off the autograd graph.

A forward pass is remembered by the sequence numbers of the nodes that it created, which keeps
neither tensors nor nodes alive. From the root of a backward pass the graph is followed to nodes
with such a number. So the loss of a step is the one that `backward` was called on (DPO,
distillation, the generator of a GAN), and a backward pass that does not go through the model is
none of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

MOST_NODES: Final = 20_000
"""Nodes that are followed from one root; a loss of more is taken to go through the newest pass."""
_SCALING: Final = frozenset(
    f"{name}Backward{version}"
    for name in ("Alias", "Clone", "Div", "Mean", "Mul", "Reshape", "Squeeze", "Sum", "ToCopy")
    for version in (0, 1)
)
"""Nodes between a model's loss and a root that is the same loss times a constant."""


@dataclass(slots=True)
class ForwardPass:
    """A forward pass: the sequence numbers of its nodes, and that of the loss it returned."""

    first: int
    last: int = -1
    loss: int = -1

    @staticmethod
    def begin() -> ForwardPass:
        """Return a pass that begins now."""
        return ForwardPass(_next_number())

    def end(self, loss: Tensor | None) -> None:
        """Take in that the pass has ended, and returned this loss."""
        self.last = _next_number() - 1
        if loss is not None and loss.grad_fn is not None:
            self.loss = _number(loss.grad_fn)

    def has(self, number: int) -> bool:
        """Return whether the node of this number was created in it."""
        return self.first <= number <= self.last


@dataclass(frozen=True, slots=True)
class BackwardRoot:
    """One tensor that `backward` was called on.

    passes    the newest forward passes that it goes through, as indices
    is_own    whether it is the loss that the model returned, times a constant
    """

    passes: tuple[int, ...]
    is_own: bool = False


def follow(root: Tensor, passes: Sequence[ForwardPass], *, through: bool = False) -> BackwardRoot:
    """Return which of the passes, in the order in which they were made, a root goes through.

    `through` is whether to look for others behind a pass, as behind that of another model.
    """
    if root.grad_fn is None or not passes:
        return BackwardRoot(())
    own = _find_own(root.grad_fn, passes)
    if own is not None and not through:
        return BackwardRoot((own,), is_own=True)
    oldest = min(one.first for one in passes)
    found: set[int] = set()
    stack, seen = [root.grad_fn], {root.grad_fn}
    while stack:
        node = stack.pop()
        number = _number(node)
        reached = next((i for i, one in enumerate(passes) if one.has(number)), None)
        if reached is not None:
            found.add(reached)
        if (
            reached is None or through
        ) and number >= oldest:  # a node is younger than all that it leads to
            following = {one for one, _ in node.next_functions if one is not None} - seen
            seen |= following
            stack += following
        if len(seen) > MOST_NODES:
            found.add(len(passes) - 1)
            break
    return BackwardRoot(tuple(sorted(found)), is_own=own is not None)


def leads_to(root: Tensor, owned: Callable[[Tensor], bool]) -> bool:
    """Return whether a backward pass from this root gives a gradient to any owned parameter."""
    stack = [root.grad_fn]
    seen = set(stack)
    while stack and len(seen) <= MOST_NODES:
        node = stack.pop()
        if node is None:
            continue
        if (leaf := getattr(node, "variable", None)) is not None and owned(leaf):
            return True
        following = {one for one, _ in node.next_functions} - seen
        seen |= following
        stack += following
    return False


def in_backward() -> bool:
    """Return whether this thread runs a backward pass."""
    return bool(torch._C._current_graph_task_id() != -1)


def _find_own(node: Any, passes: Sequence[ForwardPass]) -> int | None:
    """Return the pass whose own loss leads to this node by constant factors alone, or None."""
    losses = {one.loss: index for index, one in enumerate(passes) if one.loss >= 0}
    while node is not None and _number(node) not in losses:
        following = [one for one, _ in node.next_functions if one is not None]
        node = following[0] if len(following) == 1 and node.name() in _SCALING else None
    return None if node is None else losses[_number(node)]


def _next_number() -> int:
    """Return the sequence number of the next node that this thread creates."""
    return int(torch._C._autograd._get_sequence_nr())


def _number(node: Any) -> int:
    """Return the sequence number of a node; -1 of one that accumulates a gradient."""
    number = int(node._sequence_nr())
    return -1 if number >= 2**63 else number
