"""Full fine-tuning: the whole algorithm, and nothing else.

A step takes every micro-batch forward and backward, divides by the number of trainable tokens of
all of them together, and moves every parameter. Between steps the model is looked at (evaluation),
saved (checkpoint), and commands to pause, to save or to stop are obeyed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, Protocol

import torch

from gpu_runner.data.feed import Batch, Feed
from gpu_runner.errors import Diverged
from gpu_runner.memory.tracker import Meter, StepMemory, measure_step
from gpu_runner.model.blocks import as_written
from gpu_runner.model.loss import loss_sum
from gpu_runner.model.routers import Routers
from gpu_runner.optim.optimizer import StepOptimizer
from gpu_runner.plan.intervals import Intervals
from gpu_runner.train.gradients import GradientCheck, next_scale, unscale
from gpu_runner.train.penalties import Penalty
from gpu_runner.train.step_position import StepPosition, resident_bytes
from gpu_runner.world import World
from unfrozen.schedules import Schedule

MOST_SKIPPED_IN_A_ROW: Final = 5


@dataclass(frozen=True, slots=True)
class StepResult:
    """The outcome of an optimizer step. `loss` is in nats a trainable token, `grad_norm` unclipped.

    Both are None if a watched loop does not expose them.
    """

    number: int
    loss: float | None
    grad_norm: float | None
    skipped: bool
    lr: float
    trainable_tokens: int
    seconds: float
    memory: StepMemory | None
    way: Literal["usual", "measured", "written"] = "usual"
    """Measured on a CPU, blocks run uncompiled, as in the step that measures what compiling
    them gains.
    """
    balance: float | None = None
    """The balance of the routers of a mixture of experts, where they are balanced; 1 is even."""


@dataclass(slots=True)
class State:
    """The position of a run, which `state.json` keeps beside the tensors."""

    step: int = 0
    tokens: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    """Without those that a smaller scale of the loss may still mend."""
    loss_scale: float = 0.0
    """The scale of the loss in fp16; 0 is none."""
    steady_steps: int = 0
    """Since the scale changed."""

    def advance(self, result: StepResult) -> None:
        """Count one finished step."""
        self.step = result.number
        self.tokens += result.trainable_tokens
        self.skipped += result.skipped
        hopeless = result.skipped and self.loss_scale <= 1
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if hopeless else 0
        if self.loss_scale:
            scale = next_scale(self.loss_scale, self.steady_steps, skipped=result.skipped)
            self.loss_scale, self.steady_steps = scale


class Observer(Protocol):
    """The functions that are called between steps: those of the recorder of the run."""

    def step_begins(self, number: int) -> None:
        """One optimizer step is about to be taken."""

    def step_done(self, state: State, result: StepResult) -> None:
        """One optimizer step is done."""

    def look(self, state: State) -> None:
        """Evaluate now: held-out losses, drift, at the ends also samples."""

    def keep(self, state: State) -> None:
        """Write a checkpoint now."""


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """The parts of an optimizer step.

    `autocast` is the precision of the forward pass, `saving` where the tensors saved for backward
    lie. `routers` are those of a mixture of experts that are trained to balance their load. `check`
    raises for weights that backward has not reached.
    """

    model: Any
    optimizer: StepOptimizer
    feed: Feed
    schedule: Schedule
    clip: float
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    saving: Callable[[], AbstractContextManager[Any]] = nullcontext
    loss: Callable[[Any, Batch], tuple[torch.Tensor, int]] = loss_sum
    penalty: Penalty = field(default_factory=Penalty)
    routers: Routers = field(default_factory=Routers)
    check: Callable[[Any, StepOptimizer], None] = field(default_factory=GradientCheck)
    world: World = field(default_factory=World)


@dataclass(frozen=True, slots=True)
class Training:
    """A step, and how often: what is called between steps, and what decides whether to go on."""

    step: TrainingStep
    state: State
    observer: Observer
    go_on: Callable[[], bool]
    intervals: Intervals
    measured_steps: frozenset[int] = frozenset()
    written_step: int = 0
    """The step that runs compiled blocks uncompiled, for comparison; 0 is none."""
    position: StepPosition = field(default_factory=StepPosition)


def train_step(
    step: TrainingStep, number: int, meter: Meter, scale: float = 0.0
) -> tuple[float, float, bool]:
    """θ ← AdamW(θ, ∇ mean loss over every trainable token of step `number` + ∇ penalties).

    `scale` is that of the loss in backward; 0 is none. Returns the loss, the gradient norm before
    clipping, and whether the step was skipped because that norm is not finite (then nothing has
    changed).
    """
    tokens = step.feed.trainable_tokens(number)  # over all micro-batches, before any forward
    loss = torch.zeros((), device=step.world.device)
    step.routers.begin(partial(step.feed.tokens, number))
    for batch in step.feed.step(number):  # this process's share of grad_accum × (B, T)
        batch = batch.to(step.world.device)
        with step.routers.watching(batch):
            with meter.phase("forward"), step.autocast(), step.saving():
                total, _ = step.world.run(step.loss, step.model, batch)
                part = total / tokens  # this micro-batch's share of the mean over the whole step
                objective = step.routers.add_loss(part)  # and of what spreads tokens over experts
            with meter.phase("backward"):
                (objective * scale if scale else objective).backward()
        loss += total.detach() / tokens
        del total, part, objective, batch  # or they would live on into the next forward
    step.check(step.model, step.optimizer)
    if scale:
        unscale(step.model.parameters(), scale)
    step.penalty.add_gradients(step.model)  # towards θ₀
    norm = step.world.norm(step.optimizer.norm(step.model.parameters()))
    loss = step.world.sum(loss)
    with meter.phase("optimizer_step"):
        lr = step.schedule.at(number)
        skipped = step.optimizer.step(lr, norm, step.clip)
        step.penalty.pull(step.model, lr, skipped)
    loss_value, norm_value, skip = torch.stack((loss, norm, skipped)).tolist()  # the only wait
    return loss_value, norm_value, bool(skip)


def train(training: Training) -> None:
    """Steps until the end or a request to stop, with evaluations and checkpoints between them.

    Raises `Diverged` after MOST_SKIPPED_IN_A_ROW steps in a row with non-finite gradients.
    """
    state, last = training.state, training.step.schedule.total_steps
    if state.step == 0:
        training.observer.look(state)
    saved_step = state.step
    while state.step < last and training.go_on():
        training.observer.step_begins(state.step + 1)
        result = timed_step(training, state.step + 1)
        state.advance(result)
        training.observer.step_done(state, result)
        if state.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise Diverged(
                f"the gradients of {state.skipped_in_a_row} steps in a row were not finite (last:"
                f" step {state.step}). Lower --lr (now {result.lr:.3g} at this step), or look at"
                " the rows of these steps; the last checkpoint is from before."
            )
        if training.intervals.evaluates(state.step):
            training.observer.look(state)
        if training.intervals.saves(state.step):
            training.observer.keep(state)
            saved_step = state.step
    if saved_step < state.step < last:  # stopped on request
        training.observer.keep(state)


def timed_step(training: Training, number: int) -> StepResult:
    """`train_step`, with its wall time and, on the chosen steps, its memory."""
    step = training.step
    started = time.perf_counter()
    wanted = number in training.measured_steps
    written = as_written(step.model) if number == training.written_step else nullcontext()
    with (
        written,
        measure_step(step.model, step.optimizer, step.world.device, wanted=wanted) as (
            meter,
            memory,
        ),
    ):
        look = partial(resident_bytes, meter, step.model, step.optimizer, step.world.device)
        meter = training.position.begin(number, meter, memory, look)
        loss, norm, skipped = train_step(step, number, meter, training.state.loss_scale)
    training.position.end()
    return StepResult(
        number=number,
        loss=loss,
        grad_norm=norm,
        skipped=skipped,
        lr=step.schedule.at(number),
        trainable_tokens=step.feed.trainable_tokens(number),
        seconds=time.perf_counter() - started,
        memory=memory,
        balance=step.routers.balance(step.world),
        way=_way(training, number, memory),
    )


def _way(
    training: Training, number: int, memory: StepMemory | None
) -> Literal["usual", "measured", "written"]:
    if memory is not None and memory.source == "tensors":
        return "measured"
    return "written" if number == training.written_step else "usual"
