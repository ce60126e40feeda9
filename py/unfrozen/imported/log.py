"""A run of another tool as the lines of an events.jsonl, checked like our own."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from unfrozen.events import OTHER, VERSION, RunStatus, line
from unfrozen.imported.points import LAST_STEP, Attempt, Points, first_step, moments
from unfrozen.imported.sanitize import fit_values, text
from unfrozen.imported.tools import TOOLS, assign_series, describe_losses, list_missing

IMPORTED: Final = "imported"
_CONFIG_MOST: Final = 8 * 1024
_SUMMARY_MOST: Final = 4 * 1024
_METRICS_MOST: Final = 8 * 1024  # characters of one event: half of what our writer allows a line
_NAMES_SHOWN: Final = 12
_LATEST: Final = 1e11  # seconds, as `unfrozen.schema` bounds them


@dataclass(slots=True)
class ForeignRun:
    """A run as a file of another tool describes it."""

    tool: str
    """A key of `TOOLS`."""
    points: Points
    digest: str
    """SHA-256 of the file, or of all of them in their order."""
    name: str = ""
    steps: int = 0
    """How many were planned; 0 where it does not say."""
    last_step: int = 0
    status: RunStatus = "stopped"
    reason: str = ""
    runtime: float = 0.0
    """Seconds from start to end, where it says so and dates nothing."""
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    """What was passed over or is damaged, one sentence each."""

    @property
    def id(self) -> str:
        """The same for the same content, wherever it lies."""
        return f"{self.tool}-{self.digest[:12]}"


def lines(run: ForeignRun, name: str = "", written: float = 0.0) -> Iterator[str]:
    """Yield the lines of the run's log.

    `name`: what a reader calls it, else as the file does. `written`: Unix seconds of the file's
    last change, for a log that dates nothing.
    """
    return _Log(run, name, written).lines()


class _Log:
    """A log being written: the common fields of events, and the first loss of each suite."""

    def __init__(self, run: ForeignRun, name: str, written: float) -> None:
        self.run, self.places = run, assign_series(run.points.names)
        self.name = text(name or run.name or TOOLS[run.tool].label, 200)
        self.seq, self.attempt = -1, 0
        begun = min(filter(_is_date, _dates(run.points.attempts)), default=0.0)
        self.timed = begun > 0
        self.latest = written if _is_date(written) else 0.0
        self.time = begun or max(0.0, self.latest - run.runtime)
        self.first: dict[str, tuple[int, float]] = {}

    def lines(self) -> Iterator[str]:
        yield self._line("run.start", 0, **self._start())
        if not self.timed:
            self.time = self.latest
        for words in self._notes():
            yield self._line("alert", 0, level="info", text=words)
        for attempt in self.run.points.attempts:
            if attempt is not self.run.points.attempts[0]:
                yield self._resume(attempt)
            yield from self._steps(attempt)
        yield self._line("run.end", min(self.run.last_step, LAST_STEP), **self._end())

    def _line(self, kind: str, step: int, **more: Any) -> str:
        self.seq += 1
        head = {"v": VERSION, "run": self.run.id, "seq": self.seq, "att": self.attempt}
        return line({**head, "t": round(self.time, 3), "kind": kind, "step": step, **more})

    def _start(self) -> dict[str, Any]:
        run, tool = self.run, TOOLS[self.run.tool]
        has = {f"eval/{p.name}" if p.kind == "eval" else p.name for p in self.places.values()}
        config, self.unkept = fit_values(run.config, _CONFIG_MOST)
        return {
            "source": IMPORTED,
            "tool": tool.label,
            "model": {"name": self.name},
            "config": config,
            "plan": {"steps": run.steps},
            "meanings": describe_losses(run.tool, has),
            "lacks": list_missing(has, timed=self.timed),
        }

    def _notes(self) -> Iterator[str]:
        tool, points = TOOLS[self.run.tool], self.run.points
        yield f"Imported from {tool.label}, {tool.log}: {points.count:,} numbers"
        yield from (text(note) for note in self.run.notes)
        left = [name for name, place in self.places.items() if place.kind == "left"]
        if left:
            yield f"Left out, as no curves of a run: {_named(left)}"
        others = [p.name for p in self.places.values() if p.name.startswith(OTHER)]
        if others:
            yield f"Kept under their own names, as nothing here has their meaning: {_named(others)}"
        if self.unkept:
            yield f"Of the configuration, too large for the log: {_named(self.unkept)}"
        for reason, count in points.left.items():
            yield f"{count:,} numbers were not taken: those {reason}"
        if (again := len(points.attempts) - 1) > 0:
            times = "once" if again == 1 else f"{again} times"
            yield f"Steps went back {times}: read as a run that was started again from there"

    def _resume(self, attempt: Attempt) -> str:
        """Return the event of another attempt, which begins before its first step."""
        before = max(0, first_step(attempt) - 1)
        self.attempt += 1
        self.first = {s: at for s, at in self.first.items() if at[0] <= before}
        self.time = min(filter(_is_date, _dates([attempt])), default=self.time)
        return self._line("run.resume", before, from_step=before)

    def _steps(self, attempt: Attempt) -> Iterator[str]:
        for step, time, values in moments(attempt):
            if _is_date(time):
                self.time = time
            metrics: dict[str, float] = {}
            room = _METRICS_MOST
            for name, value in values.items():
                place = self.places[name]
                if place.kind != "metric":
                    continue
                room -= len(json.dumps(place.name)) + 26  # a double has 24 characters at most
                if room < 0:
                    yield self._line("metrics", step, m=metrics)
                    metrics, room = {}, _METRICS_MOST
                metrics[place.name] = value
            if metrics:
                yield self._line("metrics", step, m=metrics)
            yield from self._scores(step, values)

    def _scores(self, step: int, values: Mapping[str, float]) -> Iterator[str]:
        """Yield evaluations of a step; the first of a suite is what its change is counted from."""
        scores = ((self.places[name], loss) for name, loss in values.items())
        for suite, loss in ((p.name, loss) for p, loss in scores if p.kind == "eval"):
            _, first = self.first.setdefault(suite, (step, loss))
            yield self._line(
                "eval", step, suite=suite, loss=loss, delta=loss - first, baseline=first
            )

    def _end(self) -> dict[str, Any]:
        summary, _ = fit_values(self.run.summary, _SUMMARY_MOST)
        return {
            "status": self.run.status,
            "reason": text(self.run.reason),
            "summary": summary,
        }


def _dates(attempts: Sequence[Attempt]) -> Iterator[float]:
    return (t for attempt in attempts for curve in attempt.values() for t in curve.times)


def _is_date(time: float) -> bool:
    return math.isfinite(time) and 0 < time <= _LATEST


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(text(name, 60).removeprefix(OTHER) for name in names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
