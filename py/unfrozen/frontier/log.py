"""Event lines: the shape of every kind, and the order in which they may come.

What a newer trainer adds is no fault: a kind that is not known here is passed on as one, and fields
that are not known are counted and left out. What is known must be as it is written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from unfrozen.events import KINDS, STATUSES
from unfrozen.frontier.check import Checked, check
from unfrozen.frontier.read import read
from unfrozen.frontier.shapes import (
    FLAG,
    MEASURED,
    Shape,
    json,
    listed,
    mapped,
    number,
    record,
    text,
    whole,
    word,
)

LINE_MOST: Final = 64 * 1024
"""Characters of a line; our own writer stops at 16 KiB."""
STEPS: Final = whole(0, 10**9)
SECONDS: Final = number(0, 1e11)
"""Seconds since 1970, up to the year 5138, or of a run."""
BYTES: Final = whole()
PROSE: Final = text(16 * 1024)
NAME: Final = text(256, r"[^\x00-\x1f\x7f]+", "a name without control characters")
WORD: Final = text(64, r"[a-z][a-z0-9_]*", "a word of a-z, 0-9 and _")
COUNTS: Final = mapped(NAME, whole(), 64)
SIZES: Final = mapped(WORD, BYTES, 64)
ANYTHING: Final = json(8, 4000, 16 * 1024)

HEAD: Final = record(
    {
        "v": whole(1, 1000),
        "run": NAME,
        "seq": whole(),
        "att": whole(0, 10**6),
        "t": SECONDS,
        "rt": number(0, 1e11),
        "kind": text(64, r"[a-z][a-z0-9_.]*", "a word of a-z, 0-9, _ and ."),
        "step": STEPS,
    },
    needs=("run", "seq", "att", "t", "kind"),
)
"""What every event begins with."""

_PLAN: Final = record(
    {"steps": STEPS, "lr": listed(number(), 10_000), "lr_steps": listed(STEPS, 10_000)},
    long=[("lr", "lr_steps"), ("lr_steps", "lr")],
)
_PREDICTED: Final = record(
    {"peak_instant": WORD, "peak_bytes": BYTES, "instants": mapped(WORD, SIZES, 64)}
)
_START: Final = record(
    {
        "source": WORD,
        "trainer": text(256),
        "can": listed(WORD, 16),
        "config": ANYTHING,
        "versions": mapped(NAME, text(256), 64),
        "hardware": record(
            {
                "device": NAME,
                "cpu": text(256),
                "gpu": text(256),
                "cores": whole(),
                "threads": whole(),
                "memory_bytes": BYTES,
                "gpu_bytes": BYTES,
                "processes": whole(1, 10**6),
            }
        ),
        "model": record(
            {
                "name": text(1024),
                "num_parameters": whole(),
                "num_trained": whole(),
                "layers": whole(),
            }
        ),
        "data": COUNTS,
        "recipe": ANYTHING,
        "bytes_per_parameter": number(0, 1e6),
        "predicted": _PREDICTED,
        "plan": _PLAN,
        "cut": listed(text(80), 64),
    }
)
_MEASURES: Final = record({"m": mapped(NAME, MEASURED, 256), "cut": listed(text(80), 64)})

EVENTS: Final[dict[str, Shape]] = {
    "run.start": _START,
    "predicted": record(
        {"predicted": _PREDICTED, "bytes_per_parameter": number(0, 1e6)}, needs=("predicted",)
    ),
    "metrics": _MEASURES,
    "sys": _MEASURES,
    "mem": record(
        {"instant": WORD, "components": SIZES, "total_bytes": BYTES, "source": text(64)},
        needs=("instant", "total_bytes"),
    ),
    "eval": record(
        {
            "suite": NAME,
            "loss": MEASURED,
            "delta": MEASURED,
            "baseline": MEASURED,
            "tokens": whole(),
        },
        needs=("suite", "loss"),
    ),
    "drift": record(
        {"layers": mapped(NAME, MEASURED, 1024), "total": MEASURED, "cut": listed(text(80), 64)}
    ),
    "sample": record(
        {"prompt": PROSE, "text": PROSE, "when": word("before", "after"), "cut": ANYTHING},
        needs=("prompt", "text"),
    ),
    "checkpoint": record({"path": text(1024), "bytes": BYTES, "sha256": text(64), "best": FLAG}),
    "alert": record(
        {"level": word("info", "warn", "error"), "text": PROSE, "cut": ANYTHING}, needs=("text",)
    ),
    "beat": record({"expect_next_in": number(0, 1e9), "paused": FLAG, "heard": whole()}),
    "run.resume": record({"from_step": STEPS, "plan": _PLAN}, needs=("from_step",)),
    "run.end": record(
        {"status": word(*STATUSES), "reason": PROSE, "summary": ANYTHING, "cut": ANYTHING},
        needs=("status",),
    ),
}
"""What each kind of event holds beside `HEAD`."""

assert EVENTS.keys() == KINDS.keys()

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
