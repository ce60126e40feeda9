"""The memory of a step of any training loop, predicted before it runs.

The loop's own model is copied with fake tensors, which have shape, dtype and an owner but no
memory, together with everything that was done to it: adapters, checkpointing, a replaced forward,
FSDP2 (`fsdp`). The copy takes two steps with its own optimizer classes, with as many micro-batches
as the loop has, under the tracker that also measures real steps. So no architecture is unknown.
"""

from __future__ import annotations

import gc
import inspect
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._C import (
    _len_torch_dispatch_stack,
    _pop_torch_dispatch_stack,
    _push_on_torch_dispatch_stack,
)
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

from gpu_runner.memory.fsdp import (
    DeferredSync,
    ShardView,
    copy_model,
    defer_sync,
    describe_sharding,
    gathered_parameters,
)
from gpu_runner.memory.prediction import Prediction, load_or_trace
from gpu_runner.memory.tracing import fake_tensors
from gpu_runner.memory.tracker import TensorTracker, guarded
from gpu_runner.model.attention import skip_packing_detection
from gpu_runner.model.blocks import run_eagerly
from gpu_runner.model.loss import cross_entropy_of
from gpu_runner.world import is_cut, local

Autocast = Callable[[], AbstractContextManager[Any]]


class Optimizers:
    """The optimizers of one model, seen as one. They are not kept alive."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self._refs: list[weakref.ref[torch.optim.Optimizer]] = []
        for optimizer in optimizers:
            self.add(optimizer)

    @property
    def alive(self) -> list[torch.optim.Optimizer]:
        """The optimizers that still exist, in the order in which they were added."""
        return [one for ref in self._refs if (one := ref()) is not None]

    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:
        """Parameter → its optimizer state."""
        return {key: state for one in self.alive for key, state in one.state.items()}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all of them."""
        return [group for one in self.alive for group in one.param_groups]

    def gradient_norm(self) -> Tensor | None:
        """Return the L2 norm of all gradients; None where that would need a collective."""
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        if any(
            isinstance(one, DTensor) or (one is not None and one.is_sparse) for one in gradients
        ):
            return None
        with torch.no_grad():
            return torch.nn.utils.get_total_norm([one for one in gradients if one is not None])

    def add(self, optimizer: torch.optim.Optimizer) -> bool:
        """Add an optimizer; return whether it is new."""
        if any(one is optimizer for one in self.alive):
            return False
        self._refs.append(weakref.ref(optimizer))
        return True


class LoopTracker(TensorTracker):
    """A tracker for models that FSDP2 may have sharded: shards count as weights.

    What is gathered when it starts, as the outermost module's weights are after an evaluation,
    counts as `gathered`.
    """

    def __init__(self, model: Any, optimizers: Optimizers, *, strict: bool = True) -> None:
        super().__init__(ShardView(model), optimizers, strict=strict)
        self._whole = model

    @guarded
    def _begin(self) -> None:
        for one in gathered_parameters(self._whole):
            for gathered in one.all_gather_outputs:
                self._count(gathered, "gathered")
        super()._begin()

    def start(self) -> None:
        """Start watching below all modes of this thread, which begin and end as they would alone.

        Nothing is changed but the stack of this thread: PyTorch's `with` sets flags of the process.
        """
        self._begin()
        if self.error is not None:
            self._end()
            return
        above = _pop_modes(None)
        for mode in (self, *above):
            _push_on_torch_dispatch_stack(mode)

    def stop(self) -> None:
        """Stop watching, in the thread that started and outside of backward passes.

        A backward pass has a stack of its own, which goes with it.
        """
        if self in _get_current_dispatch_mode_stack():
            for mode in _pop_modes(self):
                _push_on_torch_dispatch_stack(mode)
        self._end()


def _pop_modes(last: TorchDispatchMode | None) -> list[TorchDispatchMode]:
    """Take the modes of this thread off its stack, to `last` or all; return those above it."""
    found: list[TorchDispatchMode] = []
    while _len_torch_dispatch_stack() and (mode := _pop_torch_dispatch_stack(None)) is not last:
        found.insert(0, mode)
    return found


