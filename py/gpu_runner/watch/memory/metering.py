"""Memory of a watched step: the runner's own meters, driven by hooks instead of a loop.

On a CPU the tracker follows every operator of the steps that are measured, and of no others; a
step that was compiled is not measured there, since under a tracker it would run as written, and so
compute something else. On CUDA the allocator counts anyway.
"""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from gpu_runner.train.measure import Components, CudaMeter, Phase, StepMemory, TensorTracker
from gpu_runner.watch.memory.in_parts import Owned, gathered_now
from gpu_runner.world import blocks_of, local

LOOKED_AT: Final = 4096
"""Numbers of each 16-bit tensor that are compared before and after an update."""
NARROW: Final = (torch.bfloat16, torch.float16)


class States:
    """What the optimizers of a model keep of each tensor, together. They are not kept alive."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self._found: list[weakref.ref[torch.optim.Optimizer]] = []
        for optimizer in optimizers:
            self.add(optimizer)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Those that there still are, in the order in which they came."""
        return [one for found in self._found if (one := found()) is not None]

    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:
        """Tensor → what is kept of it."""
        return {key: kept for one in self.optimizers for key, kept in one.state.items()}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all of them."""
        return [group for one in self.optimizers for group in one.param_groups]

    def gradient_norm(self) -> Tensor | None:
        """The L2 norm of all gradients that there are; None where others would be asked."""
        found = [p.grad for group in self.param_groups for p in group["params"]]
        if any(isinstance(gradient, DTensor) for gradient in found):
            return None
        with torch.no_grad():
            return torch.nn.utils.get_total_norm([one for one in found if one is not None])

    def add(self, optimizer: torch.optim.Optimizer) -> bool:
        """Take one in; whether it is new."""
        if any(one is optimizer for one in self.optimizers):
            return False
        self._found.append(weakref.ref(optimizer))
        return True


@dataclass(frozen=True, slots=True)
class Seen:
    """What a meter knows in the middle of a step: by instant so far, and `now`, at `instant`, where
    what appears is of the kind `growing`.
    """

    instants: dict[str, Components] = field(default_factory=dict)
    now: Components = field(default_factory=dict)
    instant: str = ""
    growing: str = ""


class PartsTracker(TensorTracker):
    """… of weights that may be in parts, and gathered when it begins, as those of the outermost
    module are after an evaluation: the parts are weights, and what was gathered is `gathered`.
    """

    def __init__(self, model: Any, states: States) -> None:
        super().__init__(Owned(model), states)  # type: ignore[arg-type]
        self._whole = model

    def __enter__(self) -> PartsTracker:
        """Count what lives already, then watch."""
        for one in gathered_now(self._whole):
            for gathered in one.all_gather_outputs:
                self._count(gathered, "gathered")
        super().__enter__()
        return self


class StepMeter:
    """One measured step, from its first forward pass to its last update."""

    def __init__(self, model: Any, states: States, device: torch.device) -> None:
        if device.type == "cuda":
            self._meter: Any = CudaMeter(Owned(model), states, device)  # type: ignore[arg-type]
        else:
            self._meter = PartsTracker(model, states)
        self._phase = ExitStack()
        self._whole = ExitStack()
        if device.type != "cuda":
            self._whole.enter_context(self._meter)

    def enter(self, phase: Phase | None) -> None:
        """The step has come to `phase`; None is between two of them."""
        self._phase.close()
        if phase is not None:
            self._phase.enter_context(self._meter.phase(phase))

    def seen(self) -> Seen:
        """What lives at this moment, in the middle of a step."""
        if isinstance(self._meter, TensorTracker):
            meter = self._meter
            return Seen(dict(meter.memory.instants), _held(meter.now), meter.instant, meter.kind)
        return Seen(dict(self._meter.memory.instants))

    def end(self) -> StepMemory:
        """The step is over: what it held. Safe to call at any point, also after an error."""
        self._phase.close()
        self._whole.close()
        found: StepMemory = self._meter.memory
        return found


def _some(parameter: Tensor) -> Tensor:
    """A few numbers of the part that is here: what asks no other process."""
    return local(parameter.detach()).flatten()[:LOOKED_AT]


def _held(sizes: Components) -> Components:
    return {name: size for name, size in sizes.items() if size}


def is_compiled(model: Any) -> bool:
    """Whether torch.compile runs the model, or any part of it."""
    return isinstance(model, torch._dynamo.OptimizedModule) or any(
        module._compiled_call_impl is not None for module in model.modules()
    )


def layers_of(model: Any) -> int:
    """How many blocks a model has, as far as can be told."""
    settings = getattr(model, "config", None)
    told = getattr(settings, "num_hidden_layers", None)
    return int(told) if isinstance(told, int) else len(blocks_of(model))


class StallProbe:
    """The share of 16-bit weights that an update leaves as they were, from some of each tensor."""

    def __init__(self, model: Any) -> None:
        self._before = [
            (p, _some(p).clone())
            for p in model.parameters()
            if p.requires_grad and p.dtype in NARROW and p.grad is not None
        ]

    def share(self) -> float | None:
        """To be asked after the update; None where there is no such weight."""
        if not self._before:
            return None
        same = sum((_some(p) == old).sum() for p, old in self._before)
        count = sum(len(old) for _, old in self._before)
        self._before = []
        return float(same) / count
