"""AdamW with 8-bit moments, from whichever library is installed: bitsandbytes or torchao.

Both have one scale per block of 256 values, the same table of 256 values (Dettmers et al., arXiv
2110.02861), and moments that are not quantized for tensors below 4,096 elements. Neither supports
`found_inf`, so that is read before the step: one wait for the device per step.

On several processes a tensor is quantized if each of them holds whole blocks of it. These are then
blocks of the whole tensor, so that any number of processes can resume from a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import _disable_current_modes

from gpu_runner.errors import UsageError
from gpu_runner.world import as_sharded, first_index, local, part_and_count
from unfrozen.memory.states import BLOCK, INT8_LEAST

LIBRARIES: Final = ("bitsandbytes", "torchao")
_MOMENTS: Final = {"exp_avg": True, "exp_avg_sq": False}
"""The moments by PyTorch's names, and whether they have a sign."""


def installed() -> str:
    """Return the library that is used. Raises `UsageError` where none is installed."""
    for name in LIBRARIES:
        if find_spec(name) is not None:
            return name
    raise UsageError(
        "optimizer adamw8bit needs bitsandbytes or torchao, and neither is installed: `pip install"
        " bitsandbytes`, or choose optimizer adafactor, which needs even less memory."
    )


def holds_whole_blocks(parameter: Tensor) -> bool:
    """Return whether each process holds whole blocks of a parameter; if it is not sharded, true."""
    part = local(parameter)
    size = part.numel()
    even = size * part_and_count(parameter)[1] == parameter.numel()
    return part is parameter or (even and size >= INT8_LEAST and size % BLOCK == 0)


class AdamW8bit:
    """The library's optimizer, over this process's shards, with the interface of PyTorch's fused.

    `state` is the same with either library: `step`, `exp_avg_codes` and `exp_avg_scale`, or
    `exp_avg` where that is not quantized, and so for `exp_avg_sq`.
    """

    grad_scale: Tensor
    found_inf: Tensor

    def __init__(self, groups: list[dict[str, Any]], **settings: Any) -> None:
        self._is_bnb = installed() == "bitsandbytes"
        module = import_module("bitsandbytes.optim" if self._is_bnb else "torchao.optim")
        self._shards = {p: local(p.detach()) for group in groups for p in group["params"]}
        self._inner: Any = module.AdamW8bit([self._localize(group) for group in groups], **settings)
        self.param_groups: list[dict[str, Any]] = [
            own | {"params": group["params"]}
            for own, group in zip(self._inner.param_groups, groups, strict=True)
        ]
        self.state: dict[Tensor, dict[str, Any]] = {}

    def _localize(self, group: dict[str, Any]) -> dict[str, Any]:
        """Return a group with this process's shards of its parameters."""
        return group | {"params": [self._shards[parameter] for parameter in group["params"]]}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update, unless the step is to be skipped."""
        del closure
        if bool(self.found_inf):
            return
        reached = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        gradients = [local(parameter.grad) for parameter in reached]
        torch._foreach_div_(gradients, self.grad_scale)
        for parameter, gradient in zip(reached, gradients, strict=True):
            shard, saved = self._shards[parameter], self.state.get(parameter, {})
            shard.grad = gradient
            if "step" in saved and not self._inner.state[shard]:
                self._inner.state[shard] = self._library_state(parameter, saved)
        self._inner.param_groups = [self._localize(group) for group in self.param_groups]
        with _disable_current_modes():  # torchao compiles its step, which a tracker would break
            self._inner.step()
        for parameter in reached:
            shard = self._shards[parameter]
            shard.grad = None
            others = _without_moments(self.state.get(parameter, {}))
            self.state[parameter] = others | _plain_state(parameter, self._inner.state[shard])

    def _library_state(self, parameter: Tensor, saved: dict[str, Any]) -> dict[str, Any]:
        """Return the library's state of a parameter, made of the plain one of a checkpoint."""
        shard = self._shards[parameter]
        if self._is_bnb:
            return self._bnb_state(parameter, saved)
        state: dict[str, Any] = {"step": torch.as_tensor(saved["step"], dtype=torch.float32).cpu()}
        for name, signed in _MOMENTS.items():
            state[name] = self._inner._new_buffer(shard, signed)
            if hasattr(state[name], "codes") and f"{name}_codes" in saved:
                state[name].codes.copy_(local(saved[f"{name}_codes"]))
                state[name].scale.copy_(_local_scale(parameter, saved[f"{name}_scale"]))
            else:
                state[name].copy_(_moment(parameter, saved, name))
        return state

    def _bnb_state(self, parameter: Tensor, saved: dict[str, Any]) -> dict[str, Any]:
        """Return the state that bitsandbytes has of a parameter."""
        shard = self._shards[parameter]
        state: dict[str, Any] = {"step": int(saved["step"])}
        for number, (name, signed) in enumerate(_MOMENTS.items(), 1):
            if shard.numel() < INT8_LEAST:
                state[f"state{number}"] = _moment(parameter, saved, name).float()
                continue
            table = dynamic_map(signed).to(shard.device)
            if (codes := saved.get(f"{name}_codes")) is not None:
                codes, scale = local(codes), _local_scale(parameter, saved[f"{name}_scale"])
            else:
                quantize = import_module("bitsandbytes.functional").quantize_blockwise
                moment = _moment(parameter, saved, name).float()
                codes, found = quantize(moment, code=table, blocksize=BLOCK)
                scale = found.absmax
            state |= {f"state{number}": codes, f"absmax{number}": scale, f"qmap{number}": table}
        return state


