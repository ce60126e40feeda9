"""Steps of tiny models, measured tensor by tensor beside what was predicted for them.

On one process or on several: `measure` is told its world, `on_several` starts the processes.
"""

import json
import random
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

import tiny_families
from gpu_runner.config.bounds import Checkpointing
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import Feed
from gpu_runner.memory.formula import predict
from gpu_runner.memory.prediction import Prediction
from gpu_runner.memory.tracker import StepMemory, measure_step
from gpu_runner.model import blocks
from gpu_runner.model.fused_blocks import fuses
from gpu_runner.model.load import DTYPES
from gpu_runner.model.loss import loss_sum
from gpu_runner.model.offload import Offload
from gpu_runner.model.routers import Routers, routers_of
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.optimizer import stepping
from gpu_runner.plan.machine import choose_precision
from gpu_runner.train.loop import TrainingStep, train_step
from gpu_runner.world import World, join
from run_process import together
from unfrozen.model import ModelConfig
from unfrozen.schedules import Schedule

CPU = torch.device("cpu")
RATE = 1e-3
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 2,
    "vocab_size": 512,
    "head_dim": 16,
}
GPT2_SIZES = {"n_embd": 64, "n_layer": 2, "vocab_size": 512}


@dataclass(frozen=True, slots=True)
class Case:
    """One run: choices of the command line, the family of its model and changes of its sizes."""

    choices: Mapping[str, Any] = field(default_factory=dict)
    family: str = "llama"
    sizes: Mapping[str, Any] = field(default_factory=dict)
    longest: int = 120
    """Tokens that its rows stay below; the shortest have a sixth of them."""


def rows(longest: int) -> tuple[Example, ...]:
    """Sixteen rows; of each the last two thirds are trained."""
    draw = random.Random(0)
    lengths = [draw.randrange(longest // 6, longest) for _ in range(16)]
    return tuple(
        Example(
            tuple(draw.randrange(1, 264) for _ in range(length)),
            tuple(place >= length // 3 for place in range(length)),
        )
        for length in lengths
    )


ROWS = rows(120)


@dataclass(frozen=True, slots=True)
class Measured:
    """What the second step of a case held, and what was predicted; the largest of all processes."""

    peak_bytes: int
    predicted_bytes: int
    instants: dict[str, dict[str, int]]
    predicted: dict[str, dict[str, int]]

    @property
    def error(self) -> float:
        """Of the prediction, relative to what was measured."""
        return self.predicted_bytes / self.peak_bytes - 1


def step(case: Case, world: World | None = None) -> tuple[StepMemory, Prediction]:
    """The second step of a case in this world."""
    world = world or World(device=CPU)
    given = {"model": "x", "data": "y", "micro_batch": 8, "grad_accum": world.size}
    config = resolve({**given, **case.choices})
    model = _model(case, config)
    known = ModelConfig.from_hf(model.config.to_dict()).language
    kind: Checkpointing = config.checkpointing
    blocks.prepare(model, kind, compiled=config.compile, fused=fuses(config, known))
    compute = choose_precision(config, CPU)
    narrow = None if compute == config.params else DTYPES[compute]
    world.shard(model, narrow)
    taken = _step(model, config, world, rows(case.longest), narrow)
    with measure_step(model, taken.optimizer, CPU, wanted=config.compile) as (meter, _):
        train_step(taken, 1, meter)  # measured, blocks are not compiled, which takes long
    with measure_step(model, taken.optimizer, CPU, wanted=True) as (meter, memory):
        train_step(taken, 2, meter)
    assert memory is not None
    shape = max(taken.feed.shapes(2), key=lambda found: found.rows * found.length)
    return memory, predict(known, config, compute, shape, world.size)


def _model(case: Case, config: TrainConfig) -> Any:
    sizes: dict[str, Any] = GPT2_SIZES if case.family == "gpt2" else SIZES
    make = partial(tiny_families.model, case.family)
    model = (tiny_families.seeing if case.family == "gemma3" else make)(**sizes | case.sizes)
    return model.bfloat16() if config.params == "bf16" else model


def _step(
    model: Any,
    config: TrainConfig,
    world: World,
    rows: tuple[Example, ...],
    narrow: torch.dtype | None,
) -> TrainingStep:
    choice = optim.OptimizerChoice.of(config)
    optimizer = optim.build(model, lr=RATE, weight_decay=0.0, choice=choice)
    sizes = (config.micro_batch, config.grad_accum, 0)
    feed = Feed(
        rows,
        0,
        *sizes,
        packed=config.packing,
        fixed=config.compile,
        rank=world.rank,
        ranks=world.size,
    )
    return TrainingStep(
        model=model,
        optimizer=stepping(config, model, optimizer, lambda: RATE, world),
        feed=feed,
        schedule=Schedule("cosine", 4, RATE, 1),
        clip=config.clip,
        autocast=nullcontext if narrow is None else partial(torch.autocast, "cpu", narrow),
        world=world,
        loss=partial(loss_sum, kind=config.loss),
        routers=routers_of(model, config.router_balance) if config.router_balance else Routers(),
        saving=Offload(model) if config.activation_offload else nullcontext,
    )


def measure(case: Case, world: World | None = None) -> Measured:
    """The same as plain data."""
    eager = case.choices.get("optimizer") == "adamw8bit"  # torchao's update as it is written
    with torch.compiler.set_stance("force_eager" if eager else "default"):
        memory, predicted = step(case, world)
    return Measured(memory.peak_bytes, predicted.peak_bytes, memory.instants, predicted.instants)


def on_several(cases: Sequence[Case], place: Path, size: int = 2) -> list[Measured]:
    """Every case in `size` processes, one after the other; files go to `place`."""
    for child in together(_child, (cases, place), size):
        child.join()
        assert child.exitcode == 0
    ranks = [json.loads((place / f"{rank}.json").read_text("utf-8")) for rank in range(size)]
    return [
        max((Measured(**one) for one in found), key=lambda one: one.peak_bytes)
        for found in zip(*ranks, strict=True)
    ]


def _child(given: tuple[Sequence[Case], Path]) -> None:
    cases, place = given
    torch.set_num_threads(1)
    world = join(CPU)
    try:
        found = []
        for case in cases:
            one = measure(case, world)
            found.append({name: getattr(one, name) for name in Measured.__slots__})
        (place / f"{world.rank}.json").write_text(json.dumps(found), "utf-8")
    finally:
        world.close()
