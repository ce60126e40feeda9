"""The hooks on a training loop: they observe it without a change to it, and never raise into it.

    the call of the model                                 the inputs and the output
    the call of what torch.compile made of it             the same
    torch.autograd.backward, torch.autograd.grad          the losses, and whose they are
    torch.nn.utils.clip_grad_norm_                        the gradient norm before clipping
    torch.amp.GradScaler.scale                            the loss before it was scaled
    step hooks of all optimizers                          the update, of those with our parameters

`remove` removes all of them. Forward passes without gradients are evaluations and are not reported;
nor are those inside `silence`, which are ours. No value is changed, and nothing is attached to a
model, an optimizer or a tensor that could be pickled, copied or traced (see `patches`).
"""

from __future__ import annotations

import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar, cast

import torch
from torch import Tensor
from torch._C._dynamo.eval_frame import set_eval_frame
from torch._dynamo.eval_frame import OptimizedModule, skip_code

from gpu_runner.watch.autograd_graph import in_backward
from gpu_runner.watch.patches import (
    AFTER_STEP,
    BACKWARD,
    BEFORE_STEP,
    CLIPPING,
    COMPILED,
    COMPILING,
    LEAVING,
    SCALING,
    CallObserver,
    ModelCall,
    Patch,
)
from unfrozen import undisturbed

Inputs = Mapping[str, Any]
MOST_ERRORS: Final = 20
"""After this many errors of ours the loop is no longer watched."""
MOST_WAIT: Final = 600.0
"""Seconds that a call of the model in another thread waits for what we compute with it, at most."""
SEVERAL_THREADS: Final = (
    "Several threads train this model at the same time: the run is no longer watched."
)
ANOTHER_THREAD: Final = (
    "The optimizer steps in another thread than the one that calls the model, so its steps are not"
    " shown. Call both in one thread."
)
P = ParamSpec("P")
R = TypeVar("R")


class SeveralModels(torch.nn.Module):
    """Models that train together, as one: their weights by the models' names. It is not called."""

    def __init__(self, models: Mapping[str, torch.nn.Module]) -> None:
        super().__init__()
        for name, model in models.items():
            self.add_module(name.replace(".", "_"), unwrap_compiled(model))

    def holders(self, optimizer: torch.optim.Optimizer) -> list[str]:
        """Return the names of the models of which an optimizer updates weights."""
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        return [
            name
            for name, model in self.named_children()
            if any(id(p) in own for p in model.parameters())
        ]


class ErrorBoundary:
    """Catches our own errors, counts them, and warns of each kind once.

    `warn` takes a sentence; `give_up` is called once, after MOST_ERRORS errors.
    """

    def __init__(
        self, warn: Callable[[str], None], give_up: Callable[[], None] = lambda: None
    ) -> None:
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
            self.count(what, error)

    def hook(self, what: str, function: Callable[..., None]) -> Callable[..., None]:
        """Return the function as a hook that never raises, returns None, and Dynamo steps over."""

        def hook(*arguments: Any) -> None:
            if torch.compiler.is_compiling():
                return
            compiling = set_eval_frame(None)
            try:
                function(*arguments)
            except Exception as error:
                self.count(what, error)
            finally:
                set_eval_frame(compiling)

        skip_code(hook.__code__)
        return hook

    def warn_once(self, text: str) -> None:
        """Warn of something that is not an error of ours, the first time only."""
        if text not in self._warned:
            self._warned.add(text)
            with suppress(Exception):  # the log may be what failed
                self._warn(text)

    def count(self, what: str, error: Exception) -> None:
        """Take in an error of ours. It never raises."""
        self.errors += 1
        if what not in self._warned:
            self._warned.add(what)
            reason = (str(error).splitlines() or [""])[0]
            self.warn_once(f"{what} ({type(error).__name__}: {reason}). Training goes on.")
        if self.errors == MOST_ERRORS:
            self.warn_once(
                f"{self.errors} such errors: the run is no longer watched. Training goes on."
            )
            with suppress(Exception):
                self._give_up()


