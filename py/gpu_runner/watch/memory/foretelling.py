"""What a watched step will hold, before it runs: the same step on tensors that hold nothing.

The model itself is copied with fake tensors, which have shape, precision and an owner but no
memory, with everything that was done to it: adapters, checkpointing, a forward of somebody else's,
FSDP2 (`in_parts`).
It is taken through two steps with its own optimizer's rule, as often micro-batched as the loop
does it, under the tracker that measures the real ones; so no architecture is unknown. That takes
seconds, so what was found is kept in the user's cache under a name made of all it follows from.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import astuple, dataclass, replace
from hashlib import sha256
from typing import Any, Literal

import torch
import transformers
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import masking_utils

from gpu_runner.installed import installed_version
from gpu_runner.model.loss import cross_entropy_of
from gpu_runner.plan.predict import Prediction
from gpu_runner.train.foretold import keep, kept, kept_place, weightless
from gpu_runner.watch.memory import in_parts
from gpu_runner.watch.memory.metering import PartsTracker, States, is_compiled
from gpu_runner.watch.steps import loss_in
from gpu_runner.watch.taps import Inputs
from gpu_runner.world import local

Autocast = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Habits:
    """What a loop does that its model cannot tell."""

    micro_batches: int = 1
    keeps_output: Literal["", "backward", "step"] = "step"
    """Whether what the model returned is held in the backward pass, and on until the next forward
    pass has ended, as by a name of the loop.
    """
    zeroes: bool = False
    """Whether gradients are set to zero after a step, not freed."""
    checkpointing: bool = False
    """Whether what a layer computes is computed again in the backward pass: only asked what if."""
    buckets: bool = False
    """Whether gradients are there a second time, to be sent to other processes."""
    waiting: in_parts.Waiting = ""
    """What gradients of weights in parts wait for, until the last micro-batch."""


@dataclass(frozen=True, slots=True)
class Given:
    """Shapes of what a model is called with, and what its values decide."""

    tensors: tuple[tuple[str, tuple[int, ...], torch.dtype], ...]
    others: tuple[tuple[str, Any], ...]
    packed: bool
    """Whether positions begin anew inside a row, so that attention needs a mask."""

    @staticmethod
    def of(inputs: Inputs) -> Given:
        """What counts of real inputs. A mask of ones is none, as transformers sees it."""
        tensors, others = [], []
        for name, value in inputs.items():
            if name == "attention_mask" and _is_full(value):
                continue
            if isinstance(value, Tensor):
                tensors.append((name, tuple(value.shape), value.dtype))
            elif value is None or isinstance(value, bool | int | float | str):
                others.append((name, value))
        positions = inputs.get("position_ids")
        packed = isinstance(positions, Tensor) and _begins_anew(positions)
        return Given(tuple(tensors), tuple(others), packed)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, tokens a row) of the tensor that tells them: the first of two dimensions."""
        return next((one[:2] for _, one, _ in self.tensors if len(one) > 1), (1, 1))  # type: ignore[return-value]

    def cut(self, rows: int, length: int) -> Given:
        """The same for another size of batch: whatever has its rows, or its tokens, has these."""
        now = self.shape

        def sized(shape: tuple[int, ...]) -> tuple[int, ...]:
            if shape[:2] == now:
                return rows, length, *shape[2:]
            return (shape[0], length, *shape[2:]) if shape[1:2] == now[1:] else shape

        tensors = tuple((name, sized(shape), dtype) for name, shape, dtype in self.tensors)
        return replace(self, tensors=tensors)

    def fake(self, device: torch.device) -> dict[str, Any]:
        """Arguments of such shapes; to be made under a fake mode."""
        made = {
            name: torch.zeros(shape, dtype=dtype, device=device)
            for name, shape, dtype in self.tensors
        }
        return {**dict(self.others), **made}


def foretell(
    model: Any, states: States, given: Given, habits: Habits, autocast: Autocast | None = None
) -> Prediction | None:
    """Bytes by instant and component; None where the step cannot be followed without tensors.

    That is where an operator's shapes hang on values, or a kernel knows no fake tensors.
    """
    place = kept_place(_name(model, states, given, habits, autocast))
    found = kept(place)
    if found is None:
        found = _traced(model, states, given, habits, autocast or nullcontext)
        keep(place, found)
    return found


