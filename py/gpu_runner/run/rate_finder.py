"""A learning rate by a sweep of short runs over the plane of task and general sets.

Each rate is an ordinary run, which the page lists and compares. Chosen is the rate that learned the
task best among those whose general sets are as they were at step 0, within the noise of their
examples. A rate whose run is finished, with all other settings the same, is not run again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpu_runner.config.schema import RANGES, TrainConfig
from gpu_runner.data.dataset import GENERAL, TASK
from gpu_runner.errors import CheckpointError, Diverged, UsageError
from gpu_runner.log.runs import RunIndex
from gpu_runner.log.tail import last_event
from gpu_runner.log.writer import SystemClock
from gpu_runner.plan.data_report import show_reading
from gpu_runner.plan.plan import RunPlan, make_plan
from gpu_runner.plan.report import whole_seconds
from gpu_runner.run.directory import FINISHED, read_config
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.model_card import LoggedRun
from gpu_runner.text import counted, printable, sentence, with_interval
from gpu_runner.train.evaluate import Score, change_of, describe_score, format_score, has_answers
from unfrozen.units import format_bytes, format_elapsed

FACTORS: Final = tuple(10 ** (power / 2) for power in range(-2, 3))
"""The rates of a sweep, by that of the recipe."""
BOUNDS: Final = (2, 16)
STEPS: Final = 50
"""The steps of each run, where none are given."""
_FREE: Final = frozenset({"runs", "out", "price", "currency", "trust_remote_code"})
_FITTED: Final = frozenset({"micro_batch", "grad_accum"})


def read_rates(text: str | None, lr: float) -> tuple[float, ...]:
    """Return the rates of a list such as "1e-5,3e-5", ascending; without one, five around `lr`.

    Raises `UsageError` for what is no rate, or too few or too many.
    """
    if text is None:
        return tuple(float(f"{lr * factor:.3g}") for factor in FACTORS)
    low, high = RANGES["lr"]
    found = set()
    for word in text.split(","):
        try:
            rate = float(word)
        except ValueError:
            rate = math.nan
        if not low <= rate <= high:
            raise UsageError(
                f"--lrs {text}: {word.strip()!r} is no rate: give numbers from {low:g} to"
                f" {high:g}, with commas between."
            )
        found.add(rate)
    fewest, most = BOUNDS
    if not fewest <= len(found) <= most:
        raise UsageError(f"--lrs {text}: give {fewest} to {most} different rates.")
    return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class RateScore:
    """One rate: its run, and how its held-out sets score at step 0 and at the end.

    A run that diverged has no end.
    """

    lr: float
    run: Path
    before: tuple[Score, ...]
    after: tuple[Score, ...]

    def score(self, suite: str) -> Score | None:
        """Return the score of a set at the end; None where there is none."""
        return next((one for one in self.after if one.suite == suite), None)

    @property
    def keeps(self) -> bool:
        """Whether the general sets are no worse than at step 0, within the noise."""
        change = change_of(self.before, self.after, GENERAL)
        if change is not None:
            return change.high >= 0 if has_answers(self.after, GENERAL) else change.low <= 0
        start = next((one.loss for one in self.before if one.suite == GENERAL), math.inf)
        end = self.score(GENERAL)
        return end is None or end.loss <= start

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data; changes are from step 0."""
        sets = {one.suite: describe_score(one, self.before, self.after) for one in self.after}
        return {
            "lr": self.lr,
            "run": self.run.name,
            "diverged": not self.after,
            "keeps": bool(self.after) and self.keeps,
            "sets": sets,
        }


@dataclass(frozen=True, slots=True)
class RateSweep:
    """The rates that were run, the chosen one and why; none where no rate is good."""

    rates: tuple[RateScore, ...]
    lr: float | None
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"rates": [one.as_json() for one in self.rates], "lr": self.lr, "why": self.reason}


def find_rate(
    config: TrainConfig, rates: Sequence[float], console: Console, said: Callable[[str], None]
) -> RateSweep | None:
    """Run what is not run yet, and choose; None where a run was stopped: call it again to go on.

    `said` is told what it will cost, before the first run. Raises a `RunnerError`.
    """
    runs = Path(config.runs).expanduser()
    configs = [replace(config, lr=rate) for rate in rates]
    found = {one.lr: run for one in configs if (run := _finished(runs, one)) is not None}
    missing = [one for one in configs if one.lr not in found]
    if missing:
        with show_reading(console) as progress:
            plan = make_plan(missing[0], progress=progress)
        said(describe_cost(plan, len(missing), len(found)))
    for one in missing:
        run = _train(runs, one, console)
        if run is None:
            return None
        found[one.lr] = run
    scores = tuple(_scored(rate, found[rate]) for rate in rates)
    return RateSweep(scores, *choose(scores))


