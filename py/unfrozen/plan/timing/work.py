"""What a layer gives a card to do: products by their sizes, and all else by bytes and kernels."""

from __future__ import annotations

from typing import NamedTuple


class Product(NamedTuple):
    """T x `inputs` by `inputs` x `outputs`, so many `times`; experts run as `groups` in one kernel,
    each of which sees `share` of the tokens.
    """

    outputs: int
    inputs: int
    times: int = 1
    groups: int = 1
    share: float = 1.0

    @property
    def weights(self) -> int:
        """Weights of all of them."""
        return self.outputs * self.inputs * self.times * self.groups


class Moved(NamedTuple):
    """Bytes a token through memory and kernels, forward and backward."""

    forward: float = 0.0
    backward: float = 0.0
    kernels: float = 0.0
    kernels_back: float = 0.0

    def plus(self, other: Moved, times: float = 1.0) -> Moved:
        """Both after each other, the other so many times."""
        return Moved(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))
