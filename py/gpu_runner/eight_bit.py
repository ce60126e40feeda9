"""AdamW with 8-bit moments, from whichever library is installed: bitsandbytes or torchao.

Both keep one scale for each block of 256 values (Dettmers et al., arXiv 2110.02861), and fp32
moments for tensors below 4,096. Neither knows the fused kernels' skip flag, so the flag is read
before the step: one wait for the device a step, the price of this optimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.errors import UsageError

LIBRARIES: Final = ("bitsandbytes", "torchao")


def installed() -> str:
    """The library that is used. Raises `UsageError` that says how to get one."""
    for name in LIBRARIES:
        if find_spec(name) is not None:
            return name
    raise UsageError(
        "optimizer adamw8bit needs bitsandbytes or torchao, and neither is installed: `pip install"
        " bitsandbytes`, or choose optimizer adafactor, which needs less memory still."
    )


class AdamW8bit:
    """The library's optimizer behind the protocol of the fused ones."""

    grad_scale: Tensor
    found_inf: Tensor

    def __init__(self, groups: list[dict[str, Any]], **settings: Any) -> None:
        self._name = installed()
        module = import_module("bitsandbytes.optim" if self._is_bnb else "torchao.optim")
        self._inner: Any = module.AdamW8bit(groups, **settings)

    @property
    def _is_bnb(self) -> bool:
        return self._name == "bitsandbytes"

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the library's optimizer."""
        groups: list[dict[str, Any]] = self._inner.param_groups
        return groups

    @property
    def state(self) -> Any:
        """Moments by parameter; in the library's own tensors."""
        return self._inner.state

    @state.setter
    def state(self, shared: Any) -> None:
        self._inner.state = shared

    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update, unless the step is to be skipped."""
        del closure
        if bool(self.found_inf):
            return
        parameters = [p for group in self.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_div_(gradients, self.grad_scale)
        with torch.no_grad():
            self._inner.step()

    def begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter as the first step would find it, to be filled from a file."""
        if self._is_bnb:
            index = next(i for i, g in enumerate(self.param_groups) if g is group)
            place = next(i for i, p in enumerate(group["params"]) if p is parameter)
            self._inner.init_state(group, parameter, index, place)
        else:
            zeros = {
                name: self._inner._new_buffer(parameter, name == "exp_avg") for name in _MOMENTS
            }
            self.state[parameter] = {"step": torch.tensor(0.0), **zeros}
        state: dict[str, Any] = self.state[parameter]
        return state


_MOMENTS: Final = ("exp_avg", "exp_avg_sq")