@dataclass(frozen=True, slots=True)
class LoopBehavior:
    """How a loop takes its steps, as far as its model does not tell."""

    micro_batches: int = 1
    """Backward passes in a step."""
    keeps_output: Literal["", "backward", "step"] = "step"
    """Whether the model's output stays alive through the backward pass, or until the next forward
    pass has ended, as under a variable of the loop.
    """
    keeps_zeroed_gradients: bool = False
    """Whether gradients are set to zero after a step instead of freed (`set_to_none=False`)."""
    checkpointing: bool = False
    """Whether activation checkpointing is to be switched on for the prediction."""
    ddp_buckets: bool = False
    """Whether DistributedDataParallel keeps a second copy of all gradients."""
    deferred_sync: DeferredSync = ""
    """The gradient reduction of a sharded model that waits for the last micro-batch."""
    passes: int = 1
    """Forward passes before a backward pass, which goes through all of them."""


@dataclass(frozen=True, slots=True)
class StepInputs:
    """The shapes of a model's inputs, and the facts that follow from their values.

    An input without a name has its position, "0" for the first one. Those of a tuple, list or dict
    are `name.0`, `name.1`, …, and `nested` has its structure.
    """

    tensors: tuple[tuple[str, tuple[int, ...], torch.dtype], ...]
    constants: tuple[tuple[str, Any], ...]
    packed: bool
    """Whether positions restart within a sequence, so that attention needs a mask."""
    nested: tuple[tuple[str, TreeSpec], ...] = ()

    @staticmethod
    def of(inputs: Mapping[str, Any]) -> StepInputs:
        """Describe real inputs. A mask of ones counts as none, as in transformers."""
        tensors, constants, nested = [], [], []
        for name, value in inputs.items():
            if name == "attention_mask" and _is_full(value):
                continue
            leaves, structure = tree_flatten(dict(value) if isinstance(value, Mapping) else value)
            names = [name]
            if not structure.is_leaf():
                names = [f"{name}.{index}" for index in range(len(leaves))]
                nested.append((name, structure))
            for own, leaf in zip(names, leaves, strict=True):
                if isinstance(leaf, Tensor):
                    tensors.append((own, tuple(leaf.shape), leaf.dtype))
                elif leaf is None or isinstance(leaf, bool | int | float | str):
                    constants.append((own, leaf))
        positions = inputs.get("position_ids")
        packed = isinstance(positions, Tensor) and _restarts(positions)
        return StepInputs(tuple(tensors), tuple(constants), packed, tuple(nested))

    @property
    def shape(self) -> tuple[int, int]:
        """(sequences, tokens per sequence), or (examples, 1) where an example is no text."""
        return batch_shape(self.tensors)

    def resized(self, sequences: int, length: int) -> StepInputs:
        """Return the inputs of a batch of another size."""
        now = self.shape
        is_text = now[1] > 1

        def resize(shape: tuple[int, ...]) -> tuple[int, ...]:
            if not is_text:
                return (sequences, *shape[1:]) if shape[:1] == now[:1] else shape
            if shape[:2] == now:
                return sequences, length, *shape[2:]
            return (shape[0], length, *shape[2:]) if shape[1:2] == now[1:] else shape

        tensors = tuple((name, resize(shape), dtype) for name, shape, dtype in self.tensors)
        return replace(self, tensors=tensors)

    def make(self, device: torch.device) -> tuple[list[Any], dict[str, Any]]:
        """Return arguments of these shapes, by position and by name; for use under a fake mode."""
        made = dict(self.constants) | {
            name: torch.zeros(shape, dtype=dtype, device=device)
            for name, shape, dtype in self.tensors
        }
        for name, structure in self.nested:
            leaves = [made.pop(f"{name}.{i}", None) for i in range(structure.num_leaves)]
            made[name] = tree_unflatten(leaves, structure)
        positions = sorted(filter(str.isdecimal, made), key=int)
        return [made.pop(name) for name in positions], made


def batch_shape(
    tensors: Iterable[tuple[str, tuple[int, ...], torch.dtype]],
) -> tuple[int, int]:
    """Return (sequences, tokens per sequence) of a model's inputs, given as (name, shape, dtype).

    Text is integers of one or two dimensions, or `inputs_embeds`. Of other inputs (images, series)
    the result is (examples, 1).
    """
    given = list(tensors)
    named = {name: (shape, dtype) for name, shape, dtype in given}
    first = next((name for name in ("input_ids", "inputs_embeds") if name in named), "")
    if not first and given:
        first = given[0][0]
    if not first:
        return 1, 1
    shape, dtype = named[first]
    is_ids = not dtype.is_floating_point and dtype != torch.bool and len(shape) in (1, 2)
    if is_ids or (first == "inputs_embeds" and len(shape) == 3):
        return (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])
    return (shape[0] if shape else 1), 1


