"""The memory of a run by the formulas of `unfrozen.memory`: by instant and component.

Also which micro-batch of the run needs most memory, and which steps are measured to check it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, Final

import torch

from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.feed import BatchShape, Feed
from gpu_runner.memory.prediction import Prediction
from gpu_runner.model.attention import OLDEST
from unfrozen import runner
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import BYTES, Recipe
from unfrozen.memory.instants import Instants, instants
from unfrozen.memory.states import state_bytes
from unfrozen.model import Architecture, ModelConfig

STEPS_SEARCHED: Final = 2000
MEASURED_EVERY: Final = 100
_SAME: Final = ("checkpointing", "activation_offload", "optimizer_in_backward", "rounding")
"""Settings that have the recipe's names and values."""


def build_recipe(
    config: TrainConfig, compute: str, shape: BatchShape, model: ModelConfig | None = None
) -> Recipe:
    """Return the run as the planner's recipe: `shape` includes padding, attention is unmasked."""
    chosen: dict[str, Any] = runner.optimizer(
        config.optimizer, config.params, momentum=config.momentum > 0, rounding=config.rounding
    )
    if model is not None:
        a = model.architecture
        chosen |= {
            "attention": _attention(a, config, compute),
            "kernels": runner.kernels(
                a,
                config.checkpointing,
                compiled=config.compile and on_gpu(config),
                fuse=config.fused and not config.compile,
            ),
            "loss": runner.loss(a, config.loss),
            "torch_delta": a.has_delta_rule and not (on_gpu(config) and find_spec("fla")),
            "experts_cast": runner.casts_experts(
                a, compiled=config.compile, grouped=compute != "fp16" or not on_gpu(config)
            ),
        }
    else:
        chosen |= {
            "attention": "flash",
            "kernels": "fused" if config.compile and on_gpu(config) else "eager",
            "loss": runner.LOSSES[config.loss],
        }
    return Recipe(
        params=config.params,
        compute=compute,
        **{"master": None, "grads": config.params} | chosen | _offloaded(config, shape),
        packed=config.packing and model is not None and runner.packs(model.architecture),
        micro_batch=shape.rows,
        seq_len=shape.length,
        grad_accum=shape.parts,
        **{name: getattr(config, name) for name in _SAME},
        ema=config.ema is not None,
    )


def _attention(a: Architecture, config: TrainConfig, compute: str) -> str:
    """Return the recipe's attention on the device of a run."""
    if not on_gpu(config):
        return runner.attention(a, "bf16")  # our operator, whatever it computes in
    old = torch.cuda.is_available() and torch.cuda.get_device_capability() < OLDEST
    return runner.attention(a, compute, flash=not old)


def predict(
    model: ModelConfig, config: TrainConfig, compute: str, shape: BatchShape, ranks: int = 1
) -> Prediction:
    """Return the memory of a step with largest micro-batch `shape`, on one of `ranks` processes.

    Where the model is replicated (HSDP), a copy is sharded over `shard_size` processes.
    """
    planned = build_recipe(config, compute, shape, model)
    away = config.optimizer_offload and on_gpu(config)
    cluster = Cluster.of_runner(min(config.shard_size or ranks, ranks), offload=away)
    found = instants(model, planned, cluster, loss_tokens=max(1, shape.loss_tokens))
    states = state_bytes(model, planned)
    if config.optimizer_offload:
        found = _in_cpu_memory(found, config, planned)
    if away:
        largest = max(math.prod(tensor.shape) for tensor in model.tensors)
        found["backward"]["grads"] = BYTES[config.params] * largest // cluster.gpus
        states = {"params": states["params"]}
    return Prediction(found, round(sum(states.values()) / model.num_parameters))


def _offloaded(config: TrainConfig, shape: BatchShape) -> dict[str, str | None]:
    """Return what differs in the recipe where AdamW lives in CPU memory.

    On a CPU, gradients of several micro-batches wait for it in fp32.
    """
    if not config.optimizer_offload:
        return {}
    waits = shape.parts > 1 and not config.optimizer_in_backward and not on_gpu(config)
    return {
        "moments": "fp32",
        "master": None if config.params == "fp32" else "fp32",
        "grads": "fp32" if waits else config.params,
    }


def _in_cpu_memory(found: Instants, config: TrainConfig, planned: Recipe) -> Instants:
    """Return the instants of a run with --optimizer-offload by the components that are measured.

    fp32 weights are a state of the optimizer, which the first step makes. On a CPU, gradients in
    16 bits become fp32 one by one; on a GPU the largest is on its way.
    """
    wide = 1 if config.optimizer_in_backward else BYTES["fp32"] // BYTES[planned.grads]
    measured = {}
    for instant, components in found.items():
        states = components.get("moments", 0) + components.get("master", 0)
        more = {"grads": wide * components.get("grads", 0)}
        more |= {} if instant == "load" else {"moments": states}
        rest = {name: size for name, size in components.items() if name != "master"}
        measured[instant] = {name: size for name, size in (rest | more).items() if size}
    return measured


def heaviest_micro_batch(
    feed: Feed, steps: int, model: ModelConfig | None, config: TrainConfig, compute: str
) -> tuple[int, BatchShape]:
    """Return the step (1-based) and shape of the micro-batch that needs most memory in the run.

    Only the first STEPS_SEARCHED steps are searched. Without a known `model` the micro-batch with
    most tokens counts as the heaviest.
    """
    first_seen: dict[BatchShape, int] = {}
    for number in range(1, min(steps, STEPS_SEARCHED) + 1):
        for shape in feed.shapes(number):
            if first_seen.get(shape, 1) == 1:  # the first step has no optimizer state yet
                first_seen[shape] = number

    def needed_bytes(shape: BatchShape) -> int:
        if model is None:
            return shape.rows * shape.length
        return predict(model, config, compute, shape, feed.ranks).peak_bytes

    worst = max(_undominated(first_seen), key=needed_bytes)
    return first_seen[worst], worst


def _undominated(shapes: Iterable[BatchShape]) -> list[BatchShape]:
    """Return the shapes that no other one exceeds in both length and loss tokens: only a few."""
    found: list[BatchShape] = []
    for shape in sorted(shapes, key=lambda s: (-s.parts, -s.rows * s.length, -s.loss_tokens)):
        same = [other for other in found if (other.parts, other.rows) == (shape.parts, shape.rows)]
        if not same or shape.loss_tokens > same[-1].loss_tokens:
            found.append(shape)
    return found


def on_gpu(config: TrainConfig) -> bool:
    """Return whether a run computes on a GPU, where measured steps run compiled blocks, too.

    On a CPU the tracker needs eager code.
    """
    return config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())


def uncompiled_step(config: TrainConfig, measured: frozenset[int]) -> int:
    """Return the step that runs uncompiled to show the speedup of compiling; 0 where none does.

    It is the first step that is not measured. On a GPU there is none: it would need more memory
    than predicted.
    """
    if not config.compile or on_gpu(config):
        return 0
    return next(number for number in range(1, len(measured) + 2) if number not in measured)


def steps_to_measure(steps: int, heaviest_step: int) -> frozenset[int]:
    """Return the steps to measure: 1 (optimizer state appears), 2, the heaviest, and some more.

    Measuring slows a step on a CPU; one step in MEASURED_EVERY keeps that cost small.
    """
    chosen = {1, 2, heaviest_step, *range(MEASURED_EVERY, steps + 1, MEASURED_EVERY)}
    return frozenset(number for number in chosen if number <= steps)
