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
from typing import Any, Final

import torch
from torch import Tensor, nn

from gpu_runner.data.feed import Batch
from gpu_runner.errors import UsageError, everyones
from gpu_runner.world import World

FAMILIES: Final = ("mixtral", "qwen2_moe", "qwen3_moe")
"""Types whose routers are known: softmax over all experts, of which the highest are chosen."""
NAMES: Final = ("gate", "router")
_SUMS_TO_ONE: Final = 1e-3


class Routers:
    """Looks at the routers of a model while batches go through it; without any, does nothing."""

    def __init__(
        self, routers: Sequence[Any] = (), per_token: int = 0, strength: float = 0.0
    ) -> None:
        self._routers = routers
        self._per_token = per_token
        self._strength = strength
        self._real: Tensor | None = None
        self._counts: list[Tensor] = []  # of choices, (E,) a layer
        self._sums: list[Tensor] = []  # of probabilities, likewise
        self._losses: list[Tensor] = []
        self._tokens = 0
        self._share = 0.0
        self._open = False
        self._are_probabilities: bool | None = None

    def begin(self, tokens: Callable[[], int] | None = None) -> None:
        """Forget what was counted. `tokens` tells those of the training step that begins."""
        self._counts, self._sums = [], []
        self._tokens = tokens() if tokens and self._routers else 0

    @contextmanager
    def watching(self, batch: Batch) -> Iterator[None]:
        """Count where the tokens of `batch` go, while it goes through the model.

        The backward pass of a training step must be inside too: a block that is computed again does
        what it did.
        """
        if not self._routers:
            yield
            return
        self._real, self._losses, self._open = batch.real(), [], True
        self._share = sum(batch.lengths) / self._tokens if self._tokens else 0.0
        hooks = [
            router.register_forward_hook(lambda _, __, out, at=place: self._seen(at, out))
            for place, router in enumerate(self._routers)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            self._losses, self._real = [], None

    def added(self, part: Tensor) -> Tensor:
        """A micro-batch's part of the loss with what its routers add to it; closes the forward."""
        self._open = False
        if not self._losses:
            return part
        return part + self._strength * self._share * torch.stack(self._losses).mean()

    def _seen(self, place: int, output: Any) -> None:
        p, chosen = self._read(output)  # (T, E), (T, k)
        counts = _counted(chosen, self._real, p.shape[1])
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
        if place == len(self._counts):
            self._counts.append(counts)
            self._sums.append(sums)
        else:
            self._counts[place] = self._counts[place] + counts
            self._sums[place] = self._sums[place] + sums

    def _read(self, output: Any) -> tuple[Tensor, Tensor]:
        """Probabilities (T, E) in fp32 and the chosen experts (T, k) from what a router returned.

        Some versions of transformers return probabilities in place of logits.
        """
        found = output if isinstance(output, tuple) else (output,)
        logits = found[0].flatten(0, -2)
        if self._are_probabilities is None:
            with torch.no_grad():  # once a run: a wait for the device
                off = (logits.float().sum(-1) - 1).abs().max()
                self._are_probabilities = bool((logits >= 0).all() & (off < _SUMS_TO_ONE))
        p = logits.float()
        p = p if self._are_probabilities else p.softmax(-1)
        whole = [one for one in found[1:] if not one.is_floating_point()]
        chosen = whole[-1] if whole else p.detach().topk(self._per_token).indices
        return p, chosen.flatten(0, -2)

    def load(self, world: World) -> Tensor | None:
        """Shares of the choices that fell on each expert (L, E); None without routers."""
        if not self._routers:
            return None
        none = [torch.zeros(len(one.weight), device=world.device) for one in self._routers]
        here = self._counts or none  # where other processes had all batches
        counts = world.sum(torch.stack(here).double())
        return (counts / counts.sum(1, keepdim=True)).cpu()

    def balance(self, world: World) -> float | None:
        """The mean over layers of what was counted; None where routers are not balanced."""
        if not self._strength or not self._counts:
            return None
        counts, sums = (world.sum(torch.stack(one).double()) for one in (self._counts, self._sums))
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

    A router stands beside the experts of its layer. Raises `UsageError` where there is none and one
    is to be balanced.
    """
    if model.config.model_type in FAMILIES:
        found = [
            router
            for module in model.modules()
            if hasattr(module, "experts")
            for name in NAMES
            if isinstance(router := getattr(module, name, None), nn.Module)
        ]
        if found:
            return Routers(found, model.config.num_experts_per_tok, strength)
    if strength:
        raise everyones(UsageError(no_routers(strength)))
    return Routers()


def no_routers(strength: float) -> str:
    """What is said where there is nothing to balance."""
    return (
        f"router_balance {strength:g}: this model has no experts that a router chooses from, or is"
        f" of a type whose router is not known ({', '.join(FAMILIES)} are). Leave it out."
    )
