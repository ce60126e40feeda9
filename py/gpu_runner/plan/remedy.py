"""What to change when memory is short, with the peak predicted after it; and what fits at once.

Which changes there are and what they cost in time is `unfrozen.plan.advice`; what they save is
predicted for the run's own heaviest micro-batch, of which only some positions have logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.feed import BatchShape
from gpu_runner.plan.predict import predict, recipe
from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.model import ModelConfig
from unfrozen.plan import plan_job
from unfrozen.plan.advice import advise
from unfrozen.units import gib

MOST_SHOWN: Final = 3
MARGIN: Final = 0.9
"""Share of the free memory that a micro-batch found by itself may fill."""

_SETTINGS: Final[dict[str, dict[str, Any]]] = {  # keys of `unfrozen.plan.changes`, in our words
    "checkpointing_selective": {"checkpointing": "selective"},
    "checkpointing_full": {"checkpointing": "full"},
    "loss_chunked": {"loss": "chunked"},
    "loss_fused": {"loss": "linear"},
    "activation_offload": {"activation_offload": True},
    "optimizer_in_backward": {"optimizer_in_backward": True, "clip": 0},
}


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change as it is typed, the peak it leads to, step time after it over before."""

    options: str
    peak_bytes: int
    time_ratio: float
    fits: bool = True
    """Where it was asked for by a number of bytes."""
    note: str = ""

    def __str__(self) -> str:
        slower = f", {self.time_ratio - 1:.0%} more time" if self.time_ratio > 1.005 else ""
        return f"{self.options}: predicted {gib(self.peak_bytes):.2f} GiB{slower}"


def advice(
    model: ModelConfig | None,
    config: TrainConfig,
    compute: str,
    heaviest: BatchShape,
    *,
    offloads: bool,
    ranks: int = 1,
) -> str:
    """The changes that lower the peak for the least time, as one sentence."""
    if model is None:
        return "Lower --micro-batch or --seq-len."
    now = predict(model, config, compute, heaviest, ranks).peak_bytes
    found = [
        remedy
        for remedy in _remedies(model, config, compute, heaviest, offloads, ranks)
        if remedy.peak_bytes < now
    ]
    found.sort(key=lambda remedy: (round(remedy.time_ratio, 2), remedy.peak_bytes))
    if not found:
        return "Nothing the runner can change lowers it: take a smaller model, or more memory."
    return f"Give {'; or '.join(map(str, found[:MOST_SHOWN]))}."


def _remedies(
    model: ModelConfig,
    config: TrainConfig,
    compute: str,
    heaviest: BatchShape,
    offloads: bool,
    ranks: int,
) -> Iterator[Remedy]:
    less = _less_at_once(config, heaviest)
    if less is not None:
        options, smaller = less
        yield Remedy(options, predict(model, config, compute, smaller, ranks).peak_bytes, 1.0)
    cluster = Cluster(ranks, "zero3" if ranks > 1 else "none")
    job = Job(model, recipe(config, compute, heaviest, model), cluster)
    try:
        ranked = advise(plan_job(job))
    except PlanError:
        return
    for found in ranked:
        settings = _SETTINGS.get(found.key)
        alone = found.key == "optimizer_in_backward" and ranks > 1
        if settings is None or alone or (found.key == "activation_offload" and not offloads):
            continue
        changed = replace(config, **settings)
        options = " ".join(f"--set {key}={_toml(value)}" for key, value in settings.items())
        peak = predict(model, changed, compute, heaviest, ranks).peak_bytes
        yield Remedy(options, peak, found.time_ratio)


def _less_at_once(config: TrainConfig, heaviest: BatchShape) -> tuple[str, BatchShape] | None:
    """Half the rows, twice as often; of a single row, half of it."""
    rows, length, loss_tokens, parts = heaviest
    if config.micro_batch > 1:
        fewer = config.micro_batch // 2
        options = f"--micro-batch {fewer} --grad-accum {-(-_rows(config) // fewer)}"
        share = fewer / config.micro_batch
        smaller = (1, max(2, round(length * share))) if rows == 1 else (fewer, length)
        if config.optimizer_in_backward:
            return None
        return options, BatchShape(*smaller, max(1, round(loss_tokens * share)), max(2, parts))
    shorter = max(2, length // 2)
    if shorter >= length:
        return None
    return f"--seq-len {shorter}", BatchShape(rows, shorter, max(1, loss_tokens // 2), parts)


def _rows(config: TrainConfig) -> int:
    return config.micro_batch * config.grad_accum


def _toml(value: object) -> str:
    return str(value).lower()


def fitted(
    config: TrainConfig,
    peak_bytes: Callable[[TrainConfig], int],
    free_bytes: int,
    ranks: int = 1,
) -> TrainConfig:
    """The largest micro-batch whose peak fits in MARGIN of `free_bytes`, the rows of a step as
    they were; the smallest one where none does. Micro-batches can be dealt out to `ranks`.
    """
    rows = _rows(config)
    choice = config
    for micro_batch in (size for size in range(rows, 0, -1) if rows % (size * ranks) == 0):
        choice = replace(
            config,
            micro_batch=micro_batch,
            grad_accum=rows // micro_batch,
            auto_micro_batch=False,
        )
        if peak_bytes(choice) <= MARGIN * free_bytes:
            break
    return choice
