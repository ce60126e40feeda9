"""AdamW with 8-bit moments, from whichever library is installed: bitsandbytes or torchao.

Both have one scale per block of 256 values (Dettmers et al., arXiv 2110.02861), and fp32 moments
for tensors below 4,096 elements. Neither supports `found_inf`, so that is read before the step: one
wait for the device per step.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from gpu_runner.errors import UsageError

LIBRARIES: Final = ("bitsandbytes", "torchao")


def installed() -> str:
    """Return the library that is used. Raises `UsageError` where none is installed."""
    for name in LIBRARIES:
        if find_spec(name) is not None:
            return name
    raise UsageError(
        "optimizer adamw8bit needs bitsandbytes or torchao, and neither is installed: `pip install"
        " bitsandbytes`, or choose optimizer adafactor, which needs even less memory."
    )


class AdamW8bit:
    """The library's optimizer with the interface of PyTorch's fused ones.

    `state` has plain tensors only, so that a checkpoint can save them.
    """

    grad_scale: Tensor
    found_inf: Tensor

    def __init__(self, groups: list[dict[str, Any]], **settings: Any) -> None:
        self._is_bnb = installed() == "bitsandbytes"
        module = import_module("bitsandbytes.optim" if self._is_bnb else "torchao.optim")
        self._inner: Any = module.AdamW8bit(groups, **settings)
        self.state: dict[Tensor, dict[str, Any]] = {}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of the library's optimizer."""
        groups: list[dict[str, Any]] = self._inner.param_groups
        return groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        self._inner.param_groups = groups

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update, unless the step is to be skipped."""
        del closure
        if bool(self.found_inf):
            return
        parameters = [p for group in self.param_groups for p in group["params"]]
        for parameter in parameters:
            saved = self.state.get(parameter, {})
            if "step" in saved and not self._inner.state[parameter]:
                self._inner.state[parameter] = self._library_state(parameter, saved)
        torch._foreach_div_([p.grad for p in parameters if p.grad is not None], self.grad_scale)
        with (
            _disable_current_modes()
        ):  # torchao compiles its step, which a memory tracker would break
            self._inner.step()
        for parameter in parameters:
            if parameter not in self.state and self._inner.state[parameter]:
                self.state[parameter] = {}
            if parameter in self.state:
                self.state[parameter].update(_plain_state(self._inner.state[parameter]))

    def _library_state(self, parameter: Tensor, saved: dict[str, Any]) -> dict[str, Any]:
        """Return the library's state of a parameter, made of the plain one of a checkpoint."""
        if self._is_bnb:
            self._inner.fill_qmap()
            maps = self._inner.name2qmap
            tables = {"qmap1": maps["dynamic"], "qmap2": maps["udynamic"]}
            coded = tables if saved["state1"].dtype == torch.uint8 else {}
            own = {name: saved[name] for name in saved.keys() - {"ema"}}
            return own | {name: table.to(parameter.device) for name, table in coded.items()}
        state: dict[str, Any] = {"step": saved["step"].cpu()}
        for name, signed in (("exp_avg", True), ("exp_avg_sq", False)):
            state[name] = self._inner._new_buffer(parameter, signed)
            for part, tensor in _plain_state({name: state[name]}).items():
                tensor.copy_(saved[part])
        return state


def _plain_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return a library's state as plain tensors that share its memory, without its tables."""
    found: dict[str, Any] = {}
    for name, value in state.items():
        if hasattr(value, "codes"):  # torchao's tensor of blocks
            found |= {f"{name}_codes": value.codes, f"{name}_scale": value.scale}
        elif not name.startswith("qmap"):  # one table for all, always the same
            found[name] = value
    return found