def guarded(what: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of methods that a loop calls: none of them raises, or disturbs it.

    After an error the method returns None; `what` says what failed.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(method)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            own: Any = args[0]
            try:
                return method(*args, **kwargs)
            except Exception as error:
                own._guard.count(what, error)
                return cast(R, None)

        return call

    return decorate


class LoopHooks:
    """All hooks on one model with these `parameters`; call `install` once, and `remove`.

    They report to `run`, a `gpu_runner.watch.run.WatchedRun`.

    One thread trains: the one that began the forward pass of the step. What other threads do is not
    looked at, and nothing of the model is read in them.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        parameters: Iterable[Tensor],
        run: Any,
        guard: ErrorBoundary,
    ) -> None:
        called = list(model.children()) if isinstance(model, SeveralModels) else [model]
        self._called = [weakref.ref(one) for one in called]
        self._names = [input_names(one) for one in called]
        self._run = run
        self._guard = guard
        self._parameters: set[int] = {id(parameter) for parameter in parameters}
        self._known: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
        self._patched: list[tuple[Any, CallObserver]] = []
        self._silent = False
        self._leaving = False
        self._thread = threading.get_ident()
        """The thread that trains."""
        self._computing = threading.RLock()
        """Held while we compute with the model, for which its calls in other threads wait."""
        self.is_shared = False
        """Whether other threads call the model too: then we compute with it no longer."""
        self._calls = 0
        """Nested calls: what torch.compile made of the model calls the model."""
        self._reported = False
        """Whether the beginning of the current call was reported."""
        self._backwards = 0
        """Nested backward passes: reentrant checkpointing calls one within another."""
        self._scaled: tuple[weakref.ref[Tensor], Tensor] | None = None
        """The newest loss that a scaler has scaled: scaled, and before that."""
        self._observers = [self._observer(number) for number in range(len(self._called))]

    def install(self) -> None:
        """Observe the loop from now on."""
        hook = self._hook
        for model, observer in zip(self._called, self._observers, strict=True):
            ModelCall.observe(cast(torch.nn.Module, model()), observer)
        what = "an update could not be watched"
        before, after = self._run.begin_update, self._run.end_update
        self._patch(BEFORE_STEP, hook(what, self._if_ours(before), in_any_thread=True))
        self._patch(AFTER_STEP, hook(what, self._if_ours(after), in_any_thread=True))
        loss, norm = "a loss could not be read", "a gradient norm could not be read"
        self._patch(
            BACKWARD,
            hook(loss, self._before_backward),
            hook(loss, self._after_backward),
            hook("an error could not be examined", self._fail_backward),
        )
        self._patch(LEAVING, hook("the exit code could not be read", self._before_leaving))
        self._patch(CLIPPING, after=hook(norm, self._after_clipping))
        self._patch(SCALING, after=hook(loss, self._after_scaling))
        what = "a compiled model could not be watched"
        self._patch(COMPILING, after=hook(what, self._after_compiling, in_any_thread=True))
        begin = self._if_compiled(partial(self._begin_call, compiled=True))
        self._patch(
            COMPILED,
            hook(what, begin, in_any_thread=True),
            hook(what, self._if_compiled(self._end_call)),
            hook(what, self._if_compiled(self._fail_call)),
        )

    def remove(self, *, measuring: bool = False) -> bool:
        """Remove all hooks; return whether that could be done now.

        A meter that runs is on the stack of the thread that trains, so it leaves there and outside
        of backward passes. Until then the hooks do nothing else.
        """
        own = threading.get_ident() == self._thread
        if measuring and (in_backward() if own else _is_alive(self._thread)):
            self._leaving = True
            return False
        self._leaving = False
        for patch, observer in self._patched:
            patch.remove(observer)
        self._patched.clear()
        for reference, observer in zip(self._called, self._observers, strict=True):
            if (model := reference()) is not None:
                ModelCall.leave(model, observer)
        self._scaled = None
        self._silent = True
        return True

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Report nothing of what the model does inside: it is ours, and draws no random number."""
        with self._computing:
            before, self._silent = self._silent, True
            try:
                with undisturbed():
                    yield
            finally:
                self._silent = before

    def _hook(
        self, what: str, function: Callable[..., None], *, in_any_thread: bool = False
    ) -> Callable[..., None]:
        """Return a hook that acts in the thread that trains, until it is to leave."""

        def unless_leaving(*arguments: Any) -> None:
            own = threading.get_ident() == self._thread
            if self._leaving and own and not in_backward():
                self._run.detach()
            if not self._leaving and (own or in_any_thread):
                function(*arguments)

        return self._guard.hook(what, unless_leaving)

    def _observer(self, number: int) -> CallObserver:
        """Return the observer of the calls of the model of this number."""
        begin, end = partial(self._begin_call, number), partial(self._end_call, number)
        fail = partial(self._fail_call, number)
        return CallObserver(
            self._hook("the inputs of a step could not be read", begin, in_any_thread=True),
            self._hook("the output of a step could not be read", end),
            self._hook("an error could not be examined", fail),
        )

    def _number_of(self, model: Any) -> int | None:
        """Return the number of a model; None of one that is not observed."""
        return next((i for i, one in enumerate(self._called) if one() is model), None)

    def _patch(self, patch: Patch, *hooks: Any, **more: Any) -> None:
        observer = CallObserver(*hooks, **more)
        patch.add(observer)
        self._patched.append((patch, observer))

    def _is_listening(self) -> bool:
        return (
            not self._silent
            and torch.is_grad_enabled()
            and not torch._C._is_tracing()
            and torch._C._functorch.peek_interpreter_stack() is None  # not in vmap or a transform
        )

    def _takes_over(self) -> bool:
        """Return whether this thread trains from now on, called by one that did not until now.

        Within a step of the other thread both would train the same model: such a run is given up,
        by the thread that it follows.
        """
        if self._is_listening() and self.take_over():
            return True
        self.is_shared = True
        if torch.is_grad_enabled() and not self._leaving:
            self._guard.warn_once(SEVERAL_THREADS)
            self._leaving = True
        return False

    def take_over(self) -> bool:
        """Return whether this thread trains: it did, or the other one is between two steps."""
        busy = self._calls or self._backwards or self._silent or not self._run.is_idle
        if threading.get_ident() != self._thread:
            if busy and _is_alive(self._thread):
                return False
            self._thread, self._calls, self._backwards = threading.get_ident(), 0, 0
        return True

    def _begin_call(
        self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any], *, compiled: bool = False
    ) -> None:
        if threading.get_ident() != self._thread and not self._takes_over():
            if self._computing.acquire(timeout=MOST_WAIT):
                self._computing.release()
            return
        self._calls += 1
        model = self._called[number]()
        if self._calls > 1 or model is None:
            return
        self._reported = self._is_listening()
        if self._reported:
            call = vars(model).get("_compiled_call_impl")
            compiled = compiled or getattr(call, "compiled", None) is not None
            named = name_inputs(self._names[number], args, kwargs)
            self._run.begin_forward(named, compiled=compiled, number=number)

    def _end_call(
        self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        self._calls = max(0, self._calls - 1)
        if not self._calls and self._reported and self._is_listening():
            self._run.end_forward(name_inputs(self._names[number], args, kwargs), output)

    def _fail_call(self, number: int, args: Any, kwargs: Any, error: BaseException) -> None:
        del number, args, kwargs
        self._calls = max(0, self._calls - 1)
        if not self._calls and self._reported and isinstance(error, Exception):
            self._run.handle_error(error)

    def _if_compiled(self, report: Callable[..., None]) -> Callable[..., None]:
        def called(args: tuple[Any, ...], kwargs: dict[str, Any], *outcome: Any) -> None:
            if (number := self._number_of(args[0]._orig_mod)) is not None:
                report(number, args[1:], kwargs, *outcome)

        return called

    def _after_compiling(self, args: tuple[Any, ...], kwargs: dict[str, Any], found: Any) -> None:
        del kwargs, found
        if (number := self._number_of(args[0])) is not None:
            ModelCall.observe(args[0], self._observers[number])

    def _if_ours(
        self, report: Callable[[torch.optim.Optimizer], None]
    ) -> Callable[[torch.optim.Optimizer, Any, Any], None]:
        def stepping(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            del args, kwargs
            if self._silent or not self.holds(optimizer):
                return
            of_backward = self._backwards and in_backward()  # on a GPU it has threads of its own
            if threading.get_ident() != self._thread and not of_backward:
                self._guard.warn_once(ANOTHER_THREAD)
                return
            self._calls = 0  # an interrupt may have left a call without its end
            report(optimizer)

        return stepping

    def holds(self, optimizer: torch.optim.Optimizer) -> bool:
        """Return whether an optimizer has any of our parameters."""
        known = self._known.get(optimizer)
        if known is None:
            own = (p for group in optimizer.param_groups for p in group["params"])
            known = self._known[optimizer] = any(id(p) in self._parameters for p in own)
        return known

    def owns(self, parameter: Tensor) -> bool:
        """Return whether a parameter is one of the model's."""
        return id(parameter) in self._parameters

    def _before_backward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._backwards += 1
        if self._silent or self._backwards > 1:
            return
        accumulates = kwargs.get("accumulate_grad", False)
        if not accumulates and not any(map(self.owns, args[4] or ())):
            return  # gradients of something else
        roots = [one for one in args[0] if isinstance(one, Tensor)]
        scaled, value = self._scaled or (None, None)
        self._scaled = None
        values = [
            value if value is not None and scaled is not None and one is scaled() else one.detach()
            for one in roots
        ]
        self._run.begin_backward(roots, values)

    def _after_backward(self, args: Any, kwargs: Any, found: Any) -> None:
        del args, kwargs, found
        self._backwards = max(0, self._backwards - 1)
        if not self._silent and not self._backwards:
            self._run.end_backward()

    def _fail_backward(self, args: Any, kwargs: Any, error: BaseException) -> None:
        del args, kwargs
        self._backwards = 0
        if not self._silent:
            self._run.handle_error(error)

    def _before_leaving(self, args: Any, kwargs: Any) -> None:
        del kwargs
        if not self._silent:
            self._run.leave(*args[:1] or (0,))

    def _after_clipping(self, args: Any, kwargs: Any, norm: Any) -> None:
        del args, kwargs
        if not self._silent and isinstance(norm, Tensor):
            self._run.clip(norm.detach())

    def _after_scaling(self, args: tuple[Any, ...], kwargs: dict[str, Any], scaled: Any) -> None:
        given = args[1] if len(args) > 1 else kwargs.get("outputs")
        if self._silent or given is scaled:
            return
        if isinstance(given, Tensor) and isinstance(scaled, Tensor):
            self._scaled = weakref.ref(scaled), given.detach()


def _is_alive(thread: int) -> bool:
    return any(one.ident == thread for one in threading.enumerate())


def unwrap_optimizer(optimizer: Any) -> Any:
    """Return PyTorch's optimizer inside a library's wrapper."""
    inner = getattr(optimizer, "optimizer", None)
    while isinstance(inner, torch.optim.Optimizer):
        optimizer, inner = inner, getattr(inner, "optimizer", None)
    return optimizer


def predicts_next_token(model: torch.nn.Module) -> bool:
    """Return whether labels are shifted: not in a decoder beside an encoder, nor in an encoder."""
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return False
    return not any(one in type(model).__name__ for one in ("MaskedLM", "TokenClassification"))


def rank() -> int:
    """Return the rank of this process; 0 without torch.distributed."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if there else 0


def world_size() -> int:
    """Return how many processes train together; 1 without torch.distributed."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if there else 1


def join_models(model: Any) -> torch.nn.Module:
    """Return what trains as one module; a list or dict of models becomes `SeveralModels`.

    Raises `TypeError` for anything else.
    """
    if isinstance(model, torch.nn.Module):
        return unwrap_compiled(model)
    named = model if isinstance(model, Mapping) else None
    if isinstance(model, list | tuple):
        named = {f"model_{number}": one for number, one in enumerate(model, 1)}
    if not named or not all(isinstance(one, torch.nn.Module) for one in named.values()):
        raise TypeError(
            f"model is a {type(model).__name__}: pass the torch.nn.Module that trains, or several."
        )
    return SeveralModels({str(name): one for name, one in named.items()})


def unwrap_compiled(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model that `torch.compile(model)` calls."""
    return model._orig_mod if isinstance(model, OptimizedModule) else model


def unwrap_model(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model without a data-parallel wrapper, so that one process can call it alone."""
    wrappers = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
    return unwrap_compiled(model.module) if isinstance(model, wrappers) else model


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


def input_names(model: torch.nn.Module) -> list[str]:
    """Return the names of the positional inputs of a model's `forward`."""
    with suppress(ValueError, TypeError):  # code that is not Python's has no signature
        own = inspect.signature(unwrap_model(model).forward).parameters.values()
        return [one.name for one in own if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    return []


def name_inputs(names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return a model's inputs by the names that its `forward` gives them.

    A positional one without a name there, as in `forward(self, *images)`, is named by its position.
    """
    if len(args) > len(names):
        names = [str(position) for position in range(len(args))]
    return dict(zip(names, args, strict=False)) | kwargs
