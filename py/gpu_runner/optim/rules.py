"""Update rules that PyTorch has no fused kernel for, with the interface of its fused kernels.

`step` reads two attributes on the device, as `torch.optim.AdamW(fused=True)` does: `grad_scale`, by
which gradients are divided, and `found_inf`: where it is 1 nothing changes, neither weights nor
moments nor step counts, without waiting for the device. Each rule computes a part of one tensor at
a time in fp32, so its workspace does not grow with the model. Of a sharded tensor, each process
updates its own rows; what depends on the others is all-reduced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from gpu_runner.optim.rounding import (
    COMPENSATION,
    Noise,
    Rounding,
    add_compensation,
    assign_unless_skipped,
    noises,
    stochastic,
    write_rounded,
)
from gpu_runner.world import added, first_index, local, rows_of
from unfrozen.memory.states import CHUNK, ROWS

ADAFACTOR_DECAY: Final = -0.8
ADAFACTOR_LEAST: Final = 1e-30


class UpdateRule(torch.optim.Optimizer):
    """Updates one tensor at a time; reads `grad_scale` and `found_inf`."""

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

    def count(self, state: dict[str, Any]) -> Tensor:
        """Return the number of this update, from 1; a skipped one does not count."""
        number: Tensor = state["step"] + 1
        assign_unless_skipped(state["step"], number, self.found_inf)
        return number


class RoundedRule(UpdateRule):
    """A rule with a choice of rounding for 16-bit weights; `seed` is that of its noise."""

    def __init__(
        self, groups: Iterable[Any], *, rounding: Rounding, seed: int = 0, **settings: Any
    ) -> None:
        super().__init__(groups, settings)
        self._rounding = rounding
        self._seed = seed
        parameters = [p for group in self.param_groups for p in group["params"]]
        self._index = {parameter: index for index, parameter in enumerate(parameters)}

    def noises(self, parameter: Tensor, number: Tensor, count: int) -> list[Noise]:
        """Return `count` noises for update `number` of this rank's shard of `parameter`."""
        index = self._index[parameter]
        return noises(self._seed, index, number, count, first_index(parameter))


class RoundedAdamW(RoundedRule):
    """AdamW (arXiv 1711.05101) on bf16 weights and moments, rounded stochastically or with Kahan.

    Moments are always rounded stochastically: v changes by a thousandth of itself per step, which
    rounding to nearest would lose.
    """

    def update(self, parameter: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        """θ ← θ(1 − lr·decay) − lr · m̂ / (√v̂ + ε), computed in fp32, CHUNK weights at a time."""
        if not state:
            names = ("exp_avg", "exp_avg_sq", *((COMPENSATION,) * (self._rounding == "kahan")))
            state["step"] = torch.zeros((), device=parameter.device)
            state.update({name: torch.zeros_like(parameter) for name in names})
        number = self.count(state)
        noise = self.noises(parameter, number, 3)
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
                [one.after(start) for one in noise],
            )

    def _move(
        self,
        weight: Tensor,
        gradient: Tensor,
        state: dict[str, Tensor],
        number: Tensor,
        group: dict[str, Any],
        noise: list[Noise],
    ) -> None:
        lr, (beta1, beta2) = group["lr"], group["betas"]
        first = state["exp_avg"].float().lerp(gradient, 1 - beta1)
        second = state["exp_avg_sq"].float().lerp(gradient.square(), 1 - beta2)
        deviation = (second / (1 - beta2**number)).sqrt().add_(group["eps"])
        change = first / (1 - beta1**number) / deviation
        target = add_compensation(weight, state) * (1 - lr * group["weight_decay"]) - lr * change
        write_rounded(weight, target, state, self._rounding, self.found_inf, noise[0])
        moments = ((state["exp_avg"], first), (state["exp_avg_sq"], second))
        for (state_tensor, moment), its in zip(moments, noise[1:], strict=True):
            new = stochastic(moment, its) if state_tensor.dtype == torch.bfloat16 else moment
            assign_unless_skipped(state_tensor, new, self.found_inf)