@lru_cache
def dynamic_map(signed: bool) -> Tensor:
    """Return the 256 values of the codes, each to be multiplied by the scale of its block."""
    if installed() == "bitsandbytes":
        make = import_module("bitsandbytes.functional").create_dynamic_map
    else:
        make = import_module("torchao.optim.quant_utils").create_dynamic_map
    return torch.as_tensor(make(signed), dtype=torch.float32)


def dequantize_moments(parameter: Tensor, saved: dict[str, Any]) -> dict[str, Any]:
    """Return a state with moments in the dtype of its parameter where they are quantized."""
    if "exp_avg_codes" not in saved:
        return saved
    moments = {
        name: as_sharded(parameter, _moment(parameter, saved, name).to(parameter.dtype))
        for name in _MOMENTS
    }
    step = torch.as_tensor(saved["step"], dtype=torch.float32, device=parameter.device)
    return _without_moments(saved) | {"step": step} | moments


def _without_moments(state: dict[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in state if not name.startswith(("step", "exp_avg"))}


def _moment(parameter: Tensor, saved: dict[str, Any], name: str) -> Tensor:
    """Return this process's part of a moment; in fp32 if it was quantized."""
    if name in saved:
        return local(saved[name])
    codes, scale = local(saved[f"{name}_codes"]), local(saved[f"{name}_scale"])
    values = dynamic_map(_MOMENTS[name]).to(codes.device)[codes.long()]
    first = 0 if scale.numel() * BLOCK == codes.numel() else first_index(parameter)
    places = torch.arange(first, first + codes.numel(), device=codes.device)
    return values * scale[places // BLOCK].view(codes.shape)


def _local_scale(parameter: Tensor, scale: Tensor) -> Tensor:
    """Return the scales of this process's blocks, of these or of those of the whole tensor."""
    own, blocks = local(scale), -(-local(parameter).numel() // BLOCK)
    first = 0 if own.numel() == blocks else first_index(parameter) // BLOCK
    return own[first : first + blocks]


def _plain_state(parameter: Tensor, state: dict[str, Any]) -> dict[str, Any]:
    """Return a library's state as tensors that share its memory, without its tables."""
    found: dict[str, Any] = {"step": torch.as_tensor(state["step"], dtype=torch.float32)}
    for number, name in enumerate(_MOMENTS, 1):
        moment = state[name] if name in state else state[f"state{number}"]
        if hasattr(moment, "codes"):  # torchao's tensor of blocks
            parts = {f"{name}_codes": moment.codes, f"{name}_scale": moment.scale}
        elif moment.dtype == torch.uint8:
            parts = {f"{name}_codes": moment, f"{name}_scale": state[f"absmax{number}"]}
        else:
            parts = {name: moment}
        found |= {key: _as_shard(parameter, part) for key, part in parts.items()}
    return found


def _as_shard(parameter: Tensor, part: Tensor) -> Tensor:
    """Return moments or scales of this process's rows as sharded like the parameter."""
    if not isinstance(parameter, DTensor) or part.shape == local(parameter).shape:
        return as_sharded(parameter, part)
    mesh, placements = parameter.device_mesh, parameter.placements
    return DTensor.from_local(part, mesh, placements, run_check=False)
