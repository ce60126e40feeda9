"""One step of a fine-tune in the lab: its rows, gradients, penalties and update."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np

from unfrozen.lab import optimizer
from unfrozen.lab.choices import Choices
from unfrozen.lab.demo import Demo, EncodedRow, documents
from unfrozen.lab.llama import NullMeter, Weights
from unfrozen.parameter_groups import layer_of
from unfrozen.schedules import Schedule
from unfrozen.training_data import replayed, spread, step_rows


class Result(NamedTuple):
    """What a step did: loss in nats a trained token, the norm before clipping."""

    loss: float
    grad_norm: float
    skipped: bool


class Trainer:
    """The weights θ of one fine-tune, with data, schedule and optimizer."""

    def __init__(self, demo: Demo, choices: Choices) -> None:
        self.demo, self.choices = demo, choices
        self.weights: Weights = {name: array.copy() for name, array in demo.start.items()}
        self.rows = training_rows(demo, choices)
        steps = max(1, choices.steps)
        self.schedule = Schedule(
            "cosine",
            steps,
            choices.lr,
            min(choices.warmup, steps),
            floor=choices.lr * choices.floor_ratio,
        )
        self._fisher: Weights = {}
        self._optimizer = optimizer.ArrayAdamW(
            choices.lr,
            weight_decay=choices.weight_decay,
            undecayed=frozenset(name for name, array in self.weights.items() if array.ndim < 2),
        )

    def rows_of(self, number: int) -> list[EncodedRow]:
        """Return the rows of step `number` (1, 2, …)."""
        c = self.choices
        return [self.rows[i] for i in step_rows(number, c.rows_per_step, len(self.rows), c.seed)]

    def states(self) -> dict[str, Weights]:
        """Return the arrays that outlive a step, by component."""
        states = {"first": self._optimizer.first, "second": self._optimizer.second}
        moments = {f"{order} {n}": a for order, arrays in states.items() for n, a in arrays.items()}
        return {"params": self.weights, "moments": moments}

    def step(self, number: int, meter: NullMeter) -> Generator[None, None, Result]:
        """Take the step θ ← AdamW(θ, ∇ mean loss over the step's trained tokens + ∇ penalties).

        Yields between backward and update. Gradients that are not finite change nothing.
        """
        packed = documents(self.rows_of(number))
        loss, gradients = self.demo.model.gradients(self.weights, packed, meter)
        yield
        self.add_penalties(gradients)
        length = optimizer.gradient_norm(gradients)
        finite = math.isfinite(length)
        if finite:
            clip = self.choices.clip
            if 0 < clip < length:
                for gradient in gradients.values():
                    gradient /= np.float32(length / clip)
            with meter.phase("optimizer_step"):
                meter.record_peak(grads=sum(gradient.nbytes for gradient in gradients.values()))
                self._optimizer.move(self.weights, gradients, self.schedule.at(number))
        return Result(loss, length, not finite)

    def add_penalties(self, gradients: Weights) -> None:
        """Add penalties one tensor at a time, so that temporaries stay small."""
        l2sp, ewc, start = self.choices.l2sp, self.choices.ewc, self.demo.start
        for name, gradient in gradients.items():
            one = {name: self.weights[name]}
            if l2sp:
                gradient += optimizer.l2sp_gradients(one, start, l2sp)[name]
            if ewc:
                gradient += optimizer.ewc_gradients(one, start, self._fisher, ewc)[name]

    def estimate_fisher(self) -> Iterator[None]:
        """Fill in what EWC needs, a row of the earlier ones at a time."""
        earlier = self.demo.earlier
        chosen = spread(len(earlier), self.choices.fisher_rows)
        squares = {name: np.zeros_like(array) for name, array in self.demo.start.items()}
        for index in chosen:
            _, found = self.demo.model.gradients(self.demo.start, documents([earlier[index]]))
            for name, gradient in found.items():
                squares[name] += np.square(gradient, out=gradient)
            yield
        self._fisher = optimizer.scaled_fisher(squares)

    def drift(self) -> tuple[dict[str, float], float]:
        """Return ‖θ − θ₀‖ / ‖θ₀‖ by layer, and over all weights."""
        names: dict[str, list[str]] = {}
        for name in sorted(self.weights):
            names.setdefault(layer_of(name), []).append(name)
        start = self.demo.start
        layers = {
            layer: optimizer.drift({n: self.weights[n] for n in of}, {n: start[n] for n in of})
            for layer, of in names.items()
        }
        return layers, optimizer.drift(self.weights, start)


def training_rows(demo: Demo, choices: Choices) -> tuple[EncodedRow, ...]:
    """Return the task's rows and the replayed ones; a share of 1 replays only."""
    share = choices.replay_share
    if share == 0:
        return demo.train
    if share == 1:
        return demo.earlier
    lengths = [len(row.ids) for row in demo.earlier]
    taken = replayed(sum(len(row.ids) for row in demo.train), lengths, share, choices.seed)
    return demo.train + tuple(demo.earlier[index] for index in taken)
