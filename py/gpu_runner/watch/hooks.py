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

import inspect
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Protocol, cast

import torch
from torch import Tensor
from torch._C._dynamo.eval_frame import set_eval_frame
from torch._dynamo.eval_frame import OptimizedModule, skip_code
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from gpu_runner.watch.patches import (
    BACKWARD,
    CLIPPING,
    COMPILED,
    COMPILING,
    LEAVING,
    SCALING,
    CallObserver,
    ModelCall,
)
from unfrozen import undisturbed

Inputs = Mapping[str, Any]
MOST_ERRORS: Final = 20
"""After this many errors of ours the loop is no longer watched."""


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

    def hook(self, what: str, function: Callable[..., None]) -> Callable[..., None]:
        """Return the function as a hook that never raises, returns None, and Dynamo steps over."""

        def hook(*arguments: Any) -> None:
            if torch.compiler.is_compiling():
                return
            compiling = set_eval_frame(None)
            try:
                with self.around(what):
                    function(*arguments)
            finally:
                set_eval_frame(compiling)

        skip_code(hook.__code__)
        return hook

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


class Listener(Protocol):
    """What the hooks report to."""

    def begin_forward(self, inputs: Inputs, *, compiled: bool, number: int) -> None:
        """A forward pass of the model of this number begins, with these inputs; it may train."""

    def end_forward(self, inputs: Inputs, output: Any) -> None:
        """The forward pass has returned `output`."""

    def handle_error(self, error: BaseException) -> None:
        """A forward or backward pass has raised `error`, which goes on."""

    def begin_backward(self, roots: list[Tensor], values: list[Tensor]) -> None:
        """A backward pass begins from these tensors; `values` are theirs before any scaling."""

    def end_backward(self) -> None:
        """A backward pass has ended."""

    def leave(self, code: Any) -> None:
        """The script calls `sys.exit` with this code."""

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
        called = list(model.children()) if isinstance(model, SeveralModels) else [model]
        self._called = [weakref.ref(one) for one in called]
        self._listener = listener
        self._guard = guard
        self._parameters: set[int] = {id(parameter) for parameter in parameters}
        self._known: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
        self._handles: list[Any] = []
        self._patched: list[tuple[Any, CallObserver]] = []
        self._silent = False
        self._process = os.getpid()
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
        before, after = self._listener.begin_update, self._listener.end_update
        self._handles += [
            register_optimizer_step_pre_hook(hook(what, self._if_ours(before))),
            register_optimizer_step_post_hook(hook(what, self._if_ours(after))),
        ]
        loss, norm = "a loss could not be read", "a gradient norm could not be read"
        self._patch(
            BACKWARD,
            hook(loss, self._before_backward),
            hook(loss, self._after_backward),
            hook("an error could not be examined", self._fail_backward),
        )
        what = "the exit code could not be read"
        self._patch(LEAVING, hook(what, lambda args, _: self._listener.leave(*args[:1] or (0,))))
        self._patch(CLIPPING, after=hook(norm, self._after_clipping))
        self._patch(SCALING, after=hook(loss, self._after_scaling))
        what = "a compiled model could not be watched"
        self._patch(COMPILING, after=hook(what, self._after_compiling))
        self._patch(
            COMPILED,
            hook(what, self._before_compiled),
            hook(what, self._after_compiled),
            hook(what, self._fail_compiled),
        )

    def remove(self) -> None:
        """Remove all hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for patch, observer in self._patched:
            patch.remove(observer)
        self._patched.clear()
        for reference, observer in zip(self._called, self._observers, strict=True):
            if (model := reference()) is not None:
                ModelCall.leave(model, observer)
        self._scaled = None
        self._silent = True

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Report nothing of what the model does inside: it is ours, and draws no random number."""
        before, self._silent = self._silent, True
        try:
            with undisturbed():
                yield
        finally:
            self._silent = before

    def _hook(self, what: str, function: Callable[..., None]) -> Callable[..., None]:
        return self._guard.hook(what, function)

    def _observer(self, number: int) -> CallObserver:
        """Return the observer of the calls of the model of this number."""
        begin, end = partial(self._begin_call, number), partial(self._end_call, number)
        return CallObserver(
            self._hook("the inputs of a step could not be read", begin),
            self._hook("the output of a step could not be read", end),
            self._hook("an error could not be examined", self._fail_call),
        )

    def _number_of(self, model: Any) -> int | None:
        """Return the number of a model; None of one that is not observed."""
        return next((i for i, one in enumerate(self._called) if one() is model), None)

    def _patch(self, patch: Any, *hooks: Any, **more: Any) -> None:
        observer = CallObserver(*hooks, **more)
        patch.add(observer)
        self._patched.append((patch, observer))

    def _is_listening(self) -> bool:
        return (
            not self._silent
            and torch.is_grad_enabled()
            and not self.forked
            and not torch._C._is_tracing()
            and torch._C._functorch.peek_interpreter_stack() is None  # not in vmap or a transform
        )

    @property
    def forked(self) -> bool:
        """Whether this process was forked from the watched one; the log is not its own then."""
        return os.getpid() != self._process

    def _begin_call(
        self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any], *, compiled: bool = False
    ) -> None:
        self._calls += 1
        model = self._called[number]()
        if self._calls > 1 or model is None:
            return
        self._reported = self._is_listening()
        if self._reported:
            call = vars(model).get("_compiled_call_impl")
            compiled = compiled or getattr(call, "compiled", None) is not None
            named = name_inputs(model, args, kwargs)
            self._listener.begin_forward(named, compiled=compiled, number=number)

    def _end_call(
        self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        self._calls = max(0, self._calls - 1)
        model = self._called[number]()
        if not self._calls and self._reported and self._is_listening() and model is not None:
            self._listener.end_forward(name_inputs(model, args, kwargs), output)

    def _fail_call(self, args: Any, kwargs: Any, error: BaseException) -> None:
        del args, kwargs
        self._calls = max(0, self._calls - 1)
        if not self._calls and self._reported and isinstance(error, Exception):
            self._listener.handle_error(error)

    def _before_compiled(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if (number := self._number_of(args[0]._orig_mod)) is not None:
            self._begin_call(number, args[1:], kwargs, compiled=True)

    def _after_compiled(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if (number := self._number_of(args[0]._orig_mod)) is not None:
            self._end_call(number, args[1:], kwargs, output)

    def _fail_compiled(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException
    ) -> None:
        if self._number_of(args[0]._orig_mod) is not None:
            self._fail_call(args[1:], kwargs, error)

    def _after_compiling(self, args: tuple[Any, ...], kwargs: dict[str, Any], found: Any) -> None:
        del kwargs, found
        if (number := self._number_of(args[0])) is not None:
            ModelCall.observe(args[0], self._observers[number])

    def _if_ours(
        self, report: Callable[[torch.optim.Optimizer], None]
    ) -> Callable[[torch.optim.Optimizer, Any, Any], None]:
        def stepping(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            del args, kwargs
            if not self._silent and self.holds(optimizer):
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
        if self._silent or self._backwards > 1 or self.forked:
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
        self._listener.begin_backward(roots, values)

    def _after_backward(self, args: Any, kwargs: Any, found: Any) -> None:
        del args, kwargs, found
        self._backwards = max(0, self._backwards - 1)
        if not self._silent and not self._backwards:
            self._listener.end_backward()

    def _fail_backward(self, args: Any, kwargs: Any, error: BaseException) -> None:
        del args, kwargs
        self._backwards = 0
        if not self._silent:
            self._listener.handle_error(error)

    def _after_clipping(self, args: Any, kwargs: Any, norm: Any) -> None:
        del args, kwargs
        if not self._silent and isinstance(norm, Tensor):
            self._listener.clip(norm.detach())

    def _after_scaling(self, args: tuple[Any, ...], kwargs: dict[str, Any], scaled: Any) -> None:
        given = args[1] if len(args) > 1 else kwargs.get("outputs")
        if isinstance(given, Tensor) and isinstance(scaled, Tensor) and given is not scaled:
            self._scaled = weakref.ref(scaled), given.detach()


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


def name_inputs(
    model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return a model's inputs by the names that its `forward` gives them.

    A positional one without a name there, as in `forward(self, *images)`, is named by its position.
    """
    if not args:
        return dict(kwargs)
    own = inspect.signature(unwrap_model(model).forward).parameters.values()
    names = [one.name for one in own if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    names = [*names, *map(str, range(len(names), len(args)))]
    if any(name.isdecimal() for name in names[: len(args)]):
        names = [str(position) for position in range(len(args))]
    return dict(zip(names, args, strict=False)) | kwargs