@dataclass(frozen=True, slots=True)
class LoopStep:
    """A step of a training loop: everything that its memory follows from."""

    model: Any
    optimizers: Optimizers
    inputs: StepInputs
    behavior: LoopBehavior = field(default_factory=LoopBehavior)
    autocast: Autocast = nullcontext
    other_models: int = 0
    """Bytes of the weights of other models; see `other_weights`."""

    @property
    def checkpoints(self) -> bool:
        """Whether activations are checkpointed."""
        return self.behavior.checkpointing or any(
            getattr(module, "gradient_checkpointing", False) for module in self.model.modules()
        )


def predict_loop_step(step: LoopStep) -> Prediction:
    """Return the memory of a step by instant and component, from the cache where it was traced.

    Raises whatever PyTorch raises where the step cannot be traced: where shapes depend on values,
    or a kernel does not support fake tensors.
    """
    traced = load_or_trace(_cache_inputs(step), lambda: _trace(step))
    return traced.adding("params", step.other_models) if step.other_models else traced


def other_weights(model: Any, optimizers: Optimizers, device: torch.device) -> int:
    """Return the bytes of the weights on this kind of device that belong to no part of the run.

    They are those of a reference model, a teacher or a critic, and of a model that was left in
    memory. Of a sharded model nothing is returned: what it gathers cannot be told apart.
    """
    if is_cut(model):
        return 0
    own = [*model.parameters(), *(p for group in optimizers.param_groups for p in group["params"])]
    counted = {id(one.untyped_storage()) for one in own} | {id(one) for one in own}
    total = 0
    gc.collect()  # models that are garbage are about to go
    for one in gc.get_objects():
        if type(one) is not nn.Parameter or one.device.type != device.type or id(one) in counted:
            continue
        storage = one.untyped_storage()
        if id(storage) not in counted:
            counted.add(id(storage))
            total += storage.nbytes()
    return total


def is_compiled(model: Any) -> bool:
    """Return whether torch.compile runs the model, or any part of it."""
    calls = (module._compiled_call_impl for module in model.modules())
    return any(isinstance(one, torch._dynamo.OptimizedModule) for one in model.modules()) or any(
        getattr(call, "compiled", call) is not None for call in calls
    )


def find_loss(output: Any) -> Tensor | None:
    """Return the loss in a model's output, a floating-point scalar; None where there is none."""
    found = output
    if isinstance(output, Mapping):
        found = output.get("loss")
    elif not isinstance(output, Tensor):
        found = getattr(output, "loss", None)
        if found is None and isinstance(output, tuple) and output:
            found = output[0]
    is_loss = isinstance(found, Tensor) and found.numel() == 1 and found.is_floating_point()
    return found if is_loss else None


def _cache_inputs(step: LoopStep) -> list[Any]:
    """Return everything the prediction depends on."""
    model, behavior = step.model, step.behavior
    settings = getattr(model, "config", None)
    optimizers = [
        (type(one).__qualname__, [_options(group) for group in one.param_groups])
        for one in step.optimizers.alive
    ]
    modules = [
        (
            name,
            type(module).__qualname__,
            module.training,
            bool(getattr(module, "gradient_checkpointing", False)),
            getattr(module.forward, "__qualname__", ""),
        )
        for name, module in model.named_modules()
    ]
    weights = [
        (name, tuple(p.shape), str(p.dtype), p.requires_grad, str(p.device.type))
        for name, p in model.named_parameters()
    ]
    return [
        settings.to_dict() if settings is not None and hasattr(settings, "to_dict") else {},
        getattr(settings, "_attn_implementation", None),
        modules,
        weights,
        describe_sharding(model),
        optimizers,
        step.inputs.tensors,
        step.inputs.constants,
        step.inputs.packed,
        [[name, str(structure)] for name, structure in step.inputs.nested],
        [behavior.micro_batches > 1, *astuple(behavior)[1:]],
        _autocast_dtypes(step.autocast),
    ]


def _options(group: Mapping[str, Any]) -> list[Any]:
    """Return the options of a parameter group that change the memory of its update."""
    flags = sorted((k, v) for k, v in group.items() if isinstance(v, bool) or v is None)
    shapes = [tuple(p.shape) for p in group["params"]]
    return [flags, bool(group.get("momentum")), shapes]


def _autocast_dtypes(autocast: Autocast) -> str:
    with autocast():
        enabled = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
        return str([(kind, torch.get_autocast_dtype(kind)) for kind in enabled])


