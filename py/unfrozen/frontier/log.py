"""Event lines: the shape of every kind, and the order in which they may come.

What a newer trainer adds is no fault: a kind that is not known here is passed on as one, and fields
that are not known are counted and left out. What is known must be as it is written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from unfrozen.frontier.check import Checked, check
from unfrozen.frontier.kinds import EVENTS, HEAD, LINE_MOST
from unfrozen.frontier.read import read
from unfrozen.frontier.shapes import Shape

_WHOLE: Final[dict[str, Shape]] = {
    kind: {
        **shape,
        "fields": HEAD["fields"] | shape["fields"],
        "needs": [*HEAD["needs"], *shape["needs"]],
    }
    for kind, shape in EVENTS.items()
}
STEPPED: Final = ("metrics", "mem", "eval", "drift")
"""Kinds that stand on the axis of steps, which does not run backwards within an attempt."""
AFTER_THE_END: Final = ("run.resume", "alert", "beat", "sys")
"""Kinds that may follow the end of an attempt: a writer that closes says what it dropped."""


def read_line(line: str | bytes) -> Checked:
    """The event in a line of `events.jsonl`, without its newline. Never raises."""
    found = read(line, LINE_MOST, "the line")
    return found if found.problem else read_event(found.value)


def read_event(value: object) -> Checked:
    """The event in a value that was parsed. One of a kind that is not known is its head alone."""
    kind = value.get("kind") if isinstance(value, dict) else None
    known = _WHOLE.get(kind) if isinstance(kind, str) else None
    return check(HEAD if known is None else known, value, "the line")


@dataclass(slots=True)
class Order:
    """How far a log has come, to tell whether an event may come next."""

    run: str = ""
    seq: int = -1
    attempt: int = 0
    step: int = 0
    started: bool = False
    over: bool = False

    def judge(self, event: dict[str, Any]) -> str:
        """Why `event` (as `read_line` gives it) cannot come now; "" if it can, and it is taken.

        One that was heard before is no fault of order: it is a repetition, and is let through.
        """
        if event["seq"] <= self.seq:
            return ""
        kind, step = event["kind"], event.get("step", self.step)
        again = event["att"] > self.attempt or kind == "run.resume"
        problem = self._problem(event, step, again)
        if problem:
            return problem
        self.run, self.seq, self.attempt = event["run"], event["seq"], event["att"]
        self.started = self.started or kind == "run.start"
        self.over = kind == "run.end" or (self.over and not again)
        if again or kind in STEPPED:
            self.step = step
        return ""

    def _problem(self, event: dict[str, Any], step: int, again: bool) -> str:
        kind = event["kind"]
        if self.run and event["run"] != self.run:
            return "run is another one than that of the lines before"
        if event["att"] < self.attempt:
            return f"att is {event['att']:,}; the log had come to attempt {self.attempt:,}"
        if kind == "run.start" and self.started:
            return "kind is run.start; a run starts once"
        if self.over and not again and kind not in AFTER_THE_END:
            return f"kind is {kind}; the run had ended, and was not resumed"
        if kind in STEPPED and not again and step < self.step:
            return f"step is {step:,}; the log had come to step {self.step:,}"
        return ""
