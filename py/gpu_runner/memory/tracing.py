"""A run's own step under fake tensors, for model types that `unfrozen.model` does not know.

The model is built from its configuration under fake tensors, which have a shape and an owner but no
memory, and takes two steps of this runner under the tracker that also measures real steps.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Final

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.feed import Batch, BatchShape, Targets
from gpu_runner.memory.prediction import NotPredictable, Prediction, load_or_trace
from gpu_runner.memory.tracker import TensorTracker
from gpu_runner.model import blocks
from gpu_runner.model.load import DTYPES, Source, class_of, read_config
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.optimizer import stepping
from gpu_runner.world import World, freeze_encoders

CPU: Final = torch.device("cpu")
_CHOICES: Final = (
    "params",
    "optimizer",
    "momentum",
    "rounding",
    "ema",
    "checkpointing",
    "loss",
    "optimizer_in_backward",
    "optimizer_offload",
)
"""Config keys that change the memory of a step on one process."""


def predict_by_tracing(
    source: Source, config: TrainConfig, compute: str, shape: BatchShape, vocab_rows: int = 0
) -> Prediction:
    """Return the memory of a step whose largest micro-batch is `shape`, from a traced step.

    `vocab_rows` is the new size of the embedding, 0 where the run does not change it. Raises
    `NotPredictable` where the step cannot be traced, for example because the model needs code of
    its own, or an operator whose output shapes depend on values.
    """
    settings, _ = read_config(source)
    if vocab_rows:
        settings.get_text_config().vocab_size = vocab_rows
    inputs = {
        "model": settings.to_dict(),
        "choices": {name: getattr(config, name) for name in _CHOICES},
        "compute": compute,
        "shape": shape._asdict(),
    }
    try:
        return load_or_trace(inputs, lambda: _trace(settings, config, compute, shape))
    except Exception as error:  # a model's own code may raise anything under fake tensors
        first = (str(error).splitlines() or [""])[0][:300]
        raise NotPredictable(f"{type(error).__name__}: {first}".removesuffix(": ")) from error


@contextmanager
def fake_tensors(mode: FakeTensorMode) -> Iterator[None]:
    """Run the block with tensors that have no memory; grouped matmuls of experts work in fp32 too.

    PyTorch knows the output shapes of grouped matmuls in bf16 only. It logs every operator that it
    does not know, so its logger is silenced meanwhile.
    """
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with mode, _GroupedMatmulInFp32():  # type: ignore[no-untyped-call]
            yield
    finally:
        logger.setLevel(level)


class _GroupedMatmulInFp32(TorchDispatchMode):
    """Gives grouped matmuls in fp32 the output shapes of those in bf16."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        in_fp32 = func is torch.ops.aten._grouped_mm.default and args[0].dtype == torch.float32
        if not in_fp32:
            return func(*args, **(kwargs or {}))
        operands = (one.to(torch.bfloat16) for one in args[:2])
        return func(*operands, *args[2:], **(kwargs or {})).to(torch.float32)


def _trace(settings: Any, config: TrainConfig, compute: str, shape: BatchShape) -> Prediction:
    autocast: Any = nullcontext
    if compute != config.params:
        autocast = partial(torch.autocast, "cpu", DTYPES["bf16"])
    with fake_tensors(FakeTensorMode()):
        model: Any = class_of(settings).from_config(
            settings, dtype=DTYPES[config.params], trust_remote_code=False
        )
        freeze_encoders(model)
        model.train()
        blocks.prepare(model, config.checkpointing, compiled=False)
        choice = optim.OptimizerChoice.of(config)
        built = optim.build(model, lr=1e-3, weight_decay=0.0, choice=choice)
        optimizer = stepping(config, model, built, lambda: 1e-3, World(device=CPU))
        for _ in range(2):  # the first step allocates the optimizer state
            tracker = TensorTracker(model, optimizer)
            with tracker:
                _take_step(model, optimizer, tracker, autocast, shape, config)
        count = sum(parameter.numel() for parameter in model.parameters())
    return Prediction.from_traced(tracker.memory, count)


def _take_step(
    model: Any,
    optimizer: Any,
    tracker: TensorTracker,
    autocast: Any,
    shape: BatchShape,
    config: TrainConfig,
) -> None:
    """Do what `gpu_runner.train.loop.train_step` does, without reading any value of a tensor."""
    batch = _fake_batch(shape)
    for _ in range(min(shape.parts, 2)):  # further micro-batches add to the same gradients
        with tracker.phase("forward"), autocast():
            total, _ = loss_sum(model, batch, config.loss)
        with tracker.phase("backward"):
            total.backward()
        del total
    norm = optimizer.norm(model.parameters())
    with tracker.phase("optimizer_step"):
        optimizer.step(1e-3, norm, config.clip)


def _fake_batch(shape: BatchShape) -> Batch:
    """Return a padded batch of that shape; its values do not exist."""
    ids = torch.zeros(shape.rows, shape.length, dtype=torch.long)
    targets = torch.zeros(shape.loss_tokens, dtype=torch.long)
    chosen = Targets(torch.zeros_like(targets), targets)
    return Batch(ids, torch.zeros_like(ids), shape.loss_tokens, chosen=chosen)
