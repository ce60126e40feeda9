"""Mixtures of experts: where routers send tokens, and an auxiliary loss that balances them.

For one layer, let T tokens go to k of E experts each, let f be the share of the T·k choices that an
expert gets, and P the mean of its router probability:

    balance = E · Σ f · P

It is 1 where all experts get equally many, and larger the fewer are used (Fedus et al., Switch
Transformers, arXiv 2101.03961, equations 4–6; f counts all k choices as in Mixtral's). The gradient
flows through P. Transformers pools the layers before it multiplies and does not divide by k: its
loss of a balanced model is k, and layers can compensate for each other. Here each layer is balanced
by itself, and the loss is their mean.

f · P is not a sum over tokens, so that of a step is not the sum over its micro-batches. Each
micro-batch's own is differentiated, weighted by its share of the step's tokens; unlike the loss of
the examples, it depends on how a step is divided (Qiu et al., arXiv 2501.11873, on why larger
micro-batches are better). What is logged is that of the whole step, from f and P summed over all of
its micro-batches and processes. Padding is not counted.
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
class RouterSite:
    """A router, its parent module, and the experts called after it, if they are one module."""

    router: nn.Module
    parent: nn.Module
    experts: nn.Module | None


def find_routers(model: nn.Module) -> list[RouterSite]:
    """Return every router of a model, in the order of its layers; none without experts."""
    found = []
    for holder in model.modules():
        for name in NAMES:
            router = getattr(holder, name, None)
            if isinstance(router, nn.Module) and _has_experts(holder, router):
                experts = getattr(holder, "experts", None)
                found.append(RouterSite(router, holder, experts))
    return found


def _has_experts(holder: nn.Module, router: nn.Module) -> bool:
    """Return whether a module has experts as one module, or children with weights (E, out, in)."""
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
class Routing:
    """A router's decision for T tokens: logits (T, E), their scoring, chosen experts (T, k)."""

    logits: Tensor
    scored: str
    chosen: Tensor

    def probabilities(self, *, already: bool = False) -> Tensor:
        """Return (T, E) in fp32 that sum to 1; `already`: the logits are probabilities."""
        z = self.logits.float()
        return z if already else _SCORES[self.scored](z)

    def sums_to_one(self) -> bool:
        """Return whether the logits are probabilities. Waits for the device."""
        with torch.no_grad():
            off = (self.logits.float().sum(-1) - 1).abs().max()
            return bool((self.logits >= 0).all() & (off < _SUMS_TO_ONE))


class _RouterTrace(TorchFunctionMode):
    """Records how scores are computed and how experts are chosen, while it is active."""

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
    """Records one router from its call to that of its experts; then calls `report`.

    A checkpointed block is recorded again in backward, and recomputation may stop in the middle:
    nothing is ever recorded outside of the parent module.
    """

    def __init__(self, site: RouterSite, report: Callable[[Routing | None], None]) -> None:
        self._report = report
        self._trace: _RouterTrace | None = None
        self._on = ExitStack()
        self._output: Any = None
        self.hooks: list[RemovableHandle] = [
            site.router.register_forward_pre_hook(lambda *_: self._begin())
        ]
        if site.experts is None:  # the router itself chooses
            end = site.router.register_forward_hook(self._end_in_router, always_call=True)
            self.hooks.append(end)
            return
        self.hooks += [
            site.router.register_forward_hook(self._set_output),
            site.experts.register_forward_pre_hook(lambda _, given: self._end(given)),
            site.parent.register_forward_hook(lambda *_: self._drop(), always_call=True),
        ]

    def _begin(self) -> None:
        self._drop()
        self._trace = self._on.enter_context(_RouterTrace())

    def _set_output(self, _: Any, __: Any, output: Any) -> None:
        self._output = output

    def _end_in_router(self, _: Any, __: Any, output: Any) -> None:
        self._output = output
        if output is None:  # recomputation stopped in the middle
            self._drop()
        self._end(())

    def _end(self, given: tuple[Any, ...]) -> None:
        output, trace = self._output, self._trace
        self._drop()
        if trace is not None:
            self._report(_read_routing(trace, output, given))

    def _drop(self) -> None:
        self._trace = self._output = None
        self._on.close()