def _name(
    model: Any, states: States, given: Given, habits: Habits, autocast: Autocast | None
) -> str:
    """A digest of everything that a prediction follows from."""
    settings = getattr(model, "config", None)
    optimizers = [
        (type(one).__qualname__, [_options(group) for group in one.param_groups])
        for one in states.optimizers
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
    depends = [
        settings.to_dict() if settings is not None and hasattr(settings, "to_dict") else {},
        getattr(settings, "_attn_implementation", None),
        modules,
        weights,
        in_parts.described(model),
        optimizers,
        given.tensors,
        given.others,
        given.packed,
        [habits.micro_batches > 1, *astuple(habits)[1:]],
        None if autocast is None else _told(autocast),
        [torch.__version__, transformers.__version__, installed_version()],
    ]
    return sha256(json.dumps(depends, default=str).encode()).hexdigest()


def _options(group: Mapping[str, Any]) -> list[Any]:
    """What of a group decides what its update holds."""
    told = sorted((k, v) for k, v in group.items() if isinstance(v, bool) or v is None)
    shapes = [tuple(p.shape) for p in group["params"]]
    return [told, bool(group.get("momentum")), shapes]


def _told(autocast: Autocast) -> str:
    with autocast():
        kinds = ("cpu", "cuda")
        on = [kind for kind in kinds if torch.is_autocast_enabled(kind)]
        return str([(kind, torch.get_autocast_dtype(kind)) for kind in on])


def _traced(
    model: Any, states: States, given: Given, habits: Habits, autocast: Autocast
) -> Prediction:
    mode = FakeTensorMode()
    copied = in_parts.double_of(model, mode)  # without gradients
    double = copied.model
    if habits.checkpointing:
        double.config.use_cache = False  # which cannot be beside it, and is told of otherwise
        double.activation_checkpointing_enable()
    # What is compiled stays as it is: compiled from fakes, its real forward would be cut in pieces.
    eager = torch.compiler.set_stance("force_eager") if is_compiled(model) else nullcontext()
    with weightless(mode), _packed(given.packed), eager:
        moves = _doubles(copied.parameters, states)
        inputs = given.fake(next(double.parameters()).device)
        for _ in range(2):  # the first makes the moments appear
            tracker = PartsTracker(double, States(*moves))
            with tracker:
                _step(double, moves, tracker, inputs, habits, autocast)
        count = sum(local(parameter).numel() for parameter in double.parameters())
    whole = tracker.memory.instants["end_of_backward"]
    held = sum(whole.get(name, 0) for name in ("params", "grads", "moments"))
    instants = tracker.memory.instants
    if habits.buckets:
        instants = {at: _with_buckets(at, parts, model) for at, parts in instants.items()}
    return Prediction(instants, round(held / max(1, count)))


def _with_buckets(at: str, parts: Mapping[str, int], model: Any) -> dict[str, int]:
    """What is held with a second copy of all gradients, from before the first step on."""
    size = sum(p.nbytes for p in model.parameters() if p.requires_grad) if at != "load" else 0
    return {**parts, "workspace": parts.get("workspace", 0) + size}


def _step(
    double: Any,
    moves: list[torch.optim.Optimizer],
    tracker: PartsTracker,
    inputs: dict[str, Any],
    habits: Habits,
    autocast: Autocast,
) -> None:
    parts = min(habits.micro_batches, 2)  # one more adds to gradients that are there
    for part in range(parts):
        in_parts.wait(double, habits.waiting if part < parts - 1 else "")
        with tracker.phase("forward"), autocast():
            output = double(**inputs)
            loss = loss_in_graph(output, inputs)
        if not habits.keeps_output:
            output = None
        with tracker.phase("backward"):
            loss.backward()
        del loss
        if habits.keeps_output != "step":
            output = None
    with tracker.phase("optimizer_step"):
        for optimizer in moves:
            type(optimizer).step(optimizer)
    for optimizer in moves:
        optimizer.zero_grad(set_to_none=not habits.zeroes)


def loss_in_graph(output: Any, inputs: Inputs) -> Tensor:
    """The loss that a model returned, or that of the next token from its logits."""
    if loss_in(output) is not None:
        if isinstance(output, Mapping):
            found: Tensor = output["loss"]
        else:
            found = output if isinstance(output, Tensor) else getattr(output, "loss", output[0])
        return found
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if logits is None:
        logits = output["logits"] if isinstance(output, Mapping) else output[0]
    labels = inputs.get("labels", inputs.get("input_ids"))
    return cross_entropy_of(logits, labels)


def _doubles(ours: Mapping[int, Tensor], states: States) -> list[torch.optim.Optimizer]:
    """The same optimizers over the weights of the copy, without any state.

    They are made anew: a copy could call what was put around the step of the real one.
    """
    found = []
    for optimizer in states.optimizers:
        groups = []
        for group in optimizer.param_groups:
            held = [ours[id(p)] for p in group["params"] if id(p) in ours]
            groups.append({**{k: v for k, v in group.items() if k != "params"}, "params": held})
        takes = inspect.signature(type(optimizer).__init__).parameters
        options = {k: v for k, v in optimizer.defaults.items() if k in takes}
        found.append(type(optimizer)(groups, **options))
    return found


@contextmanager
def _packed(packed: bool) -> Iterator[None]:
    """Transformers looks into positions for rows that are packed, and fakes have none to tell."""
    own = masking_utils.find_packed_sequence_indices
    if not packed:
        masking_utils.find_packed_sequence_indices = lambda *_, **__: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = own


def _is_full(mask: Any) -> bool:
    return isinstance(mask, Tensor) and mask.ndim == 2 and bool(mask.all())


def _begins_anew(positions: Tensor) -> bool:
    return positions.shape[-1] > 1 and bool((positions.diff(dim=-1) != 1).any())
