"""The memory of a run for any choice of settings, and the settings that fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.dataset import EncodedDataset
from gpu_runner.data.feed import BatchShape, Feed
from gpu_runner.errors import UsageError
from gpu_runner.memory.advice import suggest_settings
from gpu_runner.memory.formula import build_recipe, heaviest_micro_batch, predict
from gpu_runner.memory.prediction import MARGIN, NotPredictable, Prediction, Suggestion
from gpu_runner.model.load import Source
from gpu_runner.plan.machine import free_bytes
from gpu_runner.plan.schedule import schedule_for
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.model import ModelConfig
from unfrozen.plan.step_time import step_time, step_tokens
from unfrozen.runner import packs

TraceStep = Callable[[Source, TrainConfig, str, BatchShape, int], Prediction]
"""`gpu_runner.memory.tracing.predict_by_tracing`, or a stand-in for it."""


@dataclass(frozen=True, slots=True)
class Predictor:
    """Predicts the memory of a run's steps: what it follows from, apart from the config."""

    source: Source
    shape: ModelConfig | None
    train: EncodedDataset
    pad: int
    compute: str
    device: torch.device
    ranks: int = 1
    vocab_rows: int = 0
    """The new size of the embedding, 0 where the run does not change it."""
    trace: TraceStep | None = None

    def feed(self, config: TrainConfig) -> Feed:
        """Return the batches, packed where attention keeps the model's documents apart."""
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

    def heaviest(self, config: TrainConfig) -> tuple[int, BatchShape]:
        """Return the step and the shape of the micro-batch that needs most memory."""
        feed = self.feed(config)
        steps = schedule_for(config, feed).total_steps
        return heaviest_micro_batch(feed, steps, self.shape, config, self.compute)

    def predict(self, config: TrainConfig, shape: BatchShape) -> Prediction:
        """Return the memory of a step with that micro-batch. Raises `NotPredictable`."""
        if self.shape is not None:
            return predict(self.shape, config, self.compute, shape, self.ranks)
        if self.trace is None or self.ranks > 1:
            raise NotPredictable("an unknown model type is traced on one process only")
        return self.trace(self.source, config, self.compute, shape, self.vocab_rows)

    def try_to_predict(
        self, config: TrainConfig, shape: BatchShape
    ) -> tuple[Prediction | None, str]:
        """Return the memory of such a step, or None and the reason why there is no prediction."""
        try:
            return self.predict(config, shape), ""
        except NotPredictable as why:
            return None, str(why)

    def with_micro_batch(self, config: TrainConfig) -> TrainConfig:
        """Return the config with the micro-batch that `auto_micro_batch` asks for, if it does.

        That is the largest one whose peak fits, or the smallest one where none does; the sequences
        per step stay the same. Raises `UsageError` where the memory cannot be predicted.
        """
        if not config.auto_micro_batch:
            return config
        budget = MARGIN * free_bytes(self.device, self.ranks)
        total, choice = config.micro_batch * config.grad_accum, config
        for size in (n for n in range(total, 0, -1) if total % (n * self.ranks) == 0):
            choice = replace(
                config, micro_batch=size, grad_accum=total // size, auto_micro_batch=False
            )
            try:
                found = self.predict(choice, self.heaviest(choice)[1])
            except NotPredictable as why:
                raise UsageError(
                    f"auto_micro_batch: the planner does not know the type of model {config.model},"
                    f" and its step cannot be traced ({why}). Give --micro-batch."
                ) from None
            if found.peak_bytes <= budget:
                break
        return choice

    def suggest(self, now: TrainConfig, heaviest: BatchShape, budget: int) -> list[Suggestion]:
        """Return settings with a peak within `budget` bytes; none for an unknown model type.

        `heaviest` is the micro-batch of the run `now` that needs most memory.
        """
        model = self.shape
        if model is None:
            return []
        cluster = Cluster(self.ranks, "zero3" if self.ranks > 1 else "none")

        @lru_cache(maxsize=64)
        def worst(micro_batch: int, grad_accum: int) -> BatchShape:
            if (micro_batch, grad_accum) == (now.micro_batch, now.grad_accum):
                return heaviest
            return self.heaviest(replace(now, micro_batch=micro_batch, grad_accum=grad_accum))[1]

        def cost(choice: TrainConfig) -> tuple[int, float]:
            shape = worst(choice.micro_batch, choice.grad_accum)
            if choice.seq_len != now.seq_len:
                shape = _cut(shape, min(1.0, choice.seq_len / self.train.longest_tokens))
            compute = "bf16" if choice.params == "bf16" else self.compute
            job = Job(model, build_recipe(choice, compute, shape, model), cluster)
            seconds = step_time(job).seconds / step_tokens(job)
            return predict(model, choice, compute, shape, self.ranks).peak_bytes, seconds

        offloads = self.device.type == "cuda" and self.ranks == 1
        longest = self.train.longest_tokens
        return suggest_settings(
            now, budget, cost, longest=longest, offloads=offloads, ranks=self.ranks
        )


def _cut(shape: BatchShape, share: float) -> BatchShape:
    """Return a micro-batch whose sequences are cut to this share of their length."""
    length, trained = (max(1, round(share * n)) for n in (shape.length, shape.loss_tokens))
    return shape._replace(length=length, loss_tokens=trained)