def _read_routing(trace: _RouterTrace, output: Any, given: Iterable[Any]) -> Routing | None:
    """Return a router's decision; None where it did not choose by scores that are understood.

    Llama 4's returns masked scores of the same width before its logits: the last tensor counts.
    """
    outputs = output if isinstance(output, tuple) else (output,)
    tensors = [one for one in outputs if isinstance(one, Tensor) and one.dim() > 1]
    wide = [t for t in tensors if t.is_floating_point() and t.shape[-1] == trace.width]
    wide = [t for t in wide if t.dim() == 2] or wide
    chosen = trace.chosen
    if chosen is None:
        experts = (t for t in (*tensors, *given) if isinstance(t, Tensor))
        chosen = next((t for t in experts if not t.is_floating_point()), None)
    scored = [name for name, width in trace.scored if name != "sqrt" or width == trace.width]
    if not wide or not scored or chosen is None:
        return None
    return Routing(wide[-1].flatten(0, -2), scored[0], chosen.flatten(0, -2))


class Routers:
    """Measures and balances the routers of a model; does nothing for a model without any."""

    def __init__(self, sites: Sequence[RouterSite] = (), strength: float = 0.0) -> None:
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
        """Reset the counts. `tokens` returns the tokens of the training step that begins."""
        self._counts, self._sums = {}, {}
        self._tokens = tokens() if tokens and self._sites else 0

    @contextmanager
    def watching(self, batch: Batch) -> Iterator[None]:
        """Count where the tokens of `batch` go during its forward pass.

        Backward of a training step must run inside, too, so that checkpointed blocks recompute the
        same.
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

    def add_loss(self, part: Tensor) -> Tensor:
        """End the forward pass: return its part of the loss plus the auxiliary loss of the routers.

        Raises `UsageError` where no router was understood.
        """
        self._open = False
        if self._strength and not self._losses and torch.is_grad_enabled():
            raise everyones(UsageError(no_routers(self._strength)))
        if not self._losses:
            return part
        return part + self._strength * self._share * torch.stack(self._losses).mean()

    def _record(self, place: int, routed: Routing | None) -> None:
        if routed is None:
            return
        if self._are_probabilities is None:  # once a run, as it waits for the device
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
            self._add(place, counts, sums.sum(0))

    def _add(self, place: int, counts: Tensor, sums: Tensor) -> None:
        if place in self._counts:
            counts, sums = self._counts[place] + counts, self._sums[place] + sums
        self._counts[place], self._sums[place] = counts, sums

    def load(self, world: World) -> Tensor | None:
        """Return each expert's share of the choices (L, E); None without routers."""
        if not self._sites:
            return None
        here = [self._counts[place] for place in sorted(self._counts)]
        layers, experts = max(world.everyones((len(here), len(here[0]) if here else 0)))
        if not layers:
            return None  # routers that are not understood
        none = torch.zeros(layers, experts, device=world.device)  # if this process had no batch
        counts = world.sum((torch.stack(here) if here else none).double())
        return (counts / counts.sum(1, keepdim=True)).cpu()

    def balance(self, world: World) -> float | None:
        """Return the balance of the step, mean over layers; None where routers are not balanced."""
        if not self._strength or not self._counts:
            return None
        found = ([one[place] for place in sorted(one)] for one in (self._counts, self._sums))
        counts, sums = (world.sum(torch.stack(one).double()) for one in found)
        f, p = (one / one.sum(1, keepdim=True) for one in (counts, sums))
        return float((f.shape[1] * (f * p).sum(1)).mean())


def _counted(chosen: Tensor, real: Tensor | None, experts: int) -> Tensor:
    """Return how many choices (T, k) of tokens that are not padding each expert got: (E,) fp32."""
    counts = torch.zeros(experts, device=chosen.device)
    each = torch.ones_like(chosen, dtype=counts.dtype)
    each = each if real is None else each * real[:, None]
    return counts.scatter_add_(0, chosen.flatten(), each.flatten())


def routers_of(model: Any, strength: float = 0.0) -> Routers:
    """Return the routers of a model, none where it has no experts.

    Raises `UsageError` where there is none, but `strength` asks to balance them.
    """
    sites = find_routers(model)
    if strength and not sites:
        raise everyones(UsageError(no_routers(strength)))
    return Routers(sites, strength)


def no_routers(strength: float) -> str:
    """Return the error for a model without routers to balance."""
    return (
        f"router_balance {strength:g}: this model has no experts that a router chooses from, or"
        " chooses in a way that is not understood (looked for: a module gate or router beside its"
        " experts, that scores by softmax or sigmoid and takes the highest). The strength can only"
        " be 0 here: leave it out."
    )