def _trace(step: LoopStep) -> Prediction:
    """Return the memory of two traced steps; whatever they compile runs eagerly.

    Dynamo must not see a frame under fake tensors: it would never compile that frame again.
    """
    mode = FakeTensorMode()
    copied = copy_model(step.model, mode)
    model = copied.model
    if step.behavior.checkpointing:
        model.config.use_cache = False  # transformers warns about it beside checkpointing
        model.activation_checkpointing_enable()
    needs_none = step.inputs.packed or sys.modules.get("transformers") is None
    positions = nullcontext() if needs_none else skip_packing_detection()
    with fake_tensors(mode), positions, run_eagerly():
        optimizers = _copy_optimizers(copied.parameters, step.optimizers)
        inputs = step.inputs.make(next(model.parameters()).device)
        for _ in range(2):  # the first step allocates the optimizer state
            tracker = LoopTracker(model, Optimizers(*optimizers))
            with tracker:
                _take_step(step, model, optimizers, tracker, inputs)
        count = sum(local(parameter).numel() for parameter in model.parameters())
    found = Prediction.from_traced(tracker.memory, count)
    if not step.behavior.ddp_buckets:
        return found
    size = sum(p.nbytes for p in step.model.parameters() if p.requires_grad)
    return found.adding("workspace", size, to_load=False)


def _take_step(
    step: LoopStep,
    model: Any,
    optimizers: list[torch.optim.Optimizer],
    tracker: LoopTracker,
    inputs: tuple[list[Any], dict[str, Any]],
) -> None:
    behavior = step.behavior
    parts = min(behavior.micro_batches, 2)  # further micro-batches add to the same gradients
    for part in range(parts):
        defer_sync(model, behavior.deferred_sync if part < parts - 1 else "")
        outputs = []
        for _ in range(behavior.passes):
            with tracker.phase("forward"), step.autocast():
                output = model(*inputs[0], **inputs[1])
                outputs.append(_compute_loss(output, inputs))
        loss = outputs[0] if len(outputs) == 1 else sum(outputs[1:], outputs[0])
        del outputs
        if not behavior.keeps_output:
            output = None
        with tracker.phase("backward"):
            loss.backward()
        del loss
        if behavior.keeps_output != "step":
            output = None
    with tracker.phase("optimizer_step"):
        for optimizer in optimizers:
            type(optimizer).step(optimizer)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=not behavior.keeps_zeroed_gradients)


def _compute_loss(output: Any, inputs: tuple[list[Any], dict[str, Any]]) -> Tensor:
    """Return the loss that the model returned, or the next-token loss of its logits.

    The loss of another output is unknown; a mean square needs as much memory as most.
    """
    if (loss := find_loss(output)) is not None:
        return loss
    logits = getattr(output, "logits", output)
    leaves = [one for one in tree_leaves(logits) if isinstance(one, Tensor) and one.requires_grad]
    logits = max(leaves, key=Tensor.numel)
    first = next((one for one in inputs[0] if isinstance(one, Tensor)), None)
    labels = inputs[1].get("labels", inputs[1].get("input_ids", first))
    if labels is None:
        labels = next((one for one in inputs[1].values() if isinstance(one, Tensor)), None)
    if labels is not None and not labels.is_floating_point() and logits.shape[:-1] == labels.shape:
        return cross_entropy_of(logits, labels)
    return logits.float().square().mean()


def _copy_optimizers(
    parameters: Mapping[int, Tensor], optimizers: Optimizers
) -> list[torch.optim.Optimizer]:
    """Return the same optimizers over the parameters of the copy, without state.

    They are constructed anew: a deepcopy could call what a scheduler wrapped around the original's
    `step`.
    """
    found = []
    for optimizer in optimizers.alive:
        groups = []
        for group in optimizer.param_groups:
            own = [parameters[id(p)] for p in group["params"] if id(p) in parameters]
            groups.append({**{k: v for k, v in group.items() if k != "params"}, "params": own})
        accepted = inspect.signature(type(optimizer).__init__).parameters
        options = {k: v for k, v in optimizer.defaults.items() if k in accepted}
        found.append(type(optimizer)(groups, **options))
    return found


def _is_full(mask: Any) -> bool:
    return isinstance(mask, Tensor) and mask.ndim == 2 and bool(mask.all())


def _restarts(positions: Tensor) -> bool:
    return positions.shape[-1] > 1 and bool((positions.diff(dim=-1) != 1).any())
