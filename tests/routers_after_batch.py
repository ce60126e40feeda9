"""The routers of a mixture of experts after one batch: what they add to its loss."""

from typing import Any

import torch

from gpu_runner.data.feed import Batch
from gpu_runner.model.loss import loss_sum
from gpu_runner.model.routers import Routers, routers_of


def routers_after(model: Any, batch: Batch, strength: float) -> tuple[Routers, torch.Tensor]:
    """The routers after the batch, and what they add to a loss of 0."""
    routers = routers_of(model, strength)
    routers.begin(lambda: sum(batch.lengths))
    with routers.watching(batch):
        loss_sum(model, batch)
        added = routers.add_loss(torch.zeros(()))
    return routers, added
