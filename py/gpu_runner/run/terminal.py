"""What the terminal shows of a run: one live line, then a summary; plain lines in a pipe."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gpu_runner.address import find
from gpu_runner.data.dataset import GENERAL, TASK
from gpu_runner.installed import short
from gpu_runner.plan.data_report import describe_marks, describe_trained, format_near_answer
from gpu_runner.plan.intervals import describe_rule
from gpu_runner.plan.plan import RunPlan
from gpu_runner.run.recorder import Display
from gpu_runner.text import counted, printable, sentence, signed
from gpu_runner.train.evaluate import Score
from gpu_runner.train.loop import State, StepResult
from unfrozen.held_out import ExactMatch
from unfrozen.units import format_bytes, format_elapsed

LEVELS: Final = "▁▂▃▄▅▆▇█"
QUIET_SECONDS: Final = 10.0
"""Without a line in a pipe, after which one says what takes so long."""


class Terminal(Display):
    """Shows one run on `console`; use it as a context manager around the training loop.

    On a terminal the line is redrawn in place; otherwise (a file, a pipe) a line appears at every
    evaluation and for about every tenth of the steps.
    """

    def __init__(self, console: Console, steps: int, predicted_bytes: int) -> None:
        self.console = console
        self._steps = steps
        self._predicted = predicted_bytes
        self._paused_at: float | None = None
        self._paused_seconds = 0.0
        self._printed = time.monotonic()
        self._bar = Progress(
            BarColumn(bar_width=max(8, min(24, console.width - 72))),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            *([TextColumn("ETA")] if console.width >= 110 else []),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            get_time=self.working_seconds,
        )
        self._task = self._bar.add_task("starting", total=steps)
        self._shown = ""
        self.losses: list[float] = []
        """Training loss of every step of this attempt."""

    def __enter__(self) -> Terminal:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin(self, plan: RunPlan, run: str, step: int = 0) -> None:
        """Print what is trained, the id of the run, and after which `step` it resumes."""
        size = (
            f"{plan.shape.num_parameters:,} parameters, all trained," if plan.shape else "trained"
        )
        examples = counted(len(plan.train.examples), "example")
        if plan.feed.ranks > 1:
            examples += f", sharded over {plan.feed.ranks} processes"
        resumed = f" It resumes after step {step}." if step else ""
        self.say(f"{plan.source.name}: {size} on {examples}. This is run {run}.{resumed}")
        console = self.console
        example = format_near_answer(console, plan.encoder, plan.train, 0)
        if plan.train.template_rows:
            self.say(f"Trained: {describe_trained(plan.config, plan.train, plan.encoder)}.")
        console.print(
            Text.assemble(f"Example 1, {describe_marks(console)}: ", example), soft_wrap=True
        )
        runs = Path(plan.config.runs)
        self.say(f"Its log and checkpoints are in {short(runs / run)}.")
        if served := find(runs):
            self.say(f"Watch it at  {served.run(run)}")
        if rule := describe_rule(plan.config):
            self.say(f"{rule[0].upper()}{rule[1:]}.")

    def say(self, text: str) -> None:
        """Print one line that stays above the live one."""
        self._printed = time.monotonic()
        sentence(self.console, Text(printable(text)))

    def warn(self, text: str) -> None:
        """Print the same, marked as a warning."""
        sentence(self.console, Text.assemble(("Note: ", "bold yellow"), printable(text)))

    def busy(self, text: str) -> None:
        """Show what takes time instead of steps; in a pipe, where nothing was printed for long."""
        now = time.monotonic()
        if not self.console.is_terminal and now - self._printed > QUIET_SECONDS:
            self.say(f"{text} …")
        self._bar.update(self._task, description=f"{text} …  {self._shown}".rstrip())

    def hold(self, *, still: bool) -> None:
        """Stop the clock of the remaining time during a pause; or start it again."""
        if still:
            self._paused_at = time.monotonic()
            self.busy("paused")
        elif self._paused_at is not None:
            self._paused_seconds += time.monotonic() - self._paused_at
            self._paused_at = None
            self._bar.update(self._task, description=self._shown)

    def working_seconds(self) -> float:
        """Return the clock of the remaining time, which stands still in pauses."""
        return (self._paused_at or time.monotonic()) - self._paused_seconds

    def step(self, state: State, result: StepResult, measured_bytes: int) -> None:
        """Redraw the line with the newest step."""
        speed = result.trainable_tokens / result.seconds
        loss = math.nan if result.loss is None else result.loss
        self._shown = f"loss {loss:.3f}"
        self.losses.append(loss)
        numbers = f"{self._shown}  lr {result.lr:.1e}  {speed:,.0f} tok/s"
        short = self.console.is_terminal and self.console.width < 110
        line = f"{numbers}  {_memory(measured_bytes, self._predicted, short=short)}"
        self._bar.update(self._task, completed=state.step, description=line)
        every = max(1, self._steps // 10)
        if not self.console.is_terminal and state.step % every == 0:
            self.say(f"step {state.step}/{self._steps}  {line}")

    def scores(self, step: int, scores: list[Score], first: dict[str, float]) -> None:
        """Print an evaluation: task loss, the change of the others since step 0, exact match."""
        parts = []
        names = distinct(score.suite for score in scores)
        for score in (score for score in scores if score.suite in names):
            change = score.loss - first.get(score.suite, score.loss)
            name = score.suite.removeprefix("general/")
            is_task = score.suite == "task"
            shown = f"{score.loss:.3f}" if is_task or step == 0 else signed(change)
            parts.append(f"{name} {shown}" + (f" ({signed(change)})" if is_task and step else ""))
        self.say(f"step {step}/{self._steps}  held-out loss: " + ", ".join(parts))
        apart = [
            f"{s.suite} {s.kl:.3g}"
            for s in scores
            if s.kl is not None and s.suite in (TASK, GENERAL)
        ]
        if apart and step:
            self.say(f"step {step}/{self._steps}  KL from θ₀: " + ", ".join(apart))
        exact = [(s.suite.removeprefix("general/"), s.exact) for s in scores if s.suite in names]
        answered = [f"{name} {e.right}/{sum(e)}{_unstopped(e)}" for name, e in exact if e]
        if answered:
            self.say(f"step {step}/{self._steps}  exact match: " + ", ".join(answered))


def _unstopped(exact: ExactMatch) -> str:
    return f" (+{exact.does_not_stop} that do not stop)" if exact.does_not_stop else ""


def distinct(suites: Iterable[str]) -> list[str]:
    """Return the suites without the mean of the general ones where there is only one of them."""
    names = list(suites)
    members = [name for name in names if name.startswith(f"{GENERAL}/")]
    return [name for name in names if name != GENERAL or len(members) != 1]


def _memory(measured_bytes: int, predicted_bytes: int, *, short: bool) -> str:
    """Return measured and predicted peak: "memory 2.65 GiB of 2.67 GiB predicted"."""
    if not measured_bytes:
        return ""
    measured, predicted = format_bytes(measured_bytes), format_bytes(predicted_bytes)
    if short:
        return f"{measured} / {predicted}" if predicted_bytes else measured
    return f"memory {measured}" + (f" of {predicted} predicted" if predicted_bytes else "")


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The end of a run, for a person; its numbers are those of the `run.end` event."""

    headline: str
    losses: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Suite → (loss at step 0, loss now)."""
    exact: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Suite with short answers → its rows by answer, "before" and "after"."""
    drift: float = 0.0
    training: list[float] = field(default_factory=list)
    """Training loss of each step of this attempt."""
    predicted_bytes: int = 0
    measured_bytes: int = 0
    seconds: float = 0.0
    cost: str = ""
    """In a sentence, where a price was given."""
    samples: list[list[str]] = field(default_factory=list)
    next_steps: list[str] = field(default_factory=list)


