"""What a router says and whom it chooses, heard while a mixture of experts computes.

In transformers a router stands beside the experts of its layer: a module `gate` or `router`, whose
siblings are `experts` or weights stacked by expert. What is between its first line and the experts
differs from family to family. It is not looked up by their names but heard, by noting which
functions of PyTorch are called there:

    softmax(z) → topk                       Mixtral, Qwen, OLMoE, Jamba, ERNIE, Gemma 4, DBRX
    softmax(z) → groups → topk              DeepSeek-V2
    topk(z) → softmax of the chosen         gpt-oss, Granite, Aria, JetMoe
    topk(z) → sigmoid of the chosen         Llama 4, Cohere 2
    sigmoid(z) → + bias → groups → topk     DeepSeek-V3, GLM-4.5, dots.1, MiniMax-M2, Nemotron-H
    sqrt(softplus(z)) → + bias → topk       DeepSeek-V4
    max(z + noise), twice                   Phi-MoE

z are the logits: what the router returns that is as wide as what is chosen from. The first function
that makes scores of them is applied to all of them; scores that do not sum to 1 for a token are
divided by their sum, as DeepSeek-V3 does for the balance (arXiv 2412.19437, equation 18). Softmax
keeps proportions, so it makes no difference whether it comes before the choice or after.

A bias that is added for the choice alone is in the choice and not in the scores. A layer whose
experts follow from the token and not from scores (DeepSeek-V4's first) chooses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

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
