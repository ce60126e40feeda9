"""Update rules that torch has no fused kernel for, in the fused kernels' protocol.

`step` reads two attributes that live on the device, as `torch.optim.AdamW(fused=True)` does:
`grad_scale`, by which gradients are divided, and `found_inf`: where it is 1 nothing changes, not
weights nor moments nor step counts, and no one waits for the device to say so. Each rule works on
one tensor at a time in fp32 (elementwise ones on a part of it), so its workspace is that of the
largest tensor at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.errors import UsageError
from gpu_runner.rounding import COMPENSATION, Rounding, exact, hold, settle, stochastic
from gpu_runner.world import local

ADAFACTOR_DECAY: Final = -0.8
ADAFACTOR_LEAST: Final = 1e-30
MUON_MOMENTUM: Final = 0.95
CHUNK: Final = 2**20  # weights: what an elementwise rule widens to fp32 at once


class UpdateRule(torch.optim.Optimizer):
    """One tensor at a time, guarded by `grad_scale` and `found_inf`."""

    grad_scale: Tensor
    found_inf: Tensor

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        del closure
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(parameter, group, self.state[parameter])

    def update(self, parameter: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        """Update one parameter."""
        raise NotImplementedError

    def gradient(self, parameter: Tensor) -> Tensor:
        """This rank's gradient in fp32, divided by `grad_scale`."""
        assert parameter.grad is not None
        return local(parameter.grad).float() / self.grad_scale

    def count(self, state: dict[str, Any]) -> Tensor:
        """The number of this update, 1 at the first; a skipped one does not count."""
        number: Tensor = state["step"] + 1
        hold(state["step"], number, self.found_inf)
        return number


