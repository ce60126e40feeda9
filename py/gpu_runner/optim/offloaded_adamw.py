"""AdamW in CPU memory: its moments and fp32 weights live there, and there they are updated.

A gradient goes down as soon as backward has made it, and an updated weight comes back in the dtype
of the model (ZeRO-Offload, Ren et al., arXiv 2101.06840). A GPU keeps its weights and the few
gradients that are on their way; CPU memory holds 12 bytes a parameter, and 4 of gradients where the
step comes after backward. Pinned is what is on its way alone, as PyTorch rounds pinned blocks up to
powers of two. Beside a GPU, a thread copies and computes while backward goes on. The result does
not depend on that: each weight is updated by itself, with PyTorch's fused kernel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from gpu_runner.model.offload import copy_stream
from gpu_runner.world import as_sharded, local, trained_weights

MASTER: Final = "master"
"""Key of the fp32 weights in the state of a 16-bit parameter; an fp32 one has the same itself."""
MOST_WAITING: Final = 4
"""Gradients and updates that wait for the thread; the next one lets backward wait."""
_CPU: Final = torch.device("cpu")


@dataclass(slots=True)
class _Arriving:
    """A tensor on its way into CPU memory; `source` stays until its copy is complete."""

    held: Tensor
    source: Tensor | None = None
    event: Any = None

    def get(self) -> Tensor:
        """Return it, once it is there."""
        if self.event is not None:
            self.event.synchronize()
        self.source = self.event = None
        return self.held


class OffloadedAdamW(torch.optim.Optimizer):
    """AdamW whose states are in CPU memory; reads `grad_scale` and `found_inf` as fused ones do.

    `step` updates every parameter with a gradient on the device or one that was moved by `take`.
    What it computes is complete after `wait`. `beside`: whether a thread does the CPU's part; by
    default, where the parameters are on a GPU.
    """

    grad_scale: Tensor
    found_inf: Tensor

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        beside: bool | None = None,
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})
        device = self.param_groups[0]["params"][0].device
        self._pinned = device.type == "cuda"
        self._copies = copy_stream(device)
        self._thread: ThreadPoolExecutor | None = None
        if self._pinned if beside is None else beside:
            first = (torch.cuda.set_device, (device,)) if self._pinned else (None, ())
            self._thread = ThreadPoolExecutor(1, "adamw", *first)
        self._waiting: deque[Future[None]] = deque()
        self._last_copy: Any = None
        self._gradients: dict[Tensor, Tensor] = {}
        self._copied_weights: dict[Tensor, Tensor] = {}

    def take(self, parameter: Tensor) -> None:
        """Move the gradient of a parameter to CPU memory, onto what is there, and free it."""
        assert parameter.grad is not None
        self._do(partial(self._add, parameter, self._fetch(local(parameter.grad))))
        parameter.grad = None

    def reached(self) -> set[Tensor]:
        """Return the parameters whose gradients have been moved since the last step."""
        self.wait()
        return set(self._gradients)

    def norm(self, parameters: Iterable[Tensor]) -> Tensor:
        """Return the L2 norm in fp32 of the moved gradients, on the device; 0 for none."""
        self.wait()
        norms = [torch.linalg.vector_norm(self._gradients[p]) for p in parameters if p in self]
        device = self.param_groups[0]["params"][0].device
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms or [torch.zeros(())]))
        return norm.to(device)

    def __contains__(self, parameter: Tensor) -> bool:
        """Return whether the gradient of a parameter has been moved."""
        return parameter in self._gradients

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; `wait` for the result."""
        del closure
        scale, skip = self._fetch(self.grad_scale), self._fetch(self.found_inf)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    gradient = self._fetch(local(parameter.grad))
                    parameter.grad = None
                elif parameter in self:
                    gradient = _Arriving(self._gradients.pop(parameter))
                else:
                    continue
                settings = {
                    "lr": group["lr"],
                    "beta1": group["betas"][0],
                    "beta2": group["betas"][1],
                    "weight_decay": group["weight_decay"],
                    "eps": group["eps"],
                }
                self._do(partial(self._update, parameter, gradient, scale, skip, settings))

    def wait(self) -> None:
        """Wait for all that was asked so far; later work of the device sees the new weights."""
        while self._waiting:
            self._waiting.popleft().result()
        self._copies.wait(self._last_copy) if self._last_copy is not None else None

    def _do(self, work: Callable[[], None]) -> None:
        """Do it now, or let the thread do it after what it was given before."""
        if self._thread is None:
            work()
            return
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(work))

    def _fetch(self, tensor: Tensor) -> _Arriving:
        """Begin to copy a tensor to CPU memory; one that is there is only handed over."""
        if not self._pinned:
            return _Arriving(tensor)
        held = torch.empty_like(tensor, device=_CPU, pin_memory=True)
        return _Arriving(held, tensor, self._copies.start([(held, tensor)]))

    @torch.no_grad()
    def _add(self, parameter: Tensor, arriving: _Arriving) -> None:
        gradient = arriving.get().to(torch.float32, copy=self._pinned)
        held = self._gradients.setdefault(parameter, gradient)
        if held is not gradient:
            held += gradient

    @torch.no_grad()
    def _update(
        self,
        parameter: Tensor,
        gradient: _Arriving,
        scale: _Arriving,
        skip: _Arriving,
        settings: dict[str, Any],
    ) -> None:
        state = self._state_of(parameter)
        weight = self._weight_of(parameter)
        adamw(
            [weight],
            [gradient.get().float()],
            [local(state["exp_avg"])],
            [local(state["exp_avg_sq"])],
            [],
            [state["step"]],
            fused=True,
            grad_scale=scale.get(),
            found_inf=skip.get(),
            amsgrad=False,
            maximize=False,
            **settings,
        )
        own = local(parameter)
        if weight.data_ptr() == own.data_ptr():
            return
        if self._pinned:
            weight = torch.empty_like(weight, dtype=own.dtype, pin_memory=True).copy_(weight)
        self._last_copy = self._copies.start([(own, weight)])

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        """Return the state of a parameter, sharded as it is; of the first update a new one."""
        state: dict[str, Any] = self.state[parameter]
        if "exp_avg" not in state:
            own = local(parameter)
            zeros = partial(torch.zeros_like, own, dtype=torch.float32, device=_CPU)
            found = {"exp_avg": zeros(), "exp_avg_sq": zeros()}
            if own.dtype != torch.float32:
                found[MASTER] = own.to(_CPU, torch.float32, copy=True)
            state |= {name: as_sharded(parameter, tensor) for name, tensor in found.items()}
            state["step"] = torch.zeros(())
        return state

    def _weight_of(self, parameter: Tensor) -> Tensor:
        """Return the fp32 weights that are updated: the parameter itself where it can be."""
        own = local(parameter)
        if own.dtype != torch.float32:
            return local(self.state[parameter][MASTER])
        if not self._pinned:
            return own
        if parameter not in self._copied_weights:
            self._copied_weights[parameter] = own.to(_CPU)
        return self._copied_weights[parameter]


class GradientsToCpu:
    """Replaces `optimizer` in a step: moves each gradient to the CPU memory where AdamW lives."""

    def __init__(self, model: Any, optimizer: Any) -> None:
        self.state: dict[Tensor, dict[str, Any]] = optimizer.state
        self.param_groups: list[dict[str, Any]] = optimizer.param_groups
        self.step: Callable[[float, Tensor, float], Tensor] = optimizer.step
        self._adamw: OffloadedAdamW = optimizer.offloaded
        for parameter in trained_weights(model).values():
            parameter.register_post_accumulate_grad_hook(self._adamw.take)

    def reached(self) -> set[Tensor]:
        """Return the weights that have got a gradient since the last step."""
        return self._adamw.reached()

    def norm(self, parameters: Iterable[Tensor]) -> Tensor:
        """Return the norm of this process's gradients in CPU memory, on the device."""
        return self._adamw.norm(parameters)
