"""The hooks on a training loop: they observe it without a change to it, and never raise into it.

    forward pre-hook and hook of the outermost module     the inputs and the output
    hooks on the output                                   the backward pass has begun
    torch.autograd.backward                               the loss, where the model returns none
    torch.nn.utils.clip_grad_norm_                        the gradient norm before clipping
    step hooks of all optimizers                          the update, of those with our parameters

`remove` removes all of them. Forward passes without gradients are evaluations and are not reported;
nor are those inside `silence`, which are ours. Hooks return None, so no value is changed.
"""

from __future__ import annotations

import functools
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

import torch
from torch import Tensor
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

Inputs = Mapping[str, Any]
MOST_ERRORS: Final = 20
"""After this many errors of ours the loop is no longer watched."""


class ErrorBoundary:
    """Catches our own errors, counts them, and warns of each kind once.

    `warn` takes a sentence; `give_up` is called once, after MOST_ERRORS errors.
    """

    def __init__(self, warn: Callable[[str], None], give_up: Callable[[], None]) -> None:
        self.errors = 0
        self._warn = warn
        self._give_up = give_up
        self._warned: set[str] = set()

    @contextmanager
    def around(self, what: str) -> Iterator[None]:
        """Catch errors of the block; `what` says what failed ("the loss could not be read")."""
        try:
            yield
        except Exception as error:  # whatever it is, training goes on
            self._count(what, error)

    def hook(self, what: str, function: Callable[..., None]) -> Hook:
        """Return a hook that never raises and returns None."""
        return Hook(self, what, function)

    def warn_once(self, text: str) -> None:
        """Warn of something that is not an error of ours, the first time only."""
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)

    def _count(self, what: str, error: Exception) -> None:
        self.errors += 1
        reason = (str(error).splitlines() or [""])[0]
        if what not in self._warned:
            self._warned.add(what)
            self._warn(f"{what} ({type(error).__name__}: {reason}). Training goes on.")
        if self.errors == MOST_ERRORS:
            self._warn(
                f"{self.errors} such errors: the run is no longer watched. Training goes on."
            )
            self._give_up()


