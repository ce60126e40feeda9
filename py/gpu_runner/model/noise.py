"""NEFTune: noise on the embeddings of a training step (Jain et al., arXiv 2310.05914).

Each number of a row's embeddings (L, d) gets one of Uniform(−1, 1) · α / √(L · d), section 3: their
L2 norm is then about α/√3 whatever the length. L is that of the row itself, padding and what is
packed beside it left out, so the noise of a row does not depend on its neighbours. It follows from
the run's seed, the number of the step and the row's place in it (`Feed`), from nothing before it:
a run that goes on, or on another number of processes, draws the same. Evaluations, the Fisher and
samples see none. On a CPU and on a card the same seed gives other numbers, as PyTorch's do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gpu_runner.data.feed import Batch
from gpu_runner.model.loss import Kind, loss_sum

Loss = Callable[[Any, Batch], tuple[Tensor, int]]


def training_loss(kind: Kind, alpha: float = 0.0) -> Loss:
    """The loss of a training step: `loss_sum`, under noise where `alpha` is not 0."""
    plain: Loss = partial(loss_sum, kind=kind)
    return Noisy(alpha, plain) if alpha else plain


@dataclass(frozen=True, slots=True)
class Noisy:
    """A loss, (model, batch) → (sum, count), whose embeddings are noisy."""

    alpha: float
    loss: Loss

    def __call__(self, model: Any, batch: Batch) -> tuple[Tensor, int]:
        """The loss of the batch, under the noise of its `draws`."""
        hook = model.get_input_embeddings().register_forward_hook(partial(self._add, batch))
        try:
            return self.loss(model, batch)
        finally:
            hook.remove()

    def _add(self, batch: Batch, _module: Any, _inputs: Any, output: Tensor) -> Tensor:
        """In place, a row at a time: output (B, T, d) is kept by nothing yet, and the gradient of
        what is added to it is none.
        """
        packed = batch.bounds is not None
        start = 0
        with torch.no_grad():
            for row, (length, draw) in enumerate(zip(batch.lengths, batch.draws, strict=True)):
                place = output[0, start : start + length] if packed else output[row, :length]
                place += self._noise(place, draw)
                start += length
        return output

    def _noise(self, like: Tensor, draw: int) -> Tensor:
        """(L, d) in fp32."""
        random = torch.Generator(like.device).manual_seed(draw)
        noise = torch.empty(like.shape, dtype=torch.float32, device=like.device)
        most = self.alpha / math.sqrt(like.numel())
        return noise.uniform_(-most, most, generator=random)
