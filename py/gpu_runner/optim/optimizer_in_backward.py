"""The optimizer step in backward: a gradient is freed as soon as its weight is updated.

At most one gradient exists at a time (Lv et al., arXiv 2306.09782; PyTorch's tutorial "How to save
memory by fusing the optimizer step into the backward pass"). In exchange, gradients cannot be
accumulated over micro-batches nor clipped by their global norm. Several processes take one
micro-batch each; a hook runs after the reduction of its gradient, and whether that is finite costs
one more all-reduce, of a single number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from gpu_runner.optim import optimizer as optim
from gpu_runner.world import World


class OptimizerInBackward:
    """Replaces `optimizer` in a step: updates each weight as soon as its gradient is complete.

    `rate` returns the learning rate of the current step. A gradient that is not finite skips its
    own weight only: earlier ones have been updated already.
    """

    def __init__(
        self,
        model: Any,
        optimizer: optim.Optimizer,
        rate: Callable[[], float],
        device: Any,
        world: World | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._rate = rate
        self._world = world or World()
        self._square = torch.zeros((), device=device)
        self._skipped = torch.zeros((), device=device)
        self._reached: set[Tensor] = set()
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(self._update)

    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:
        """The optimizer states of every parameter."""
        return self._optimizer.state

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of the optimizer."""
        return self._optimizer.param_groups

    def _update(self, parameter: Tensor) -> None:
        self._reached.add(parameter)
        here = optim.gradient_norm([parameter])
        norm = self._world.norm(here)
        skipped = self._optimizer.update_one(parameter, self._rate(), norm)
        self._square += here.square()
        self._skipped = torch.maximum(self._skipped, skipped)

    def reached(self) -> set[Tensor]:
        """Return the weights that have been updated since the last step."""
        return set(self._reached)

    def norm(self, parameters: Iterable[Tensor]) -> Tensor:
        """Return the norm of this process's gradients of the step, which are freed by now."""
        del parameters
        return self._square.sqrt()

    def step(self, lr: float, norm: Tensor, clip: float) -> Tensor:
        """End the step, whose weights are updated; return 1 if any update was skipped, else 0."""
        del lr, norm, clip
        self._optimizer.end_step()
        self._reached.clear()
        skipped = self._skipped
        self._square, self._skipped = torch.zeros_like(skipped), torch.zeros_like(skipped)
        return skipped