class RoundedAdamW(UpdateRule):
    """AdamW (arXiv 1711.05101) on bf16 weights and moments, rounded stochastically or with Kahan.

    Moments are always rounded stochastically: v moves by a thousandth of itself a step, which the
    nearest bf16 number would never show.
    """

    def __init__(self, groups: Iterable[Any], *, rounding: Rounding, **settings: Any) -> None:
        self._rounding = rounding
        super().__init__(groups, settings)

    def update(self, parameter: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        """θ ← θ(1 − lr·decay) − lr · m̂ / (√v̂ + ε), computed in fp32, CHUNK weights at a time."""
        if not state:
            names = ("exp_avg", "exp_avg_sq", *((COMPENSATION,) * (self._rounding == "kahan")))
            state["step"] = torch.zeros((), device=parameter.device)
            state.update({name: torch.zeros_like(parameter) for name in names})
        number = self.count(state)
        assert parameter.grad is not None
        whole = {name: local(value).view(-1) for name, value in state.items() if name != "step"}
        weight, gradient = local(parameter).view(-1), local(parameter.grad).reshape(-1)
        for start in range(0, weight.numel(), CHUNK):
            part = slice(start, start + CHUNK)
            self._move(
                weight[part],
                gradient[part].float() / self.grad_scale,
                {name: value[part] for name, value in whole.items()},
                number,
                group,
            )

    def _move(
        self,
        weight: Tensor,
        gradient: Tensor,
        state: dict[str, Tensor],
        number: Tensor,
        group: dict[str, Any],
    ) -> None:
        lr, (beta1, beta2) = group["lr"], group["betas"]
        first = state["exp_avg"].float().lerp(gradient, 1 - beta1)
        second = state["exp_avg_sq"].float().lerp(gradient.square(), 1 - beta2)
        deviation = (second / (1 - beta2**number)).sqrt().add_(group["eps"])
        change = first / (1 - beta1**number) / deviation
        target = exact(weight, state) * (1 - lr * group["weight_decay"]) - lr * change
        settle(weight, target, state, self._rounding, self.found_inf)
        for kept, moment in ((state["exp_avg"], first), (state["exp_avg_sq"], second)):
            new = stochastic(moment) if kept.dtype == torch.bfloat16 else moment
            hold(kept, new, self.found_inf)


class Adafactor(UpdateRule):
    """Row and column sums instead of a second moment for each weight (arXiv 1804.04235).

    No first moment; the update's root mean square is clipped at 1, so that rates are those of
    AdamW (algorithm 4 of the paper, with a given rate instead of a relative one).
    """

    def __init__(self, groups: Iterable[Any], *, rounding: Rounding, **settings: Any) -> None:
        self._rounding = rounding
        super().__init__(groups, settings)

    def update(self, parameter: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        """θ ← θ(1 − lr·decay) − lr · u / max(1, rms(u)), u = g / √v̂."""
        if not state:
            self._begin(parameter, state)
        gradient, number, lr = self.gradient(parameter), self.count(state), group["lr"]
        fresh = number**ADAFACTOR_DECAY  # 1 − β₂ of this step
        scaled = gradient * self._inverse_deviation(gradient, state, fresh)
        scaled /= scaled.square().mean().sqrt().clamp(min=1.0)
        target = exact(parameter, state) * (1 - lr * group["weight_decay"]) - lr * scaled
        settle(parameter, target, state, self._rounding, self.found_inf)

    def _begin(self, parameter: Tensor, state: dict[str, Any]) -> None:
        state["step"] = torch.zeros((), device=parameter.device)
        if self._rounding == "kahan" and parameter.dtype != torch.float32:
            state[COMPENSATION] = torch.zeros_like(parameter)
        shapes = {
            "row": parameter.shape[:-1],
            "column": (*parameter.shape[:-2], parameter.shape[-1]),
        }
        if parameter.ndim < 2:
            shapes = {"exp_avg_sq": parameter.shape}
        for name, shape in shapes.items():
            state[name] = torch.zeros(shape, device=parameter.device)

    def _inverse_deviation(self, gradient: Tensor, state: dict[str, Any], fresh: Tensor) -> Tensor:
        """1/√v̂, from row and column means where the tensor is a matrix (equation 4)."""
        square = gradient.square() + ADAFACTOR_LEAST

        def average(name: str, new: Tensor) -> Tensor:
            mean: Tensor = state[name] + fresh * (new - state[name])
            hold(state[name], mean, self.found_inf)
            return mean

        if gradient.ndim < 2:
            return average("exp_avg_sq", square).rsqrt()
        row, column = average("row", square.mean(-1)), average("column", square.mean(-2))
        row = row / row.mean(-1, keepdim=True)
        inverse: Tensor = row.rsqrt().unsqueeze(-1) * column.rsqrt().unsqueeze(-2)
        return inverse


class Muon(UpdateRule):
    """torch's Muon for matrices (Jordan 2024), one at a time under the guard.

    The update's size matches AdamW's (Liu et al., arXiv 2502.16982), so rates carry over.
    """

    def __init__(self, groups: Iterable[Any], **settings: Any) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise UsageError(
                f"optimizer muon: PyTorch {torch.__version__} has none. Install 2.9 or newer, or"
                " choose another optimizer."
            )
        super().__init__(groups, settings)
        self._one = {p: _muon_of(p) for group in self.param_groups for p in group["params"]}

    def update(self, parameter: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        """One matrix; what a skipped step has changed is put back on the device."""
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        parameter.grad.div_(self.grad_scale)
        one = self._one[parameter]
        one.state = self.state
        one.param_groups[0].update(lr=group["lr"], weight_decay=group["weight_decay"])
        earlier = [(t, t.clone()) for t in (parameter, state["momentum_buffer"])]
        one.step()
        for tensor, value in earlier:
            tensor.copy_(torch.where(self.found_inf.bool(), value, tensor))


def _muon_of(parameter: Tensor) -> torch.optim.Optimizer:
    return torch.optim.Muon(
        [parameter], momentum=MUON_MOMENTUM, adjust_lr_fn="match_rms_adamw", nesterov=True
    )


class SGD(torch.optim.SGD):
    """torch's fused SGD, with momentum that begins at 0 and not with whatever memory holds.

    The fused kernel leaves the buffers of a skipped first step as they were allocated.
    """

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for parameter in self._without_momentum():
            self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        super().step(closure)

    def _without_momentum(self) -> Iterator[Tensor]:
        for group in self.param_groups:
            for parameter in group["params"]:
                new = not self.state[parameter] if group["momentum"] else False
                if new and parameter.grad is not None:
                    yield parameter
