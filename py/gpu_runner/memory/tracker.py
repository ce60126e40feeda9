"""Measured memory of a step, by the instants and components of `unfrozen.events`.

On a CPU no allocator counts the bytes of tensors, so `TensorTracker` watches every operator: a
storage is counted when an operator returns it for the first time, and dropped when its last owner
releases it (a weak reference tells). Of a sharded tensor only the local shard counts. FSDP gathers
weights into storages that it empties and fills again; they count as `gathered`. Weights, gradients
and moments are known exactly, by identity; other tensors are sorted by when they appear:

    forward up to the head        activations
    head, loss, their backward    logits_loss, until the head's input has its gradient
    backward below the head       workspace
    optimizer step                workspace, in the first step also new moments

Once backward has begun, a tensor shaped like a weight counts as a gradient before its parameter
owns it. Memory that a kernel allocates and frees within one operator is invisible, as to any such
tracker. The tracker costs about 20 µs per operator, so it runs on chosen steps only. Its own errors
(a sparse tensor has no storage) end the measurement of a real step, and never the step.

On CUDA the allocator's own statistics are exact and free (`CudaMeter`). Weights, gradients and
moments are known by identity; only the split of the rest is missing. cuBLAS takes its workspace
from the same allocator, 8 to 32 MiB per thread and stream whatever the model; it is subtracted.

Instants: `end_of_forward` is the highest point from the start of the forward pass to the gradient
of the head's input; `backward` the highest point below the head; `end_of_backward` the moment when
all gradients are complete; `optimizer_step` the highest point of the update.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gpu_runner.model.blocks import as_written
from gpu_runner.world import local

Components = dict[str, int]
Phase = Literal["forward", "backward", "optimizer_step"]
_REST: Final = ("activations", "workspace")
_PHASES: Final = ("activations", "logits_loss", "workspace")
_RESIZE: Final = torch.UntypedStorage.resize_
_DEVICE: Final = torch.ops.prim.device.default


@dataclass
class StepMemory:
    """The memory of one measured step: bytes by instant and component, and the overall peak."""

    source: Literal["tensors", "cuda"]
    instants: dict[str, Components] = field(default_factory=dict)
    peak_bytes: int = 0

    def keep_larger(self, instant: str, components: Components) -> None:
        """Remember `components` at `instant` if their sum is the largest seen there."""
        if sum(components.values()) >= sum(self.instants.get(instant, {}).values()):
            self.instants[instant] = {name: size for name, size in components.items() if size}


class Meter(Protocol):
    """What a training step reports its phases to."""

    def phase(self, name: Phase) -> Any:
        """Return a context manager for one phase of the step."""


class TrackedModel(Protocol):
    """What is measured of a model."""

    def parameters(self) -> Iterable[Tensor]:
        """Return the weights, of sharded ones the local shards."""

    def buffers(self) -> Iterable[Tensor]:
        """Return the buffers."""

    def get_output_embeddings(self) -> Any:
        """Return the head, or None."""


class OptimizerStates(Protocol):
    """What is measured of an optimizer, or of several together."""

    @property
    def state(self) -> Mapping[Tensor, Mapping[str, Any]]:
        """The states by parameter."""


class SilentMeter:
    """The meter of steps that are not measured."""

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Measure nothing."""
        del name
        yield


