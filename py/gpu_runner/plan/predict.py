"""What `unfrozen.memory` says this run will hold: by instant, by component, before it starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import torch

from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.feed import BatchShape, Feed
from unfrozen import runner
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.instants import instants, peak
from unfrozen.memory.states import state_bytes
from unfrozen.model import ModelConfig

Components = dict[str, int]
STEPS_LOOKED_AT: Final = 2000
MEASURED_EVERY: Final = 100


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted bytes by instant and component (names of `unfrozen.events`) for one micro-batch."""

    instants: dict[str, Components]
    bytes_per_parameter: int

    @property
    def peak_instant(self) -> str:
        """The instant that needs most."""
        return peak(self.instants)[0]

    @property
    def peak_bytes(self) -> int:
        """What it needs."""
        return peak(self.instants)[1]


def recipe(
    config: TrainConfig, compute: str, shape: BatchShape, model: ModelConfig | None = None
) -> Recipe:
    """The run in the words of the memory model: `shape` with its padding, attention unmasked."""
    chosen: dict[str, Any] = runner.optimizer(
        config.optimizer, config.params, momentum=config.momentum > 0, rounding=config.rounding
    )
    if model is not None:
        a = model.architecture
        chosen |= {
            "attention": runner.ATTENTION,  # see `attention`
            "kernels": runner.kernels(
                a,
                config.checkpointing,
                compiled=config.compile and measured_compiled(config),
                fuse=config.fused and not config.compile,
            ),
            "loss": runner.loss(a, config.loss),  # see `loss.is_plain`
            "experts_cast": runner.casts_experts(a, compiled=config.compile),
        }
    else:
        chosen |= {
            "attention": runner.ATTENTION,
            "kernels": "fused" if config.compile and measured_compiled(config) else "eager",
            "loss": runner.LOSSES[config.loss],
        }
    return Recipe(
        params=config.params,
        compute=compute,
        master=None,
        grads=config.params,
        **chosen,
        packed=config.packing and model is not None and runner.packs(model.architecture),
        micro_batch=shape.rows,
        seq_len=shape.length,
        grad_accum=shape.parts,
        checkpointing=config.checkpointing,
        activation_offload=config.activation_offload,
        optimizer_in_backward=config.optimizer_in_backward,
        rounding=config.rounding,
    )


def predict(
    model: ModelConfig, config: TrainConfig, compute: str, shape: BatchShape, ranks: int = 1
) -> Prediction:
    """Memory of a step whose largest micro-batch is `shape`, on one of `ranks` processes.

    Where there are copies of the model, it is cut into as many parts as one copy has processes.
    """
    wanted = recipe(config, compute, shape, model)
    cluster = Cluster.of_runner(min(config.shard_size or ranks, ranks))
    found = instants(model, wanted, cluster, loss_tokens=max(1, shape.loss_tokens))
    held = sum(state_bytes(model, wanted).values())
    return Prediction(found, round(held / model.num_parameters))


def heaviest(
    feed: Feed, steps: int, model: ModelConfig | None, config: TrainConfig, compute: str
) -> tuple[int, BatchShape]:
    """The step (1-based) and shape of the micro-batch that needs most memory in the run.

    Looks at the first STEPS_LOOKED_AT steps. For a model that cannot be predicted: most tokens.
    """
    first_seen: dict[BatchShape, int] = {}
    for number in range(1, min(steps, STEPS_LOOKED_AT) + 1):
        for shape in feed.shapes(number):
            if first_seen.get(shape, 1) == 1:  # the first step has no moments yet
                first_seen[shape] = number

    def needs(shape: BatchShape) -> int:
        if model is None:
            return shape.rows * shape.length
        return predict(model, config, compute, shape, feed.ranks).peak_bytes

    worst = max(_undominated(first_seen), key=needs)
    return first_seen[worst], worst


def _undominated(shapes: Iterable[BatchShape]) -> list[BatchShape]:
    """Shapes that no other one exceeds in both length and loss tokens: few, however many rows."""
    kept: list[BatchShape] = []
    for shape in sorted(shapes, key=lambda s: (-s.parts, -s.rows * s.length, -s.loss_tokens)):
        same = [other for other in kept if (other.parts, other.rows) == (shape.parts, shape.rows)]
        if not same or shape.loss_tokens > same[-1].loss_tokens:
            kept.append(shape)
    return kept


def measured_compiled(config: TrainConfig) -> bool:
    """Whether compiled blocks are what a measured step holds: where an allocator counts.

    On a CPU measured steps, the heaviest of all among them, run as they are written.
    """
    return config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())


def step_as_written(config: TrainConfig, measured: frozenset[int]) -> int:
    """The step that is to tell what compiling gains: the first that is not measured; 0 is none.

    On a card it would hold more than the others, and more than is predicted.
    """
    if not config.compile or measured_compiled(config):
        return 0
    return next(number for number in range(1, len(measured) + 2) if number not in measured)


def steps_to_measure(steps: int, heaviest_step: int) -> frozenset[int]:
    """Steps 1 (moments appear), 2 (steady), the one predicted to be the heaviest, and some more.

    Measuring slows a step on a CPU; one in MEASURED_EVERY keeps the cost of all of them small.
    """
    chosen = {1, 2, heaviest_step, *range(MEASURED_EVERY, steps + 1, MEASURED_EVERY)}
    return frozenset(number for number in chosen if number <= steps)
