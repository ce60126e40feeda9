"""Memory of a step of a model that `unfrozen.model` does not know: the step itself, weightless.

The model is built from its configuration under fake tensors, which have a shape and an owner but no
memory, and taken through two steps of this runner under the tracker that measures real ones. That
takes seconds to half a minute, so what was found is kept in the user's cache, under a name made of
all it depends on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from platformdirs import user_cache_path
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.feed import Batch, BatchShape, Targets
from gpu_runner.installed import NAME, installed_version
from gpu_runner.model import blocks
from gpu_runner.model.load import DTYPES, Source, read_config
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.optimizer_in_backward import Early
from gpu_runner.plan.predict import Prediction
from gpu_runner.train.measure import StepMemory, TensorTracker

CPU: Final = torch.device("cpu")
_MATTERS: Final = (
    "params",
    "optimizer",
    "momentum",
    "rounding",
    "checkpointing",
    "loss",
    "optimizer_in_backward",
)
"""Choices of a run that change what a step of one process holds."""


def foretell(
    source: Source, config: TrainConfig, compute: str, shape: BatchShape, rows: int = 0
) -> Prediction | None:
    """What a step whose largest micro-batch is `shape` will hold; None where it cannot be traced.

    `rows` are those of its embedding, where the run changes their number.

    That is where the model needs code of its own, or an operator whose shapes PyTorch cannot tell.
    """
    settings, _ = read_config(source)
    if rows:
        settings.get_text_config().vocab_size = rows
    chosen = {name: getattr(config, name) for name in _MATTERS}
    depends = {"model": settings.to_dict(), "choices": chosen, "compute": compute}
    depends |= {"shape": shape._asdict(), "by": installed_version()}
    depends |= {"torch": torch.__version__, "transformers": transformers.__version__}
    place = kept_place(
        sha256(json.dumps(depends, sort_keys=True, default=str).encode()).hexdigest()
    )
    found = kept(place)
    if found is None:
        try:
            found = _traced(settings, config, compute, shape)
        except Exception:  # what a model's own code does with tensors that hold nothing
            return None
        keep(place, found)
    return found


def kept_place(name: str) -> Path:
    """Where what was traced is kept under a `name` made of all it follows from."""
    return user_cache_path(NAME, appauthor=False) / "traced" / f"{name}.json"


def kept(path: Path) -> Prediction | None:
    """What was kept, if it is whole."""
    try:
        given = json.loads(path.read_text("utf-8"))
        instants = {
            str(name): {str(part): int(size) for part, size in parts.items()}
            for name, parts in given["instants"].items()
        }
        return Prediction(instants, int(given["bytes_per_parameter"])) if instants else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def keep(path: Path, found: Prediction) -> None:
    """For the next time; a cache that cannot be written is none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(found)), "utf-8")
        part.replace(path)
    except OSError:
        return


def _traced(settings: Any, config: TrainConfig, compute: str, shape: BatchShape) -> Prediction:
    autocast: Any = nullcontext
    if compute != config.params:
        autocast = partial(torch.autocast, "cpu", DTYPES["bf16"])
    with weightless(FakeTensorMode()):
        model: Any = transformers.AutoModelForCausalLM.from_config(
            settings, dtype=DTYPES[config.params], trust_remote_code=False
        )
        model.train()
        blocks.prepare(model, config.checkpointing, compiled=False)
        choice = optim.OptimizerChoice(config.optimizer, config.momentum, config.rounding)
        moves: Any = optim.build(model, lr=1e-3, weight_decay=0.0, choice=choice)
        if config.optimizer_in_backward:
            moves = Early(model, moves, lambda: 1e-3, CPU)
        for _ in range(2):  # the first makes the moments appear
            tracker = TensorTracker(model, moves)
            with tracker:
                _step(model, moves, tracker, autocast, _batch(shape), shape.parts, config)
        count = sum(parameter.numel() for parameter in model.parameters())
    return _prediction(tracker.memory, count)


@contextmanager
def weightless(mode: FakeTensorMode) -> Iterator[None]:
    """`mode`, in which tensors hold nothing; grouped products of experts take fp32 as they do.

    PyTorch knows the shapes of those in bf16 only, and logs what it does not know.
    """
    told = logging.getLogger("torch._subclasses.fake_tensor")
    level = told.level
    told.setLevel(logging.CRITICAL)
    try:
        with mode, _WideProducts():  # type: ignore[no-untyped-call]
            yield
    finally:
        told.setLevel(level)


class _WideProducts(TorchDispatchMode):
    """Grouped products in fp32, by the shapes of those in bf16."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        wide = func is torch.ops.aten._grouped_mm.default and args[0].dtype == torch.float32
        if not wide:
            return func(*args, **(kwargs or {}))
        narrow = (one.to(torch.bfloat16) for one in args[:2])
        return func(*narrow, *args[2:], **(kwargs or {})).to(torch.float32)


def _step(
    model: Any,
    moves: Any,
    tracker: TensorTracker,
    autocast: Any,
    batch: Batch,
    parts: int,
    config: TrainConfig,
) -> None:
    """As `gpu_runner.train.loop.train_step`, which waits for numbers that are not there."""
    for _ in range(min(parts, 2)):  # one more adds to gradients that are there
        with tracker.phase("forward"), autocast():
            total, _ = loss_sum(model, batch, config.loss)
        with tracker.phase("backward"):
            total.backward()
        del total
    norm = moves.norm(model.parameters())
    with tracker.phase("optimizer_step"):
        moves.step(1e-3, norm, config.clip)


def _batch(shape: BatchShape) -> Batch:
    """A padded batch of that shape; what is in it is not there."""
    ids = torch.zeros(shape.rows, shape.length, dtype=torch.long)
    positions = torch.zeros(min(shape.length - 1, shape.loss_tokens), dtype=torch.long)
    targets = torch.zeros(shape.loss_tokens, dtype=torch.long)
    every = shape.rows * len(positions) == len(targets)
    chosen = Targets(positions, None if every else torch.zeros_like(targets), targets)
    return Batch(ids, torch.zeros_like(ids), shape.loss_tokens, chosen=chosen)


def _prediction(memory: StepMemory, parameters: int) -> Prediction:
    whole = memory.instants["end_of_backward"]
    states = sum(whole.get(name, 0) for name in ("params", "grads", "moments"))
    return Prediction(memory.instants, round(states / parameters))