class CudaMeter:
    """Reads the allocator's statistics around a step (`with meter:`)."""

    def __init__(
        self, model: TrackedModel, optimizer: OptimizerStates, device: torch.device
    ) -> None:
        self.memory = StepMemory("cuda")
        self._model = model
        self._optimizer = optimizer
        self._device = device

    def __enter__(self) -> CudaMeter:
        """Return the meter at the start of the step."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Free cuBLAS's workspace at the end of the step, and subtract its size.

        The next matmul allocates it again.
        """
        before = torch.cuda.memory_allocated(self._device)
        torch._C._cuda_clearCublasWorkspaces()
        self._subtract(before - torch.cuda.memory_allocated(self._device))

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Read the peak of the phase; forward and backward share `end_of_forward`."""
        if name != "backward":
            torch.cuda.reset_peak_memory_stats(self._device)
        yield
        peak = torch.cuda.max_memory_allocated(self._device)
        self.memory.peak_bytes = max(self.memory.peak_bytes, peak)
        if name == "forward":
            self.memory.keep_larger("end_of_forward", self._split(peak, "activations"))
        elif name == "backward":
            now = torch.cuda.memory_allocated(self._device)
            self.memory.instants["end_of_backward"] = self._split(now, "workspace")
        else:
            self.memory.keep_larger("optimizer_step", self._split(peak, "workspace"))

    def _split(self, total: int, rest: str) -> Components:
        known = known_bytes(self._model, self._optimizer)
        return known | {rest: max(0, total - sum(known.values()))}

    def _subtract(self, size: int) -> None:
        self.memory.peak_bytes -= size
        for components in self.memory.instants.values():
            for name in set(_REST) & components.keys():
                components[name] = max(0, components[name] - size)


def known_bytes(model: TrackedModel, optimizer: OptimizerStates) -> Components:
    """Return the bytes of the weights, gradients and moments alive now."""
    parameters = list(model.parameters())
    states = [
        value
        for parameter, state in optimizer.state.items()
        for value in state.values()
        if isinstance(value, Tensor)
        and local(value).device == local(parameter).device  # not in CPU memory
    ]
    return {
        "params": sum(local(t).nbytes for t in (*parameters, *model.buffers())),
        "grads": sum(local(p.grad).nbytes for p in parameters if p.grad is not None),
        "moments": sum(local(value).nbytes for value in states),
    }


def guarded(method: Callable[..., None]) -> Callable[..., None]:
    """Return a method of a tracker that never raises into a real step, and does nothing after."""

    @functools.wraps(method)
    def call(self: TensorTracker, *args: Any) -> None:
        if self.error is not None:
            return
        try:
            method(self, *args)
        except Exception as error:
            if self.strict:
                raise
            self.error = error
            self.memory.instants.clear()
            self.memory.peak_bytes = 0

    return call


class TensorTracker(TorchDispatchMode):
    """Bytes of live tensor storages by component while the mode is active (`with tracker:`).

    `error` is the error of its own that ended it. A `strict` one, of a traced step, raises it.
    """

    def __init__(
        self, model: TrackedModel, optimizer: OptimizerStates, *, strict: bool = True
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.strict = strict
        self.error: Exception | None = None
        self.memory = StepMemory("tensors")
        self._model = model
        self._optimizer = optimizer
        self._live: dict[int, tuple[weakref.ref[Any], int, str]] = {}  # id → storage, bytes, kind
        self.now: Components = dict.fromkeys(
            ("params", "grads", "moments", "gathered", *_PHASES), 0
        )
        self._total = 0
        self.kind = "activations"
        self.instant = "end_of_forward"
        self._makes_moments = False
        self._weight_shapes: set[tuple[int, ...]] = set()
        self._hooks: list[Any] = []
        self._resize: Any = None

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Return True: what torch.compile runs, it runs as without the tracker."""
        return True

    def __enter__(self) -> Self:
        """Count the tensors alive now, then start watching."""
        self._begin()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exc: Any) -> None:
        """Stop watching; storages alive now are no longer tracked."""
        super().__exit__(*exc)  # type: ignore[no-untyped-call]
        self._end()

    @guarded
    def _begin(self) -> None:
        shapes = [tuple(local(p).shape) for p in self._model.parameters()]
        self._weight_shapes = {*shapes, *(shape[::-1] for shape in shapes)}
        for tensor in (*self._model.parameters(), *self._model.buffers()):
            self._count(tensor, "params")
        self._adopt()
        self.memory.keep_larger("load", {"params": self.now["params"]})
        head = self._model.get_output_embeddings()
        if head is not None:
            self._hooks.append(head.register_forward_pre_hook(self._head_begins))
        for parameter in (p for p in self._model.parameters() if p.requires_grad):
            hook = parameter.register_post_accumulate_grad_hook(self._gradient_arrived)
            self._hooks.append(hook)
        self._watch_resizes()

    def _end(self) -> None:
        if torch.UntypedStorage.resize_ is self._resize:
            torch.UntypedStorage.resize_ = _RESIZE  # type: ignore[method-assign]
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._live.clear()

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Attribute tensors that appear inside to this phase of the step."""
        self._begin_phase(name)
        yield
        self._end_phase(name)

    @guarded
    def _begin_phase(self, name: Phase) -> None:
        if name == "forward":
            self.kind, self.instant = "activations", "end_of_forward"
        elif name == "optimizer_step":
            self._adopt()
            self.kind, self.instant = "workspace", "optimizer_step"
            self._makes_moments = not self._optimizer.state
        self._peak()

    @guarded
    def _end_phase(self, name: Phase) -> None:
        self._adopt()
        if name == "backward":
            self.memory.instants.pop("end_of_backward", None)  # the last micro-batch completes it
            self.memory.keep_larger("end_of_backward", self.now)
        elif name == "optimizer_step":
            self.memory.keep_larger("optimizer_step", self.now)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator and count the storages it returns.

        Most of what autograd asks of a fake tensor is its device, which it knows itself.
        """
        del types
        if func is _DEVICE:
            return args[0].device
        result = func(*args, **(kwargs or {}))
        self._count_results(result, args)
        return result

    @guarded
    def _count_results(self, result: Any, args: Any) -> None:
        for leaf in [result] if isinstance(result, Tensor) else tree_leaves(result):
            if isinstance(leaf, Tensor) and not self._existed(leaf, args):
                self._count(leaf, self._kind_of(leaf))

    def _existed(self, tensor: Tensor, args: Any) -> bool:
        """Return whether its storage existed before: a tracked one, or a buffer of gloo's."""
        key = _key(tensor)
        if key in self._live:
            return True
        return any(isinstance(leaf, Tensor) and _key(leaf) == key for leaf in tree_leaves(args))

    def _kind_of(self, tensor: Tensor) -> str:
        if self.kind == "activations" or tuple(tensor.shape) not in self._weight_shapes:
            return self.kind
        if self.instant != "optimizer_step":
            return "grads"
        return "moments" if self._makes_moments else "workspace"

    def _watch_resizes(self) -> None:
        """Track storages that are emptied or filled again, which no operator reports."""

        own = threading.get_ident()

        def resize(storage: Any, size: int) -> Any:
            found = _RESIZE(storage, size)
            if threading.get_ident() == own:
                self._add_resized(storage)
            return found

        self._resize = resize
        torch.UntypedStorage.resize_ = resize  # type: ignore[method-assign, assignment]

    @guarded
    def _add_resized(self, storage: Any) -> None:
        self._forget(id(storage))
        self._add(storage, "gathered")

    def _count(self, tensor: Tensor, kind: str) -> None:
        self._add(local(tensor).untyped_storage(), kind)

    def _add(self, storage: Any, kind: str) -> None:
        key = id(storage)
        if key in self._live:
            return
        size = storage.nbytes()
        self._live[key] = (weakref.ref(storage, lambda _: self._forget(key)), size, kind)
        self.now[kind] += size
        self._total += size
        self._peak()

    def _forget(self, key: int) -> None:
        entry = self._live.pop(key, None)
        if entry is not None:
            self.now[entry[2]] -= entry[1]
            self._total -= entry[1]

    def _peak(self) -> None:
        self.memory.peak_bytes = max(self.memory.peak_bytes, self._total)
        self.memory.keep_larger(self.instant, self.now)

    def _assign(self, tensor: Tensor, kind: str) -> None:
        """Move a storage to the component it turned out to belong to, or count it now."""
        key = _key(tensor)
        entry = self._live.get(key)
        if entry is None:
            self._count(tensor, kind)
            return
        reference, size, old = entry
        self.now[old] -= size
        self.now[kind] += size
        self._live[key] = (reference, size, kind)

    def _adopt(self) -> None:
        """Assign gradients and moments, by identity."""
        for parameter in self._model.parameters():
            if parameter.grad is not None:
                self._assign(parameter.grad, "grads")
        for state in self._optimizer.state.values():
            for value in state.values():
                if isinstance(value, Tensor):
                    self._assign(value, "moments")

    @guarded
    def _gradient_arrived(self, parameter: Tensor) -> None:
        if parameter.grad is not None:
            self._assign(parameter.grad, "grads")

    @guarded
    def _head_begins(self, head: Any, inputs: tuple[Any, ...]) -> None:
        del head
        if not torch.is_grad_enabled():  # no part of the step
            return
        self.kind = "logits_loss"
        for one in inputs[:1]:
            if isinstance(one, Tensor) and one.requires_grad:
                self._hooks.append(one.register_hook(self._head_is_done))

    @guarded
    def _head_is_done(self, gradient: Tensor) -> None:
        del gradient
        self.kind, self.instant = "workspace", "backward"


def _key(tensor: Tensor) -> int:
    """Return the identity of the local shard's storage."""
    return id(local(tensor).untyped_storage())


@contextmanager
def measure_step(
    model: TrackedModel, optimizer: OptimizerStates, device: torch.device, *, wanted: bool
) -> Iterator[tuple[Meter, StepMemory | None]]:
    """Yield the meter for this step and device, and the memory it fills; None if not `wanted`."""
    if not wanted:
        yield SilentMeter(), None
    elif device.type == "cuda":
        with CudaMeter(model, optimizer, device) as meter:
            yield meter, meter.memory
    else:
        with as_written(model), TensorTracker(model, optimizer, strict=False) as tracker:
            yield tracker, tracker.memory
