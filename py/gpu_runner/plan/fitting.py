"""The largest micro-batch that fits: by what is computed, or by what is traced, for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.dataset import RowSet
from gpu_runner.data.feed import BatchShape, Feed
from gpu_runner.errors import UsageError
from gpu_runner.model.load import Source
from gpu_runner.plan import remedy
from gpu_runner.plan.machine import free_bytes
from gpu_runner.plan.predict import Prediction, heaviest, predict
from gpu_runner.plan.schedule import schedule_for
from unfrozen.model import ModelConfig
from unfrozen.runner import packs

Foretell = Callable[[Source, TrainConfig, str, BatchShape, int], Prediction | None]
"""Memory of a model that `unfrozen.model` does not know, of one process; the last is the rows of
its embedding, 0 for as many as it has.
"""
_UNTRACED: Final = (
    "it needs code of its own, or an operator whose shapes PyTorch cannot tell without its weights"
)


@dataclass(frozen=True, slots=True)
class Fitting:
    """What the memory of a choice follows from, beside the choice."""

    source: Source
    shape: ModelConfig | None
    train: RowSet
    pad: int
    compute: str
    device: torch.device
    ranks: int = 1
    rows: int = 0
    """Of the embedding, if the run changes their number."""
    foretell: Foretell | None = None

    def feed(self, config: TrainConfig) -> Feed:
        """Packed where the model's attention is known to keep documents apart; see `attention`."""
        return Feed(
            self.train.examples,
            config.seed,
            config.micro_batch,
            config.grad_accum,
            self.pad,
            ranks=self.ranks,
            packed=config.packing and self.shape is not None and packs(self.shape.architecture),
            fixed=config.compile,
        )

    def largest(self, config: TrainConfig) -> tuple[int, BatchShape]:
        """The step and the shape of the micro-batch that needs most; see `heaviest`."""
        feed = self.feed(config)
        steps = schedule_for(config, feed).total_steps
        return heaviest(feed, steps, self.shape, config, self.compute)

    def predicted(self, config: TrainConfig, shape: BatchShape) -> Prediction | None:
        """Memory of a step with that micro-batch; None where nobody can tell."""
        if self.shape is not None:
            return predict(self.shape, config, self.compute, shape, self.ranks)
        if self.foretell is None or self.ranks > 1:
            return None
        return self.foretell(self.source, config, self.compute, shape, self.rows)

    def fitted(self, config: TrainConfig) -> TrainConfig:
        """The choices with the micro-batch that `auto_micro_batch` asks for, if it does.

        Raises `UsageError` for a model of which nobody can tell.
        """
        if not config.auto_micro_batch:
            return config

        def peak_bytes(choice: TrainConfig) -> int:
            found = self.predicted(choice, self.largest(choice)[1])
            if found is None:
                raise UsageError(
                    f"auto_micro_batch: the planner does not know the type of model {config.model},"
                    f" and its step cannot be traced ({_UNTRACED}). Give --micro-batch."
                )
            return found.peak_bytes

        return remedy.fitted(config, peak_bytes, free_bytes(self.device, self.ranks), self.ranks)
