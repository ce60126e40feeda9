"""A full fine-tune of the demo model in numpy, as a stream of events like the runner's.

The events are those of `unfrozen.events`, so that the page shows this run by the code that follows
a runner's. The same seed takes the same rows in the same order to the same loss. Between any two
pieces of work whoever iterates may stop: a piece is half a step, a few scored rows, one answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from unfrozen.events import VERSION
from unfrozen.held_out import ExactMatch, fingerprint, together
from unfrozen.lab.answers import NOTHING, RowScore, generate, score
from unfrozen.lab.choices import Choices
from unfrozen.lab.demo import GENERAL, TASK, Demo
from unfrozen.lab.llama import NullMeter
from unfrozen.lab.memory import (
    Components,
    MemoryMeter,
    find_heaviest_step,
    predict_instants,
    step_recipe,
)
from unfrozen.lab.step import Result, Trainer
from unfrozen.memory.instants import peak
from unfrozen.memory.states import state_bytes

Event = dict[str, Any]
SKIPPED_IN_A_ROW: Final = 5
DIVERGED_AT: Final = 3.0  # times the first loss, and more than guessing costs, …
DIVERGED_FOR: Final = 5  # … so many steps in a row
BEAT_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 60.0


class ClockFunctions(NamedTuple):
    """Where time comes from: Unix seconds, and seconds that only grow."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]


@dataclass(frozen=True)
class Place:
    """Where a run takes place, for its first event."""

    name: str = "page"
    versions: Mapping[str, str] | None = None
    hardware: Mapping[str, Any] | None = None


