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

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from gpu_runner.data.feed import Batch
from gpu_runner.errors import UsageError, everyones
from gpu_runner.world import World

NAMES: Final = ("gate", "router")
_SCORES: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "softmax": lambda z: z.softmax(-1),
    "sigmoid": lambda z: _in_parts(z.sigmoid()),
    "logsigmoid": lambda z: _in_parts(z.sigmoid()),
    "sqrt": lambda z: _in_parts(F.softplus(z).sqrt()),
}
_CHOICES: Final = ("topk", "max", "argmax")
_SUMS_TO_ONE: Final = 1e-3


def _in_parts(scores: Tensor) -> Tensor:
    return scores / scores.sum(-1, keepdim=True)


@dataclass(frozen=True, slots=True)
class Site:
    """A router, what holds it, and the experts that are called after it, if they are one module."""

    router: nn.Module
    holder: nn.Module
    experts: nn.Module | None


def sites_of(model: nn.Module) -> list[Site]:
    """Every router of a model, in the order of its layers; of a model without experts none."""
    found = []
    for holder in model.modules():
        for name in NAMES:
            router = getattr(holder, name, None)
            if isinstance(router, nn.Module) and _has_experts(holder, router):
                experts = getattr(holder, "experts", None)
                found.append(Site(router, holder, experts))
    return found


def _has_experts(holder: nn.Module, router: nn.Module) -> bool:
    """Experts that are called as one, or siblings whose weights are stacked (E, out, in)."""
    if isinstance(experts := getattr(holder, "experts", None), nn.Module):
        return not isinstance(experts, nn.ModuleList)
    siblings = (child for child in holder.children() if child is not router)
    return any(
        weight.dim() == 3
        for child in siblings
        if not isinstance(child, nn.Conv1d)
        for weight in child.parameters(recurse=False)
    )


@dataclass(frozen=True, slots=True)
class Routed:
    """What a router has said of T tokens: logits (T, E), how they are scored, experts (T, k)."""

    logits: Tensor
    scored: str
    chosen: Tensor

    def probabilities(self, *, already: bool = False) -> Tensor:
        """(T, E) in fp32, 1 for each token; `already` where the logits are that themselves."""
        z = self.logits.float()
        return z if already else _SCORES[self.scored](z)

    def sums_to_one(self) -> bool:
        """Whether what should be logits are probabilities; waits for the device."""
        with torch.no_grad():
            off = (self.logits.float().sum(-1) - 1).abs().max()
            return bool((self.logits >= 0).all() & (off < _SUMS_TO_ONE))


class _Notes(TorchFunctionMode):
    """Notes how scores are made and how experts are chosen, while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.scored: list[tuple[str, int]] = []  # function, width of its input
        self.chosen: Tensor | None = None  # by the last topk
        self.width = 0  # of what was last chosen from

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if args and isinstance(args[0], Tensor) and args[0].dim():
            width = args[0].shape[-1]
            if name in _SCORES:
                self.scored.append((name, width))
            elif name in _CHOICES:
                self.width = width
                self.chosen = out[1] if name == "topk" else None
        return out


class RouterListener:
    """Hears one router, from its beginning until its experts are called; then `told` is called.

    A block that is computed again is heard again, and may end in the middle: whatever happens,
    nothing is noted outside of the module that holds the router.
    """

    def __init__(self, site: Site, told: Callable[[Routed | None], None]) -> None:
        self._told = told
        self._notes: _Notes | None = None
        self._on = ExitStack()
        self._output: Any = None
        self.hooks: list[RemovableHandle] = [
            site.router.register_forward_pre_hook(lambda *_: self._begin())
        ]
        if site.experts is None:  # all that is chosen is chosen inside of the router
            end = site.router.register_forward_hook(self._alone, always_call=True)
            self.hooks.append(end)
            return
        self.hooks += [
            site.router.register_forward_hook(self._hear),
            site.experts.register_forward_pre_hook(lambda _, given: self._end(given)),
            site.holder.register_forward_hook(lambda *_: self._drop(), always_call=True),
        ]

    def _begin(self) -> None:
        self._drop()
        self._notes = self._on.enter_context(_Notes())

    def _hear(self, _: Any, __: Any, output: Any) -> None:
        self._output = output

    def _alone(self, _: Any, __: Any, output: Any) -> None:
        self._output = output
        if output is None:  # left in the middle
            self._drop()
        self._end(())

    def _end(self, given: tuple[Any, ...]) -> None:
        output, notes = self._output, self._notes
        self._drop()
        if notes is not None:
            self._told(_routed(notes, output, given))

    def _drop(self) -> None:
        self._notes = self._output = None
        self._on.close()


def _routed(notes: _Notes, output: Any, given: Iterable[Any]) -> Routed | None:
    """None where nothing was chosen by scores, or it is not understood how.

    Llama 4's returns masked scores of the same width before its logits: the last is taken.
    """
    outputs = output if isinstance(output, tuple) else (output,)
    tensors = [one for one in outputs if isinstance(one, Tensor) and one.dim() > 1]
    wide = [t for t in tensors if t.is_floating_point() and t.shape[-1] == notes.width]
    wide = [t for t in wide if t.dim() == 2] or wide
    chosen = notes.chosen
    if chosen is None:
        experts = (t for t in (*tensors, *given) if isinstance(t, Tensor))
        chosen = next((t for t in experts if not t.is_floating_point()), None)
    scored = [name for name, width in notes.scored if name != "sqrt" or width == notes.width]
    if not wide or not scored or chosen is None:
        return None
    return Routed(wide[-1].flatten(0, -2), scored[0], chosen.flatten(0, -2))


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
        self._real, self._losses, self._open = batch.non_padding(), [], True
        self._share = sum(batch.lengths) / self._tokens if self._tokens else 0.0
        listeners = [
            RouterListener(site, partial(self._record, place))
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

    def _record(self, place: int, routed: Routed | None) -> None:
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