def show_summary(console: Console, summary: RunSummary) -> None:
    """Print losses before and after, memory, time, samples, and what to do next."""
    console.print()
    console.print(Text(printable(summary.headline), style="bold"), soft_wrap=True)
    if summary.losses:
        console.print(_losses(summary.losses, summary.exact))
    if curve := sparkline(summary.training):
        ends = f"{summary.training[0]:.3f} → {summary.training[-1]:.3f}"
        console.print(Text.assemble(("training loss  ", "dim"), f"{curve}  {ends}"), soft_wrap=True)
    facts = []
    if summary.drift:
        moved = f"{summary.drift:.2%}" if summary.drift >= 1e-4 else "less than 0.01%"
        facts.append(f"The weights moved by {moved} of their norm.")
    if summary.measured_bytes:
        facts.append(_memory_fact(summary))
    facts.append(f"It took {format_elapsed(summary.seconds)}.")
    facts += [summary.cost] if summary.cost else []
    sentence(console, Text(" ".join(facts)))
    if summary.samples:
        console.print(_samples(summary.samples))
    for text in summary.next_steps:
        console.print(Text(printable(text)), soft_wrap=True)


def sparkline(values: list[float], width: int = 40) -> str:
    """Return the course of `values` in at most `width` characters; "" for fewer than two.

    Each character is the mean of its stretch, between the lowest and the highest of them.
    """
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    count = min(width, len(finite))
    edges = [round(index * len(finite) / count) for index in range(count + 1)]
    means = [statistics.fmean(finite[a:b]) for a, b in pairwise(edges)]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(LEVELS[round((mean - low) / span * (len(LEVELS) - 1))] for mean in means)


def _losses(
    losses: dict[str, tuple[float, float]], exact: dict[str, dict[str, dict[str, Any]]]
) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("held-out loss")
    for name in ("before", "after", "change", *(("exact before", "exact after") if exact else ())):
        table.add_column(name, justify="right")
    for suite, (before, after) in losses.items():
        change = after - before
        style = "green" if change < 0 else "red" if change > 0.005 else ""
        answers = exact.get(suite, {}).values()
        table.add_row(
            Text(printable(suite)),
            f"{before:.3f}",
            f"{after:.3f}",
            Text(signed(change), style=style),
            *(f"{rows['right']}/{rows['of']}" for rows in answers),
        )
    return table


def _samples(samples: list[list[str]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("prompt", "before", "after"):
        table.add_column(name, overflow="fold")
    for texts in samples:
        table.add_row(*(Text(_one_line(text)) for text in texts))
    return table


def _memory_fact(summary: RunSummary) -> str:
    measured, predicted = summary.measured_bytes, summary.predicted_bytes
    if not predicted:
        return f"Peak memory {format_bytes(measured)}."
    return (
        f"Peak memory {format_bytes(measured)} measured, {format_bytes(predicted)} predicted"
        f" ({measured / predicted:.2f}×)."
    )


def _one_line(text: str) -> str:
    shown = printable(" ".join(text.split())) or "(nothing)"
    return shown if len(shown) <= 160 else shown[:159] + "…"