class Adafactor(RoundedRule):
    """Adafactor (arXiv 1804.04235): row and column means replace the second moment.

    There is no first moment; the root mean square of an update is clipped at 1, so that learning
    rates are those of AdamW (algorithm 4 of the paper, with a given learning rate).

    Each process has all row and column means, which are small and those of the whole matrix. That
    costs two all-reduces per tensor and step: one of rows + columns numbers, one of one number.
    """

    def update(self, parameter: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        """θ ← θ(1 − lr·decay) − lr · u / max(1, rms(u)), u = g / √v̂, some rows at a time."""
        assert parameter.grad is not None
        if not state:
            self._begin(parameter, state)
        number, lr = self.count(state), group["lr"]
        (noise,) = self.noises(parameter, number, 1)
        weight, gradient = (
            _matrices(local(parameter)),
            _matrices(local(parameter.grad).contiguous()),
        )
        stored = {k: _matrices(local(v)) for k, v in state.items() if k == COMPENSATION}
        row, column = self._inverse_deviations(parameter, gradient, state, number)

        def scaled(matrix: int, rows: slice) -> Tensor:
            update: Tensor = gradient[matrix, rows].float() / self.grad_scale
            return update.mul_(row[matrix, rows]).mul_(column[matrix])

        square = gradient.new_zeros((), dtype=torch.float32)
        for matrix, rows in _blocks(weight):
            square += scaled(matrix, rows).square_().sum()
        size = (added(square, parameter) / parameter.numel()).sqrt().clamp(min=1.0)
        for matrix, rows in _blocks(weight):
            block, its = weight[matrix, rows], {k: v[matrix, rows] for k, v in stored.items()}
            target = add_compensation(block, its) * (1 - lr * group["weight_decay"])
            target -= scaled(matrix, rows).mul_(lr / size)
            first = (matrix * weight.shape[1] + rows.start) * weight.shape[2]
            write_rounded(block, target, its, self._rounding, self.found_inf, noise.after(first))

    def _begin(self, parameter: Tensor, state: dict[str, Any]) -> None:
        state["step"] = torch.zeros((), device=parameter.device)
        if self._rounding == "kahan" and parameter.dtype != torch.float32:
            state[COMPENSATION] = torch.zeros_like(parameter)
        if parameter.ndim < 2:
            state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.float32)
            return
        *batch, _, columns = parameter.shape
        state["row"] = torch.zeros(parameter.shape[:-1], device=parameter.device)
        state["column"] = torch.zeros((*batch, columns), device=parameter.device)

    def _inverse_deviations(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], number: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the factors of 1/√v̂ for rows and columns of this process's matrices (equation 4).

        A vector is one row.
        """
        fresh = number**ADAFACTOR_DECAY  # 1 − β₂ of this step

        def average(name: str, new: Tensor) -> Tensor:
            stored = local(state[name])
            mean: Tensor = stored + fresh * (new - stored)
            assign_unless_skipped(stored, mean, self.found_inf)
            return mean

        if parameter.ndim < 2:
            square = (gradient.float() / self.grad_scale).square_().add_(ADAFACTOR_LEAST)
            column = average("exp_avg_sq", square.view_as(local(state["exp_avg_sq"])))
            return torch.ones_like(square[..., :1]), column.rsqrt().view_as(square)
        rows, columns = self._means(parameter, gradient)
        row, column = average("row", rows), average("column", columns)
        local_rows, (matrices, height, width) = rows_of(parameter), gradient.shape
        row = (row / row.mean(-1, keepdim=True))[local_rows].reshape(matrices, height, 1)
        column = column if parameter.ndim == 2 else column[local_rows]
        return row.rsqrt(), column.reshape(matrices, 1, width).rsqrt()

    def _means(self, parameter: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return row and column means of g² of whole matrices; `gradient` has this rank's rows."""
        *batch, height, width = parameter.shape
        row = gradient.new_zeros(parameter.shape[:-1], dtype=torch.float32)
        column = gradient.new_zeros((*batch, width), dtype=torch.float32)
        local_rows = rows_of(parameter)  # of a stack, whole matrices
        its_row = row[local_rows].view(gradient.shape[:2])
        its_column = (column[local_rows] if batch else column).view(gradient.shape[0], width)
        for matrix, rows in _blocks(gradient):
            block = gradient[matrix, rows].float() / self.grad_scale
            square = block.square_().add_(ADAFACTOR_LEAST)
            its_row[matrix, rows] = square.mean(-1)
            its_column[matrix] += square.sum(-2) / height
        both = added(torch.cat((row.view(-1), column.view(-1))), parameter)
        return both[: row.numel()].view_as(row), both[row.numel() :].view_as(column)


def _matrices(part: Tensor) -> Tensor:
    """Return a tensor as a stack of matrices; a vector is one row."""
    *batch, height, width = (1, 1, *part.shape)[-max(3, part.ndim) :]
    return part.view(math.prod(batch), height, width)


def _blocks(stack: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield (matrix, rows) of blocks of at most ROWS elements, or one row."""
    matrices, height, width = stack.shape
    each = max(1, ROWS // max(1, width))
    for matrix in range(matrices):
        for start in range(0, height, each):
            yield matrix, slice(start, min(start + each, height))


class SGD(UpdateRule):
    """PyTorch's fused SGD, with momentum buffers that start at 0 even if the first step is skipped.

    The fused kernel would leave those uninitialized, and does not support sharded tensors: it is
    given the shards.
    """

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        del closure
        for group in self.param_groups:
            self._move([p for p in group["params"] if p.grad is not None], group)

    @torch.no_grad()
    def _move(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        buffers: list[Tensor | None] = [None] * len(parameters)
        if group["momentum"]:
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            buffers = [local(self.state[p]["momentum_buffer"]) for p in parameters]
        sgd(
            [local(p) for p in parameters],
            [local(p.grad) for p in parameters if p.grad is not None],
            buffers,
            fused=True,
            grad_scale=self.grad_scale,
            found_inf=self.found_inf,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
