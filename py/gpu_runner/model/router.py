"""Mixtures of experts: where routers send tokens, and a loss that spreads them more evenly.

Of one layer, over T tokens that go to k of E experts each, with f the share of the T·k choices that
fell on an expert and P the mean of the router's probabilities for it:

    balance = E · Σ f · P

It is 1 where all experts get alike, and larger the fewer are used (Fedus et al., Switch
Transformers, arXiv 2101.03961, equations 4–6; f counts all k choices as in Mixtral's). The gradient
comes through P. Transformers pools the layers before it multiplies and does not divide by k: its
loss of a balanced model is k, and layers may make up for each other. Here each layer is balanced by
itself, and their mean is taken.

f · P is no sum over tokens, so that of a step is not the sum of those of its micro-batches. What is
differentiated is each micro-batch's own, weighted by its share of the step's tokens: it depends,
unlike the loss of the rows, on how a step is divided (Qiu et al., arXiv 2501.11873, on why larger
divisions are better). What is told is that of the whole step, from f and P summed over all of its
micro-batches and processes. Padding counts nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gpu_runner.data.feed import Batch
from gpu_runner.errors import UsageError, everyones
from gpu_runner.model.routing import Routed, RouterListener, Site, sites_of
from gpu_runner.world import World


class Routers:
    """Looks at the routers of a model while batches go through it; without any, does nothing."""

    def __init__(self, sites: Sequence[Site] = (), strength: float = 0.0) -> None:
        self._sites = sites
        self._strength = strength
        self._real: Tensor | None = None
        self._counts: dict[int, Tensor] = {}  # of choices, (E,) by the place of the router
        self._sums: dict[int, Tensor] = {}  # of probabilities, likewise
        self._losses: list[Tensor] = []
        self._tokens = 0
        self._share = 0.0
        self._open = False
        self._are_probabilities: bool | None = None

    def begin(self, tokens: Callable[[], int] | None = None) -> None:
        """Forget what was counted. `tokens` tells those of the training step that begins."""
        self._counts, self._sums = {}, {}
        self._tokens = tokens() if tokens and self._sites else 0

    @contextmanager
    def watching(self, batch: Batch) -> Iterator[None]:
        """Count where the tokens of `batch` go, while it goes through the model.

        The backward pass of a training step must be inside too: a block that is computed again does
        what it did.
        """
        if not self._sites:
            yield
            return
        self._real, self._losses, self._open = batch.real(), [], True
        self._share = sum(batch.lengths) / self._tokens if self._tokens else 0.0
        listeners = [
            RouterListener(site, partial(self._seen, place))
            for place, site in enumerate(self._sites)
        ]
        try:
            yield
        finally:
            for hook in (hook for listener in listeners for hook in listener.hooks):
                hook.remove()
            self._losses, self._real = [], None

    def added(self, part: Tensor) -> Tensor:
        """A micro-batch's part of the loss with what its routers add to it; closes the forward.

        Raises `UsageError` where no router was understood.
        """
        self._open = False
        if self._strength and not self._losses and torch.is_grad_enabled():
            raise everyones(UsageError(no_routers(self._strength)))
        if not self._losses:
            return part
        return part + self._strength * self._share * torch.stack(self._losses).mean()

    def _seen(self, place: int, routed: Routed | None) -> None:
        if routed is None:
            return
        if self._are_probabilities is None:  # once a run: a wait for the device
            self._are_probabilities = routed.sums_to_one()
        p = routed.probabilities(already=self._are_probabilities)  # (T, E)
        counts = _counted(routed.chosen, self._real, p.shape[1])
        if self._strength and torch.is_grad_enabled():
            total = p.shape[0] if self._real is None else self._real.sum()
            seen = p if self._real is None else p * self._real[:, None]
            mean = seen.sum(0) / total
            loss = p.shape[1] * (counts / counts.sum() * mean).sum()
            if self._open:
                self._losses.append(loss)
        if self._open:
            sums = p.detach() if self._real is None else p.detach() * self._real[:, None]
            self._keep(place, counts, sums.sum(0))

    def _keep(self, place: int, counts: Tensor, sums: Tensor) -> None:
        if place in self._counts:
            counts, sums = self._counts[place] + counts, self._sums[place] + sums
        self._counts[place], self._sums[place] = counts, sums

    def load(self, world: World) -> Tensor | None:
        """Shares of the choices that fell on each expert (L, E); None without routers."""
        if not self._sites:
            return None
        here = [self._counts[place] for place in sorted(self._counts)]
        layers, experts = max(world.everyones((len(here), len(here[0]) if here else 0)))
        if not layers:
            return None  # of a kind that is not understood
        none = torch.zeros(layers, experts, device=world.device)  # if others had all batches
        counts = world.sum((torch.stack(here) if here else none).double())
        return (counts / counts.sum(1, keepdim=True)).cpu()

    def balance(self, world: World) -> float | None:
        """The mean over layers of what was counted; None where routers are not balanced."""
        if not self._strength or not self._counts:
            return None
        found = ([one[place] for place in sorted(one)] for one in (self._counts, self._sums))
        counts, sums = (world.sum(torch.stack(one).double()) for one in found)
        f, p = (one / one.sum(1, keepdim=True) for one in (counts, sums))
        return float((f.shape[1] * (f * p).sum(1)).mean())


def _counted(chosen: Tensor, real: Tensor | None, experts: int) -> Tensor:
    """How many of the choices (T, k) of real tokens fell on each expert (E,): whole, in fp32."""
    counts = torch.zeros(experts, device=chosen.device)
    each = torch.ones_like(chosen, dtype=counts.dtype)
    each = each if real is None else each * real[:, None]
    return counts.scatter_add_(0, chosen.flatten(), each.flatten())


def routers_of(model: Any, strength: float = 0.0) -> Routers:
    """Those of a mixture of experts; of another model, none.

    Raises `UsageError` where there is none and one is to be balanced.
    """
    sites = sites_of(model)
    if strength and not sites:
        raise everyones(UsageError(no_routers(strength)))
    return Routers(sites, strength)


def no_routers(strength: float) -> str:
    """What is said where there is nothing to balance."""
    return (
        f"router_balance {strength:g}: this model has no experts that a router chooses from, or"
        " chooses in a way that is not understood (looked for: a module gate or router beside its"
        " experts, that scores by softmax or sigmoid and takes the highest). The strength can only"
        " be 0 here: leave it out."
    )