class FineTune:
    """One run: iterating `events()` does the work; `trainer.weights` are the current θ."""

    def __init__(
        self, demo: Demo, choices: Choices, clock: ClockFunctions, place: Place | None = None
    ) -> None:
        self.trainer = Trainer(demo, choices)
        self.status = "running"
        self.losses: dict[str, list[float]] = {}
        """By suite: before, and as it was last scored."""
        self.exact: dict[str, list[ExactMatch]] = {}
        """The same, of rows by how they are answered."""
        self._demo, self.choices, self._clock = demo, choices, clock
        self._place = place or Place()
        self._began = clock.monotonic()
        self._beaten = -math.inf
        self._sequence = 0
        self._stopping = False
        self._tokens = self._skipped = self._in_a_row = self._high = 0
        self.step = 0
        self._bound = math.nan  # a loss above it, several times, and the run has diverged
        self._drift = 0.0
        self._measured: dict[str, int] = {}
        self._heaviest, self._shape = find_heaviest_step(demo.config, self._sizes())
        self._predicted = predict_instants(demo.config, self._shape)

    def stop(self) -> None:
        """End after the piece of work that is on; the events then say so."""
        self._stopping = True

    def events(self) -> Iterator[Event | None]:
        """Yield the events of the run in order; None after a piece of work without an event."""
        pieces = self._pieces()
        while self.status == "running" and not self._stopping:
            with np.errstate(all="ignore"):  # values that are not finite are reported as text
                event = next(pieces, None)
            yield event
        if self.status == "running":
            pieces.close()  # a step that was being measured is given up
            self.status = "stopped"
            yield self._end(
                f"the page asked for it after {self.step} of {self.choices.steps} steps"
            )

    def _pieces(self) -> Generator[Event | None]:
        yield self._event("run.start", **self._start())
        yield from self._look()
        if self.choices.ewc:
            yield from self.trainer.estimate_fisher()
        yield from self._samples("before")
        status, reason = yield from self._train()
        yield from self._samples("after")
        self.status = status
        yield self._end(reason)

    def _train(self) -> Generator[Event | None, None, tuple[str, str]]:
        """Take all steps; return the status and why the run ended."""
        last = self.choices.steps
        for number in range(1, last + 1):
            yield from self._one(number)
            if why := self._diverged():
                yield from self._look()
                return "failed", why
            if number % self.choices.eval_every == 0 or number == last:
                yield from self._look()
        return "finished", f"all {last} steps are done" if last else "no step was asked for"

    def _one(self, number: int) -> Iterator[Event | None]:
        started = self._clock.monotonic()
        measures = number in (1, 2, self._heaviest)
        meter = MemoryMeter(self.trainer.states) if measures else NullMeter()
        with meter.step() if isinstance(meter, MemoryMeter) else nullcontext():
            result = yield from self.trainer.step(number, meter)
        self.step = number
        if isinstance(meter, MemoryMeter):
            yield from self._memory(meter)
        yield self._metrics(number, result, self._clock.monotonic() - started)
        yield from self._beat(BEAT_SECONDS)

    def _metrics(self, number: int, result: Result, seconds: float) -> Event:
        trained = sum(row.trained_tokens for row in self.trainer.rows_of(number))
        self._tokens += trained
        self._skipped += result.skipped
        self._in_a_row = self._in_a_row + 1 if result.skipped else 0
        if number == 1:
            guessing = math.log(self._demo.config.architecture.vocab)
            self._bound = max(DIVERGED_AT * result.loss, guessing)
        too_high = not result.loss < self._bound
        self._high = self._high + 1 if too_high else 0
        self._last = result
        rate = self.trainer.schedule.at(number)
        m = {
            "train/loss": result.loss,
            "train/grad_norm": result.grad_norm,
            "train/tokens": self._tokens,
            "train/skipped": self._skipped,
            "opt/lr": 0.0 if result.skipped else rate,
            "opt/lr_planned": rate,
            "perf/step_seconds": round(seconds, 6),
            "perf/tokens_per_second": round(trained / max(seconds, 1e-9), 3),
            "mem/peak_bytes": max(self._measured.values(), default=0),
        }
        return self._event("metrics", m=m)

    def _diverged(self) -> str:
        """Return why training cannot go on; an empty text while it can."""
        lower = f"Lower the rate, which is {self.choices.lr:g} at its peak."
        if self._in_a_row >= SKIPPED_IN_A_ROW:
            return f"the gradients of {self._in_a_row} steps in a row were not finite. {lower}"
        if self._high >= DIVERGED_FOR:
            loss = f"{self._last.loss:,.3g} nats" if math.isfinite(self._last.loss) else "infinite"
            return (
                f"it diverged: for {self._high} steps the loss was over {self._bound:.3g} nats,"
                f" and is {loss} now. {lower}"
            )
        return ""

    # --- what it looks at -----------------------------------------------------------------------
    def _look(self) -> Iterator[Event | None]:
        """Score every held-out set, then the drift."""
        yield from self._beat(PATIENCE_SECONDS, force=True)
        general, skills = NOTHING, list[str]()
        for suite, every in self._demo.suites.items():
            found, rows = NOTHING, every[: self.choices.eval_rows]
            for part in score(self._demo.model, self.trainer.weights, rows):
                found += part
                yield None
            examples = fingerprint((row.ids, row.trained) for row in rows)
            if suite != TASK:
                general += found
                skills.append(examples)
            yield self._score(suite, found, examples)
        yield self._score(GENERAL, general, together(skills))
        layers, self._drift = self.trainer.drift()
        now = {f"eval/{suite}_loss": self.losses[suite][1] for suite in (TASK, GENERAL)}
        yield self._event("metrics", m={"drift/total": self._drift} | now)
        yield self._event("drift", layers=layers, total=self._drift)

    def _score(self, suite: str, found: RowScore, examples: str) -> Event:
        before = self.losses.setdefault(suite, [found.loss, found.loss])
        before[1] = found.loss
        exact = self.exact.setdefault(suite, [found.exact, found.exact])
        exact[1] = found.exact
        parts = {"loss": found.loss, "delta": found.loss - before[0], "baseline": before[0]}
        counts = {"tokens": found.tokens, "exact": found.exact.as_json(), "examples": examples}
        return self._event("eval", suite=suite, **parts, **counts)

    def _samples(self, when: str) -> Iterator[Event]:
        if not self.choices.sample_tokens:
            return
        demo, weights, tokens = self._demo, self.trainer.weights, self.choices.sample_tokens
        for row in demo.sampled_rows(self.choices.seed):
            written = generate(demo.model, weights, demo.tokenizer, row.prompt, tokens)
            yield self._event("sample", prompt=row.prompt, text=written.text, when=when)

    def _memory(self, meter: MemoryMeter) -> Iterator[Event]:
        """Yield the instants that reached a new maximum."""
        for instant, components in meter.instants.items():
            total = sum(components.values())
            if total <= self._measured.get(instant, 0):
                continue
            self._measured[instant] = total
            nonzero: Components = {name: size for name, size in components.items() if size}
            parts = {"instant": instant, "components": nonzero, "total_bytes": total}
            yield self._event("mem", **parts, source="numpy")

    def _beat(self, expected_in: float, *, force: bool = False) -> Iterator[Event]:
        now = self._clock.monotonic()
        if force or now - self._beaten >= BEAT_SECONDS:
            self._beaten = now
            yield self._event("beat", expect_next_in=expected_in)

    # --- its first and last words ---------------------------------------------------------------
    def _start(self) -> Event:
        instant, size = peak(self._predicted)
        config, steps = self._demo.config, self.choices.steps
        held = sum(state_bytes(config, step_recipe(1)).values())
        suites = self._demo.suites
        rates = self.trainer.schedule.planned()[:steps]
        return {
            "config": {"model": "demo", "data": "demo"} | self.choices.as_json(),
            "versions": dict(self._place.versions or {}),
            "hardware": {"device": "browser", "processes": 1} | dict(self._place.hardware or {}),
            "model": {
                "name": "demo",
                "num_parameters": config.num_parameters,
                "layers": config.architecture.layers,
            },
            "data": {
                "train_rows": len(self.trainer.rows),
                "train_tokens": sum(len(row.ids) for row in self.trainer.rows),
                "trainable_tokens": sum(row.trained_tokens for row in self.trainer.rows),
                "eval_rows": min(self.choices.eval_rows, len(suites[TASK])),
            },
            "recipe": step_recipe(self._shape.tokens).as_json() | {"lr": self.choices.lr},
            "plan": {"steps": steps, "lr": rates, "lr_steps": list(range(1, len(rates) + 1))},
            "bytes_per_parameter": round(held / config.num_parameters),
            "predicted": {
                "peak_instant": instant,
                "peak_bytes": size,
                "instants": self._predicted,
            },
        }

    def _end(self, reason: str) -> Event:
        return self._event("run.end", status=self.status, reason=reason, summary=self._summary())

    def _summary(self) -> Event:
        predicted_peak = peak(self._predicted)[1]
        measured_peak = max(self._measured.values(), default=0)
        return {
            "steps": self.step,
            "tokens": self._tokens,
            "skipped": self._skipped,
            "seconds": round(self._clock.monotonic() - self._began, 3),
            "losses": self.losses,
            "exact": {
                suite: {"before": before.as_json(), "after": after.as_json()}
                for suite, (before, after) in self.exact.items()
            },
            "drift": self._drift,
            "predicted_peak_bytes": predicted_peak,
            "measured_peak_bytes": measured_peak,
            "memory_ratio": measured_peak / predicted_peak,
        }

    def _event(self, kind: str, **payload: object) -> Event:
        event = {
            "v": VERSION,
            "run": self._place.name,
            "seq": self._sequence,
            "att": 0,
            "t": round(self._clock.wall(), 3),
            "rt": round(self._clock.monotonic() - self._began, 3),
            "kind": kind,
            "step": self.step,
            **payload,
        }
        self._sequence += 1
        return event

    def _sizes(self) -> list[tuple[int, int]]:
        """Return the tokens, and the trained tokens, of every step."""
        steps = range(1, max(1, self.choices.steps) + 1)
        rows = (self.trainer.rows_of(number) for number in steps)
        return [(sum(len(r.ids) for r in s), sum(r.trained_tokens for r in s)) for s in rows]
