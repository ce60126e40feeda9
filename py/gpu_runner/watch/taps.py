"""Where a training loop is listened to, without a change to it.

    forward pre-hook and hook of the outermost module     what goes in, what comes out
    hooks on what comes out                               the backward pass has begun
    torch.autograd.backward                               the loss, where the model returned none
    torch.nn.utils.clip_grad_norm_                        the gradient norm before clipping
    step hooks of all optimizers                          the update, of those that hold our weights

Every one is taken away by `remove`. A forward pass without gradients is an evaluation, and is not
told; nor is one inside `silence`, which is ours. Hooks return None: nothing that flows is changed.
"""

from __future__ import annotations

import functools
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from gpu_runner.watch.boundary import ErrorBoundary

Inputs = Mapping[str, Any]


class Listener(Protocol):
    """Who is told."""

    def forward_begins(self, inputs: Inputs) -> None:
        """A forward pass that may train begins, with what the model is called with."""

    def forward_ended(self, inputs: Inputs, output: Any) -> None:
        """… and has ended."""

    def raised(self, error: BaseException) -> None:
        """A forward or backward pass was left by this, which goes on."""

    def went_back(self) -> None:
        """A backward pass has ended."""

    def backward_began(self) -> None:
        """The backward pass through the newest output has begun."""

    def went_back_from(self, losses: list[Tensor]) -> None:
        """Gradients of these scalars were asked for."""

    def clipped(self, norm: Tensor) -> None:
        """Gradients were clipped; their norm before."""

    def update_begins(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer that holds our weights is about to step."""

    def update_ended(self, optimizer: torch.optim.Optimizer) -> None:
        """… and has stepped."""


class Taps:
    """All hooks on one model, of which an optimizer has `weights`; `install` and `remove` may each
    be called once.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        weights: Iterable[Tensor],
        listener: Listener,
        guard: ErrorBoundary,
    ) -> None:
        self._model = weakref.ref(model)
        self._listener = listener
        self._guard = guard
        self._ours: set[int] = {id(parameter) for parameter in weights}
        self._holders: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
        self._handles: list[Any] = []
        self._patched: list[tuple[Any, str, Any, Any]] = []
        self._silent = False
        self._process = os.getpid()
        self._deep = 0
        """Backward passes that are under way: checkpointing of the older kind has them nested."""

    def install(self) -> None:
        """Listen from now on."""
        hook, listener, model = self._guard.hook, self._listener, self._model()
        if model is None:
            return
        before = hook("the inputs of a step could not be read", self._forward_begins)
        after = hook("the output of a step could not be read", self._forward_ended)
        self._handles += [
            model.register_forward_pre_hook(before, prepend=True, with_kwargs=True),
            model.register_forward_hook(after, with_kwargs=True),
            model.register_forward_hook(
                hook("an error could not be looked at", self._forward_raised), always_call=True
            ),
        ]
        begins = self._of_ours(listener.update_begins)
        ended = self._of_ours(listener.update_ended)
        self._handles += [
            register_optimizer_step_pre_hook(hook("an update could not be watched", begins)),
            register_optimizer_step_post_hook(hook("an update could not be watched", ended)),
        ]
        self._patch(torch.autograd, "backward", self._before_backward, self._after_backward)
        self._patch(torch.nn.utils, "clip_grad_norm_", after=self._after_clipping)

    def remove(self) -> None:
        """Leave everything as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for place, name, own, ours in reversed(self._patched):
            if getattr(place, name) is ours:  # else somebody has put theirs around it
                setattr(place, name, own)
        self._patched.clear()
        self._silent = True

    @contextmanager
    def silence(self) -> Iterator[None]:
        """What the model does inside is ours, and nobody is told."""
        before, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = before

    def _hears(self) -> bool:
        return not self._silent and torch.is_grad_enabled() and not self.forked

    @property
    def forked(self) -> bool:
        """Whether this process was forked off from the one that is watched: the log is not its."""
        return os.getpid() != self._process

    def _forward_begins(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del module
        if self._hears():
            self._listener.forward_begins(_named(args, kwargs))

    def _forward_ended(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        del module
        if not self._hears():
            return
        self._listener.forward_ended(_named(args, kwargs), output)
        began = self._guard.hook("a backward pass could not be watched", self._backward_began)
        for one in tensors_of(output):  # any of them may be what the loop goes back from
            if one.requires_grad:
                one.register_hook(began)

    def _forward_raised(self, module: Any, args: Any, output: Any) -> None:
        """Called after every pass; one without an output was left by an error."""
        del module, args
        error = sys.exc_info()[1]
        if output is None and error is not None and self._hears():
            self._listener.raised(error)

    def _backward_began(self, gradient: Tensor) -> None:
        del gradient
        if not self._silent:
            self._listener.backward_began()

    def _of_ours(
        self, told: Callable[[torch.optim.Optimizer], None]
    ) -> Callable[[torch.optim.Optimizer, Any, Any], None]:
        def stepping(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            del args, kwargs
            if not self._silent and self.holds(optimizer):
                told(optimizer)

        return stepping

    def holds(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether an optimizer moves any of our weights."""
        known = self._holders.get(optimizer)
        if known is None:
            held = (p for group in optimizer.param_groups for p in group["params"])
            known = self._holders[optimizer] = any(id(p) in self._ours for p in held)
        return known

    def _before_backward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        roots = args[0] if args else kwargs.get("tensors")
        self._deep += 1
        found = [roots] if isinstance(roots, Tensor) else list(roots or ())
        if not self._silent:
            self._listener.went_back_from([one.detach() for one in found if one.numel() == 1])

    def _after_backward(self, found: Any) -> None:
        del found
        self._deep -= 1
        if not self._silent and not self._deep:
            self._listener.went_back()

    def _after_clipping(self, norm: Any) -> None:
        if not self._silent and isinstance(norm, Tensor):
            self._listener.clipped(norm.detach())

    def _raised(self, error: BaseException) -> None:
        self._deep = 0
        if not self._silent:
            self._listener.raised(error)

    def _patch(
        self,
        place: Any,
        name: str,
        before: Callable[[tuple[Any, ...], dict[str, Any]], None] | None = None,
        after: Callable[[Any], None] | None = None,
    ) -> None:
        """Put ours around a function of PyTorch that loops call by its module."""
        own = getattr(place, name)
        guard = self._guard

        @functools.wraps(own)
        def ours(*args: Any, **kwargs: Any) -> Any:
            if before is not None:
                with guard.around("a loss could not be read"):
                    before(args, kwargs)
            try:
                found = own(*args, **kwargs)
            except BaseException as error:
                with guard.around("an error could not be looked at"):
                    self._raised(error)
                raise
            if after is not None:
                with guard.around("a gradient norm could not be read"):
                    after(found)
            return found

        setattr(place, name, ours)
        self._patched.append((place, name, own, ours))


