"""What of a tensor one process holds: some of its rows, and which.

FSDP2 cuts every parameter along its first dimension. On a mesh of two dimensions, copies × parts,
the parts of one copy lie along the second, and every copy holds the same.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor


def local(tensor: Tensor) -> Tensor:
    """The part of `tensor` that this process holds; of a whole tensor, all of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def is_cut(model: Any) -> bool:
    """Whether any parameter of a model is spread over processes."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole(tensor: Tensor) -> Tensor:
    """The whole of which `tensor` is a part; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def group_of(parameter: Tensor) -> dist.ProcessGroup | None:
    """The processes that hold one copy of `parameter` together; None where it is not cut."""
    if not isinstance(parameter, DTensor):
        return None
    mesh = parameter.device_mesh
    group: dist.ProcessGroup = mesh.get_group(mesh.ndim - 1)
    return group


def added(tensor: Tensor, parameter: Tensor) -> Tensor:
    """The sum of `tensor`, which changes, over the processes that hold parts of `parameter`."""
    if (group := group_of(parameter)) is not None:
        dist.all_reduce(tensor, group=group)
    return tensor


def parts_of(parameter: Tensor) -> tuple[int, int]:
    """(the number of this process's part, how many there are); (0, 1) where it is not cut."""
    if not isinstance(parameter, DTensor):
        return 0, 1
    mesh = parameter.device_mesh
    return mesh.get_local_rank(mesh.ndim - 1), mesh.size(mesh.ndim - 1)


def is_copy(parameter: Tensor) -> bool:
    """Whether another process, before this one, holds the same part."""
    if not isinstance(parameter, DTensor) or parameter.device_mesh.ndim == 1:
        return False
    return parameter.device_mesh.get_local_rank(0) > 0


def rows_of(parameter: Tensor, part: int | None = None) -> slice:
    """Which rows of the whole parameter a process holds: this one, or that with part `part`.

    All of them where it is not cut.
    """
    if not isinstance(parameter, DTensor):
        return slice(None)
    mine, parts = parts_of(parameter)
    rows = parameter.shape[0]
    each = -(-rows // parts)  # as torch.chunk: the last parts may be short or empty
    number = mine if part is None else part
    return slice(min(number * each, rows), min((number + 1) * each, rows))


def first_place(parameter: Tensor) -> int:
    """Where in the whole parameter, row by row, the first element lies that this process holds."""
    row = parameter.numel() // max(1, parameter.shape[0]) if parameter.ndim else 1
    return (rows_of(parameter).start or 0) * row


def placed(parameter: Tensor, part: Tensor) -> Tensor:
    """`part`, the rows of `parameter` that are held here, placed and cut like it."""
    if not isinstance(parameter, DTensor):
        return part
    return DTensor.from_local(
        part,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def placed_like(parameter: Tensor, full: Tensor) -> Tensor:
    """`full`, of the parameter's shape, cut and placed like the parameter.

    A part is a copy: a view of it would keep all of `full` in memory.
    """
    if not isinstance(parameter, DTensor):
        return full.to(parameter.device)
    part = full[rows_of(parameter)].to(parameter.device, copy=True).contiguous()
    return placed(parameter, part)
