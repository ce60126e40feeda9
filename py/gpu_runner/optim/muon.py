"""Muon for matrices (Jordan 2024): the update is the orthogonalized momentum.

Orthogonalization needs the whole matrix, of which each process has some rows. Of as many matrices
of similar size as there are processes, each process receives all rows of one, orthogonalizes it,
and sends the rows back, so that the compute of a step is sharded like everything else. In exchange,
2 bytes of every weight cross the network twice, and three 16-bit copies of one whole matrix are in
memory, as on one process. The same gradients give the same weights, bit by bit.

Stacked experts (E, rows, columns) are E matrices, each orthogonalized by itself. Each process has
whole experts, so that none are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

from gpu_runner.optim.rounding import assign_unless_skipped
from gpu_runner.optim.rules import UpdateRule
from gpu_runner.world import group_of, local, part_and_count, rows_of
from unfrozen.memory.states import CHUNK

MOMENTUM: Final = 0.95
STEPS: Final = 5
COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)  # of X, X Xᵀ X and the fifth-order term
LEAST: Final = 1e-7


class Muon(UpdateRule):
    """Nesterov momentum, orthogonalized, as in `torch.optim.Muon`; supports `found_inf`.

    The update's size matches AdamW's (Liu et al., arXiv 2502.16982), so rates carry over.
    """

    def __init__(self, groups: Iterable[Any], **settings: Any) -> None:
        super().__init__(groups, settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient, as many at a time as there are processes."""
        del closure
        for group in self.param_groups:
            moving = [p for p in group["params"] if p.grad is not None]
            for stack in (p for p in moving if p.ndim > 2):
                self._move_stack(stack, group)
            moving = sorted((p for p in moving if p.ndim == 2), key=lambda p: int(p.numel()))
            size = _processes(moving)
            for start in range(0, len(moving), size):
                self._move(moving[start : start + size], group)

    def _move_stack(self, stack: Tensor, group: dict[str, Any]) -> None:
        """Update stacked experts, one at a time, or as many small ones as fit into a CHUNK."""
        directions = self._nesterov(stack)  # (E, rows, columns)
        if not directions.numel():
            return  # fewer experts than processes
        at_once = max(1, CHUNK // directions[0].numel())
        for some in directions.split(at_once):
            some.copy_(orthogonalize(some))
        self._apply(stack, directions, group)

    def _move(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        """θ ← θ(1 − lr·decay) − lr · 0.2 √max(rows, columns) · orthogonal."""
        whole = _gather_one([self._nesterov(p) for p in matrices], matrices)
        made = None if whole is None else orthogonalize(whole)
        del whole  # before the weights move
        for parameter, direction in zip(matrices, _scatter_back(made, matrices), strict=True):
            self._apply(parameter, direction.contiguous(), group)

    def _apply(self, parameter: Tensor, direction: Tensor, group: dict[str, Any]) -> None:
        lr, size = group["lr"], 0.2 * max(parameter.shape[-2:]) ** 0.5
        for weight, its in _pieces(local(parameter), direction):
            target = weight.float() * (1 - lr * group["weight_decay"]) - lr * size * its
            assign_unless_skipped(weight, target, self.found_inf)

    def _nesterov(self, parameter: Tensor) -> Tensor:
        """Return the Nesterov momentum of this step for this process's shard, in bf16."""
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        stored, gradient = local(state["momentum_buffer"]), local(parameter.grad).contiguous()
        found = torch.empty_like(stored, dtype=torch.bfloat16)
        for momentum, given, ahead in _pieces(stored, gradient, found):
            scaled = given.float() / self.grad_scale
            new = momentum.float().lerp(scaled, 1 - MOMENTUM)
            assign_unless_skipped(momentum, new, self.found_inf)
            ahead.copy_(scaled.lerp(new, MOMENTUM))
        return found


def orthogonalize(matrix: Tensor) -> Tensor:
    """Return U S Vᵀ of bf16 (…, rows, columns) with all of S near 1: five Newton–Schulz steps."""
    tall = matrix.shape[-2] > matrix.shape[-1]
    found = matrix.mT if tall else matrix
    found = found / found.norm(dim=(-2, -1), keepdim=True).clamp(min=LEAST)
    first, third, fifth = COEFFICIENTS
    add = torch.addmm if matrix.ndim == 2 else torch.baddbmm
    for _ in range(STEPS):
        square = found @ found.mT
        polynomial = add(square, square, square, beta=third, alpha=fifth)
        found = add(found, polynomial, found, beta=first)
    return found.mT if tall else found


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield views of CHUNK elements of each."""
    flat = [tensor.view(-1) for tensor in tensors]
    for start in range(0, flat[0].numel(), CHUNK):
        yield tuple(tensor[start : start + CHUNK] for tensor in flat)


def _processes(parameters: list[Tensor]) -> int:
    """Return across how many processes each parameter is sharded."""
    return part_and_count(parameters[0])[1] if parameters else 1


def _sizes(parameter: Tensor) -> list[int]:
    """Return how many elements each process has."""
    columns = parameter.shape[1]
    shards = (rows_of(parameter, part) for part in range(_processes([parameter])))
    return [(rows.stop - rows.start) * columns for rows in shards]


def _gather_one(parts: list[Tensor], matrices: list[Tensor]) -> Tensor | None:
    """Return all rows of the matrix with this process's rank; None if there are fewer matrices.

    `parts` are this process's rows of each of them.
    """
    if (group := group_of(matrices[0])) is None:
        return parts[0]
    rank, size = part_and_count(matrices[0])
    mine = matrices[rank] if rank < len(matrices) else None
    sent = [part.numel() for part in parts] + [0] * (size - len(parts))
    received = [0] * size if mine is None else _sizes(mine)
    found = parts[0].new_empty(sum(received))
    rows = torch.cat([part.reshape(-1) for part in parts])
    dist.all_to_all_single(found, rows, received, sent, group=group)
    return None if mine is None else found.view(mine.shape)


def _scatter_back(whole: Tensor | None, matrices: list[Tensor]) -> list[Tensor]:
    """Send the rows of `whole` back; return this process's rows of each of `matrices`."""
    if (group := group_of(matrices[0])) is None:
        assert whole is not None
        return [whole]
    rank, size = part_and_count(matrices[0])
    received = [_sizes(matrix)[rank] for matrix in matrices] + [0] * (size - len(matrices))
    sent = [0] * size if whole is None else _sizes(matrices[rank])
    rows = local(matrices[0]).new_empty(0, dtype=torch.bfloat16)
    rows = rows if whole is None else whole.reshape(-1)
    found = rows.new_empty(sum(received))
    dist.all_to_all_single(found, rows, received, sent, group=group)
    shapes = [local(matrix).shape for matrix in matrices]
    return [
        part.view(shape)
        for part, shape in zip(found.split(received[: len(matrices)]), shapes, strict=True)
    ]