def unwrapped(optimizer: Any) -> Any:
    """The optimizer of PyTorch inside one that a library has put around it."""
    inner = getattr(optimizer, "optimizer", None)
    while isinstance(inner, torch.optim.Optimizer):
        optimizer, inner = inner, getattr(inner, "optimizer", None)
    return optimizer


def rank() -> int:
    """Which of the processes that train together this is."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if there else 0


def alone(model: torch.nn.Module) -> torch.nn.Module:
    """What one process can call by itself: without the shell that averages gradients."""
    shells = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
    return model.module if isinstance(model, shells) else model


def doubles_gradients(model: torch.nn.Module) -> bool:
    """Whether what averages gradients keeps a copy of all, in buckets that are sent: as PyTorch
    documents `gradient_as_bucket_view` of DistributedDataParallel, where it is not set.
    """
    ddp = torch.nn.parallel.DistributedDataParallel
    return isinstance(model, ddp) and not model.gradient_as_bucket_view


def tensors_of(output: Any) -> Iterable[Tensor]:
    """The tensors at the top of what a model returned, the loss first where there is one."""
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if isinstance(output, Mapping) else output
    if not isinstance(values, Iterable):
        values = vars(output).values() if hasattr(output, "__dict__") else ()
    return [value for value in values if isinstance(value, Tensor)]


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a model is called with, by name; the first without one are the ids of the tokens."""
    if args and "input_ids" not in kwargs and isinstance(args[0], Tensor):
        return {"input_ids": args[0], **kwargs}
    return dict(kwargs)
