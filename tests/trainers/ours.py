"""The runner's own step, feed, loss, optimizer and log on the work of the bench."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch

from gpu_runner.data.dataset import TASK, EncodedDataset
from gpu_runner.data.examples import Example, InMemoryExamples
from gpu_runner.data.feed import Feed
from gpu_runner.log.writer import EventLog, SystemClock
from gpu_runner.memory.tracker import SilentMeter
from gpu_runner.model import attention, blocks
from gpu_runner.model.load import Source
from gpu_runner.optim import optimizer
from gpu_runner.plan.machine import keep_freed
from gpu_runner.train.evaluate import Evaluator
from gpu_runner.train.initial_weights import find_initial_weights
from gpu_runner.train.loop import TrainingStep, train_step
from gpu_runner.world import World
from tests.trainers import Outcome, Work, on_card
from unfrozen.events import METRICS
from unfrozen.schedules import Schedule
from unfrozen.training_data import epoch_order

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EVALUATED_ROWS = 16
LOGGED_EVENTS = 2000


def run(work: Work) -> Outcome:
    """Train, then measure what logging, evaluation and drift take."""
    from transformers import AutoModelForCausalLM

    if not on_card():
        keep_freed()
    model = AutoModelForCausalLM.from_pretrained(
        work.model, dtype=torch.float32, attn_implementation=attention.register()
    )
    model.to(DEVICE).train()
    blocks.prepare(model, "none", compiled=False, fused=True)
    examples = tuple(Example(tuple(ids), tuple(mask)) for ids, mask in work.rows)
    step = TrainingStep(
        model=model,
        optimizer=optimizer.build(model, lr=work.lr, weight_decay=0.0),
        feed=Feed(_in_order(examples), 0, work.rows_per_step, 1, 0, packed=True),
        schedule=Schedule("constant", work.steps, work.lr, 0),
        clip=1.0,
        autocast=partial(torch.autocast, "cuda", torch.bfloat16) if on_card() else nullcontext,
        world=World(device=DEVICE),
    )
    outcome = Outcome()
    for number in range(1, work.steps + 1):
        with outcome.timed():
            loss, _, _ = train_step(step, number, SilentMeter())
        outcome.losses.append(loss)
    outcome.finished()
    outcome.extra = _overheads(step, work, examples[:EVALUATED_ROWS])
    return outcome


def _in_order(examples: tuple[Example, ...]) -> tuple[Example, ...]:
    """Placed so that the feed's seeded order of the first epoch is the given one."""
    placed = dict(zip(epoch_order(len(examples), 0, 0), examples, strict=True))
    return tuple(placed[index] for index in range(len(examples)))


def _overheads(step: TrainingStep, work: Work, examples: tuple[Example, ...]) -> dict[str, float]:
    """Seconds of one logged step, of an evaluation, and of the drift from θ₀."""
    rows = EncodedDataset("bench", (), InMemoryExamples(examples), len(examples), 0, 0, 0, "")
    evaluator = Evaluator({TASK: rows}, work.rows_per_step, 0, DEVICE, step.autocast)
    source = Source("directory", "bench", work.model)
    scalars = {metric.name: 1.2345678 for metric in METRICS[:12]}
    with TemporaryDirectory() as folder:
        start = find_initial_weights(source, step.model, Path(folder), untrained=False)
        started = perf_counter()
        evaluator.run(step.model)
        evaluated = perf_counter()
        start.drift(step.model)
        drifted = perf_counter()
        with EventLog(Path(folder) / "events.jsonl", run="bench", clock=SystemClock()) as log:
            for step in range(LOGGED_EVENTS):
                log.emit("metrics", step, m=scalars)
        logged = perf_counter()
    return {
        "evaluation": evaluated - started,
        "evaluated_rows": len(examples),
        "drift": drifted - evaluated,
        "log": (logged - drifted) / LOGGED_EVENTS,
    }
