"""Functions of PyTorch that training loops call, wrapped for as long as a run observes them.

    Patch        a function of a module or class of PyTorch
    ModelCall    the call of one model, at the place where `Module.compile` puts a compiled one

Each has one wrapper and the wrapper a list of observers, so runs may be closed in any order: the
last one to leave restores the function. A wrapper that somebody else has wrapped meanwhile stays,
does nothing and keeps nothing alive. Dynamo steps over the wrappers: what it compiles, and into how
many graphs, is the same with and without them. A model called through `ModelCall` has no hook,
and a copy of it, pickled or deep, has no observer.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import weakref
from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch._dynamo.eval_frame import OptimizedModule, skip_code

_CALL: Final = "_compiled_call_impl"
"""Where `Module.__call__` looks for a function to call in place of its own."""


def _ignore(*_: Any) -> None:
    """Observe nothing."""


skip_code(_ignore.__code__)


@dataclass(frozen=True, eq=False, slots=True)
class CallObserver:
    """What is called around a function: hooks of an `ErrorBoundary`, which never raise.

    before    with its positional and keyword arguments (of an optimizer's step the optimizer first)
    after     with these and the result
    failed    with these and the error that it raised
    """

    before: Callable[..., None] = _ignore
    after: Callable[..., None] = _ignore
    failed: Callable[..., None] = _ignore


LOCK: Final = threading.RLock()
"""Held while functions are wrapped or restored, and while a process forks."""
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release
    )


def _observe(
    observers: list[CallObserver],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Return what the function returns. Dynamo sees the function, and nothing around it."""
    present = tuple(observers)
    for one in present:
        one.before(args, kwargs)
    try:
        found = function(*args, **kwargs)
    except BaseException as error:
        for one in present:
            one.failed(args, kwargs, error)
        raise
    for one in present:
        one.after(args, kwargs, found)
    return found


class Patch:
    """The function `name` of `owner`, wrapped while it has observers."""

    def __init__(self, owner: Any, name: str) -> None:
        self._owner, self._name = owner, name
        self._observers: list[CallObserver] = []
        self._original: Any = None
        self._wrapper: Any = None

    def add(self, observer: CallObserver) -> None:
        """Call the observer around the function from now on."""
        with LOCK:
            self._observers.append(observer)
            if self._wrapper is None:
                self._original = getattr(self._owner, self._name)
                self._wrapper = self._wrap(self._original, self._observers)
                setattr(self._owner, self._name, self._wrapper)

    def remove(self, observer: CallObserver) -> None:
        """Call it no longer; the last observer to leave restores the function."""
        with LOCK:
            if observer in self._observers:
                self._observers.remove(observer)
            if self._observers or self._wrapper is None:
                return
            if getattr(self._owner, self._name) is self._wrapper:
                setattr(self._owner, self._name, self._original)
            self._observers = []  # a wrapper that somebody has wrapped has none for good
            self._original = self._wrapper = None

    def _wrap(self, original: Any, observers: list[CallObserver]) -> Any:
        def patch(*args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or not observers:
                return original(*args, **kwargs)
            return _observe(observers, original, args, kwargs)

        skip_code(patch.__code__)
        return functools.wraps(original)(patch)


class StepHooks(UserDict[int, Any]):
    """PyTorch's hooks on every optimizer's step, which stay in their own dict, and then ours.

    Ours are not put into that dict: a step in another thread may be going through it, and would
    raise that it has changed.
    """

    def __init__(self, original: Any, observers: list[CallObserver]) -> None:
        self.data = original
        self._observers = observers

    def values(self) -> Any:
        """Return the hooks of this moment."""
        ours = (one.before for one in self._observers)
        return (*self.data.values(), *ours)


class StepPatch(Patch):
    """One of the two dicts of such hooks, replaced while it has observers."""

    _made: StepHooks | None = None

    def _wrap(self, original: Any, observers: list[CallObserver]) -> Any:
        if self._made is None:  # handles of hooks that are registered meanwhile refer to it
            self._made = StepHooks(original, observers)
        self._made._observers = observers
        return self._made


class ModelCall:
    """The call of one model: it calls what the model would call by itself, between its observers.

    `compiled` is what `Module.compile` has put in its place, None for a model that runs eagerly.
    """

    def __init__(self, model: nn.Module, compiled: Any) -> None:
        self.compiled = compiled
        self._model = weakref.ref(model)
        self._observers: list[CallObserver] = []

    @staticmethod
    def observe(model: nn.Module, observer: CallObserver) -> None:
        """Call the observer around each call of the model from now on."""
        with LOCK:
            call = vars(model).get(_CALL)
            if not isinstance(call, ModelCall):
                call = vars(model)[_CALL] = ModelCall(model, call)
            call._observers.append(observer)

    @staticmethod
    def leave(model: nn.Module, observer: CallObserver) -> None:
        """Call it no longer; the last observer to leave restores the call."""
        with LOCK:
            call = vars(model).get(_CALL)
            if not isinstance(call, ModelCall) or observer not in call._observers:
                return
            call._observers.remove(observer)
            if not call._observers:
                vars(model)[_CALL] = call.compiled
                if call.compiled is None:
                    del vars(model)[_CALL]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model; a replica that shares its attributes (DataParallel) is not observed."""
        model: Any = self._model()
        caller = sys._getframe(1).f_locals.get("self", model)
        if caller is not model:
            return caller._call_impl(*args, **kwargs)
        return _observe(self._observers, self.compiled or caller._call_impl, args, kwargs)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Return how to copy it: to None, as for a model that nobody observes."""
        return type(None), ()


skip_code(_observe.__code__)
skip_code(ModelCall.__call__.__code__)

BACKWARD: Final = Patch(torch.autograd, "_engine_run_backward")
"""Under `Tensor.backward`, `torch.autograd.backward` and `torch.autograd.grad`."""
LEAVING: Final = Patch(sys, "exit")
CLIPPING: Final = Patch(nn.utils, "clip_grad_norm_")
SCALING: Final = Patch(torch.amp.GradScaler, "scale")
COMPILING: Final = Patch(nn.Module, "compile")
COMPILED: Final = Patch(OptimizedModule, "__call__")
"""What `torch.compile(model)` returns, called."""
_OPTIMIZERS: Final = sys.modules[torch.optim.Optimizer.__module__]
BEFORE_STEP: Final = StepPatch(_OPTIMIZERS, "_global_optimizer_pre_hooks")
AFTER_STEP: Final = StepPatch(_OPTIMIZERS, "_global_optimizer_post_hooks")
