"""What a person sees while data is read and tokenized, where that takes long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from gpu_runner.data.rows import ReportProgress, no_progress
from gpu_runner.text import counted, printable

SHORT_SECONDS: Final = 1.0  # until then, nothing is shown
EVERY_SECONDS: Final = 5.0  # between two lines where no bar can be drawn


@contextmanager
def show_reading(
    console: Console, clock: Callable[[], float] = time.monotonic
) -> Iterator[ReportProgress]:
    """Show how far reading is: a bar on a terminal, which goes away, else a line now and then.

    It goes to stderr; a quiet `console` shows nothing.
    """
    if console.quiet:
        yield no_progress
        return
    beside = Console(stderr=True, highlight=False)
    shown = _Bars(beside, clock) if beside.is_terminal else _Lines(beside, clock)
    try:
        yield shown
    finally:
        shown.end()


class _Bars:
    """A bar for each stage."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=max(8, min(24, console.width - 60))),
            TaskProgressColumn(),
            TextColumn("{task.fields[rows]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, share: float, rows: int) -> None:
        if self._clock() - self._started < SHORT_SECONDS:
            return
        if what not in self._tasks:
            self._bar.start()
            self._tasks[what] = self._bar.add_task(printable(what), total=1.0, rows="")
        self._bar.update(
            self._tasks[what],
            completed=share,
            rows=counted(rows, "example") if rows else "",
            visible=share < 1,
        )

    def end(self) -> None:
        """Remove the bars."""
        self._bar.stop()


class _Lines:
    """A line every few seconds."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._printed = clock()

    def __call__(self, what: str, share: float, rows: int) -> None:
        if self._clock() - self._printed < EVERY_SECONDS:
            return
        self._printed = self._clock()
        many = f", {counted(rows, 'example')}" if rows else ""
        self._console.print(printable(f"{what}: {share:.0%}{many}"), markup=False, soft_wrap=True)

    def end(self) -> None:
        """Do nothing: lines stay."""