def describe_cost(plan: RunPlan, runs: int, done: int) -> str:
    """Say how long the runs will take and what they leave on the disk."""
    seconds = whole_seconds(plan)
    long = "an unknown time" if seconds is None else f"about {format_elapsed(runs * seconds)}"
    earlier = f" {counted(done, 'rate')} ran before." if done else ""
    take = "takes" if runs == 1 else "take"
    return (
        f"{counted(runs, 'run')} of {plan.steps} steps {take} {long} and up to"
        f" {format_bytes(runs * plan.disk_bytes)} of disk.{earlier}"
    )


def _finished(runs: Path, config: TrainConfig) -> Path | None:
    """Return the newest run of these settings that is over: finished, or diverged."""
    wanted = _plain(config.anchored())
    free = _FREE | _FITTED if config.auto_micro_batch else _FREE
    for name, log in sorted(RunIndex(runs, SystemClock()).logs().items(), reverse=True):
        with suppress(CheckpointError):
            has = _plain(read_config(log.parent))
            same = all(
                has.get(k) == v for k, v in wanted.items() if k not in free and v is not None
            )
            if same and ((log.parent / FINISHED).exists() or _diverged(log)):
                return runs / name
    return None


def _plain(config: TrainConfig) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(config.as_json()))
    return found


def _diverged(log: Path) -> bool:
    last = last_event(log)
    return last is not None and last.get("reason", "").startswith("it diverged")


def _train(runs: Path, config: TrainConfig, console: Console) -> Path | None:
    """Train one rate and return its run; None where it was stopped."""
    sentence(console, Text(f"Learning rate {config.lr:g}", "bold"))
    with suppress(Diverged):
        fine_tune(config, console)
    return _finished(runs, config)


def _scored(rate: float, run: Path) -> RateScore:
    logged = LoggedRun.read(run)
    before = tuple(logged.scores.get(0, {}).values())
    if not (run / FINISHED).exists():
        return RateScore(rate, run, before, ())
    return RateScore(rate, run, before, logged.scores_of(max(logged.scores), logged.task_loss))


def choose(rates: Sequence[RateScore]) -> tuple[float | None, str]:
    """Return the chosen rate and why; None where no rate is good."""
    ended = [one for one in rates if one.score(TASK) is not None]
    if not ended:
        return None, "no run has an end on held-out examples of its task: give lower --lrs"
    if len({tuple(score.examples for score in one.after) for one in ended}) > 1:
        return None, (
            "the rates were scored on different examples: their data changed between the runs."
            " Delete the older ones, and call it again"
        )
    kept = [one for one in ended if one.keeps]
    if not kept:
        least = min(ended, key=_lost)
        return None, (
            "every rate lost more on the general sets than the noise of their examples;"
            f" {least.lr:g} lost least. Give lower --lrs, or train with replay"
        )
    best = min(kept, key=_rank)
    among = f"of {counted(len(kept), 'rate')} that kept the general sets within their noise"
    learned = "" if best is min(ended, key=_rank) else "; higher ones learned more and lost more"
    return best.lr, f"{among} it learned the task best{learned}"


def _rank(one: RateScore) -> tuple[float, float]:
    """Return what orders rates by the task: less is better."""
    task = one.score(TASK)
    assert task is not None
    share = task.exact.right / sum(task.exact) if task.exact else 0.0
    return -share, task.loss


def _lost(one: RateScore) -> float:
    change = change_of(one.before, one.after, GENERAL)
    if change is None:
        return math.inf
    return -change.mean if has_answers(one.after, GENERAL) else change.mean


def show_rates(console: Console, found: RateSweep) -> None:
    """Print a line a rate, and what was chosen."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("rate", "task", "general", "general since step 0", "run"):
        table.add_column(column)
    for one in found.rates:
        style = "bold" if one.lr == found.lr else ""
        table.add_row(f"{one.lr:g}", *_cells(one), one.run.name, style=style)
    console.print(table)
    chosen = "No rate is chosen" if found.lr is None else f"{found.lr:g} is chosen"
    sentence(console, Text(printable(f"{chosen}: {found.reason}.")))


def _cells(one: RateScore) -> Iterator[str]:
    if not one.after:
        yield from ("diverged", "", "")
        return
    for suite in (TASK, GENERAL):
        score = one.score(suite)
        yield format_score(score) if score else ""
    change = change_of(one.before, one.after, GENERAL)
    shown = with_interval(change.mean, change, "+") if change else ""
    yield f"{shown}  {'kept' if one.keeps else 'lost'}" if one.score(GENERAL) else ""