class Hook:
    """A guarded function as PyTorch calls it. In a copy of the hooked model it does nothing."""

    def __init__(self, guard: ErrorBoundary, what: str, function: Callable[..., None]) -> None:
        self._guard = guard
        self._what = what
        self._function = function

    def __call__(self, *arguments: Any) -> None:
        """Call the function; whatever it raises, training goes on."""
        with self._guard.around(self._what):
            self._function(*arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        del memo
        return _do_nothing


def _do_nothing(*_: Any) -> None:
    """The hook of a copy."""


class Listener(Protocol):
    """What the hooks report to."""

    def begin_forward(self, inputs: Inputs) -> None:
        """A forward pass that may train begins with these inputs."""

    def end_forward(self, inputs: Inputs, output: Any) -> None:
        """The forward pass has returned `output`."""

    def handle_error(self, error: BaseException) -> None:
        """A forward or backward pass has raised `error`, which goes on."""

    def begin_backward(self) -> None:
        """The backward pass through the newest output has begun."""

    def start_from(self, losses: list[Tensor]) -> None:
        """`torch.autograd.backward` was called on these scalars."""

    def end_backward(self) -> None:
        """A backward pass has ended."""

    def clip(self, norm: Tensor) -> None:
        """Gradients were clipped; `norm` is their norm before."""

    def begin_update(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer with our parameters is about to step."""

    def end_update(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimizer has stepped."""


class LoopHooks:
    """All hooks on one model with these `parameters`; call `install` and `remove` once each."""

    def __init__(
        self,
        model: torch.nn.Module,
        parameters: Iterable[Tensor],
        listener: Listener,
        guard: ErrorBoundary,
    ) -> None:
        self._model = weakref.ref(model)
        self._listener = listener
        self._guard = guard
        self._parameters: set[int] = {id(parameter) for parameter in parameters}
        self._known: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
        self._handles: list[Any] = []
        self._patched: list[tuple[Any, str, Any, Any]] = []
        self._silent = False
        self._process = os.getpid()
        self._depth = 0
        """Nested backward passes: reentrant checkpointing calls one within another."""

    def install(self) -> None:
        """Observe the loop from now on."""
        hook, listener, model = self._guard.hook, self._listener, self._model()
        if model is None:
            return
        before = hook("the inputs of a step could not be read", self._before_forward)
        after = hook("the output of a step could not be read", self._after_forward)
        self._handles += [
            model.register_forward_pre_hook(before, prepend=True, with_kwargs=True),
            model.register_forward_hook(after, with_kwargs=True),
            model.register_forward_hook(
                hook("an error could not be examined", self._after_any_forward), always_call=True
            ),
        ]
        before_step = self._if_ours(listener.begin_update)
        after_step = self._if_ours(listener.end_update)
        self._handles += [
            register_optimizer_step_pre_hook(hook("an update could not be watched", before_step)),
            register_optimizer_step_post_hook(hook("an update could not be watched", after_step)),
        ]
        self._patch(torch.autograd, "backward", self._before_backward, self._after_backward)
        self._patch(torch.nn.utils, "clip_grad_norm_", after=self._after_clipping)

    def remove(self) -> None:
        """Remove all hooks and patches."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for module, name, original, patch in reversed(self._patched):
            if getattr(module, name) is patch:  # else somebody has wrapped it since
                setattr(module, name, original)
        self._patched.clear()
        self._silent = True

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Report nothing of what the model does inside: it is ours."""
        before, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = before

    def _is_listening(self) -> bool:
        return not self._silent and torch.is_grad_enabled() and not self.forked

    @property
    def forked(self) -> bool:
        """Whether this process was forked from the watched one; the log is not its own then."""
        return os.getpid() != self._process

    def _before_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del module
        if self._is_listening():
            self._listener.begin_forward(_name_inputs(args, kwargs))

    def _after_forward(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        del module
        if not self._is_listening():
            return
        self._listener.end_forward(_name_inputs(args, kwargs), output)
        began = self._guard.hook("a backward pass could not be watched", self._in_backward)
        for one in tensors_of(output):  # the loop may call backward on any of them
            if one.requires_grad:
                one.register_hook(began)

    def _after_any_forward(self, module: Any, args: Any, output: Any) -> None:
        """Report the error that left a forward pass; such a pass has no output."""
        del module, args
        error = sys.exc_info()[1]
        if output is None and error is not None and self._is_listening():
            self._listener.handle_error(error)

    def _in_backward(self, gradient: Tensor) -> None:
        del gradient
        if not self._silent:
            self._listener.begin_backward()

    def _if_ours(
        self, report: Callable[[torch.optim.Optimizer], None]
    ) -> Callable[[torch.optim.Optimizer, Any, Any], None]:
        def stepping(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            del args, kwargs
            if not self._silent and self.holds(optimizer):
                report(optimizer)

        return stepping

    def holds(self, optimizer: torch.optim.Optimizer) -> bool:
        """Return whether an optimizer has any of our parameters."""
        known = self._known.get(optimizer)
        if known is None:
            own = (p for group in optimizer.param_groups for p in group["params"])
            known = self._known[optimizer] = any(id(p) in self._parameters for p in own)
        return known

    def _before_backward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        roots = args[0] if args else kwargs.get("tensors")
        self._depth += 1
        found = [roots] if isinstance(roots, Tensor) else list(roots or ())
        if not self._silent:
            self._listener.start_from([one.detach() for one in found if one.numel() == 1])

    def _after_backward(self, found: Any) -> None:
        del found
        self._depth -= 1
        if not self._silent and not self._depth:
            self._listener.end_backward()

    def _after_clipping(self, norm: Any) -> None:
        if not self._silent and isinstance(norm, Tensor):
            self._listener.clip(norm.detach())

    def _handle_error(self, error: BaseException) -> None:
        self._depth = 0
        if not self._silent:
            self._listener.handle_error(error)

    def _patch(
        self,
        module: Any,
        name: str,
        before: Callable[[tuple[Any, ...], dict[str, Any]], None] | None = None,
        after: Callable[[Any], None] | None = None,
    ) -> None:
        """Wrap a function of PyTorch that loops call through its module."""
        original = getattr(module, name)
        guard = self._guard

        @functools.wraps(original)
        def patch(*args: Any, **kwargs: Any) -> Any:
            if before is not None:
                with guard.around("a loss could not be read"):
                    before(args, kwargs)
            try:
                found = original(*args, **kwargs)
            except BaseException as error:
                with guard.around("an error could not be examined"):
                    self._handle_error(error)
                raise
            if after is not None:
                with guard.around("a gradient norm could not be read"):
                    after(found)
            return found

        setattr(module, name, patch)
        self._patched.append((module, name, original, patch))


def unwrap_optimizer(optimizer: Any) -> Any:
    """Return PyTorch's optimizer inside a library's wrapper."""
    inner = getattr(optimizer, "optimizer", None)
    while isinstance(inner, torch.optim.Optimizer):
        optimizer, inner = inner, getattr(inner, "optimizer", None)
    return optimizer


def rank() -> int:
    """Return the rank of this process; 0 without torch.distributed."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if there else 0


def world_size() -> int:
    """Return how many processes train together; 1 without torch.distributed."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if there else 1


def unwrap_model(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model without a data-parallel wrapper, so that one process can call it alone."""
    wrappers = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
    return model.module if isinstance(model, wrappers) else model


def has_ddp_buckets(model: torch.nn.Module) -> bool:
    """Return whether DistributedDataParallel copies all gradients to the buckets that it sends.

    It does without `gradient_as_bucket_view`, as PyTorch documents.
    """
    ddp = torch.nn.parallel.DistributedDataParallel
    return isinstance(model, ddp) and not model.gradient_as_bucket_view


def tensors_of(output: Any) -> Iterable[Tensor]:
    """Return the top-level tensors of a model's output, the loss first where there is one."""
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if isinstance(output, Mapping) else output
    if not isinstance(values, Iterable):
        values = vars(output).values() if hasattr(output, "__dict__") else ()
    return [value for value in values if isinstance(value, Tensor)]


def _name_inputs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return a model's inputs by name; the first positional one is `input_ids`."""
    if args and "input_ids" not in kwargs and isinstance(args[0], Tensor):
        return {"input_ids": args[0], **kwargs}
    return dict(kwargs)
