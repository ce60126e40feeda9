"""The update within the backward pass: a gradient lives until its weight has moved, no longer.

Only one gradient, the largest, exists at a time (Lv et al., arXiv 2306.09782; PyTorch's tutorial
"How to save memory by fusing the optimizer step into the backward pass"). The price: no second
micro-batch can add to a gradient, and none can be scaled by a norm of all of them. Of several
processes each takes one micro-batch; a gradient arrives when the sum over all of them does, and
whether it is finite costs them one more sum, of a single number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from gpu_runner.optim import optimizer as optim
from gpu_runner.world import World


class OptimizerInBackward:
    """Takes the place of `optimizer` in a step: updates each weight when its gradient arrives.

    `rate` is asked for the learning rate of the step under way. A gradient that is not finite
    skips its own weight, not the others: those that came before have moved already.
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
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(self._update)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)

    def _update(self, parameter: Tensor) -> None:
        here = optim.gradient_norm([parameter])
        norm = self._world.norm(here)
        skipped = self._optimizer.update_one(parameter, self._rate(), norm)
        self._square += here.square()
        self._skipped = torch.maximum(self._skipped, skipped)

    def norm(self, parameters: Iterable[Tensor]) -> Tensor:
        """Return the norm of this process's gradients of the step, which have been freed by now."""
        del parameters
        return self._square.sqrt()

    def step(self, lr: float, norm: Tensor, clip: float) -> Tensor:
        """End the step, whose weights are updated; return 1 if any update was skipped, else 0."""
        del lr, norm, clip
        self._optimizer.end_step()
        skipped = self._skipped
        self._square, self._skipped = torch.zeros_like(skipped), torch.zeros_like(skipped)
        return skipped
