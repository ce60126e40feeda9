"""Lines of events.jsonl: the shape of every kind of event, and the order in which they may come.

A newer trainer may add to them: an unknown kind passes as its head alone, unknown properties are
counted and left out. What is known must have its shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from unfrozen.events import KINDS, STATUSES
from unfrozen.schema.check import Checked, check, read
from unfrozen.schema.shapes import (
    BOOLEAN,
    METRIC,
    NULL,
    Shape,
    any_of,
    array,
    enum,
    integer,
    json,
    mapping,
    number,
    record,
    string,
)

MAX_LINE_LENGTH: Final = 64 * 1024
"""Characters of a line; our own writer stops at 16 KiB."""
STEPS: Final = integer(0, 10**9)
SECONDS: Final = number(0, 1e11)
"""Seconds since 1970, up to the year 5138, or of a run."""
BYTES: Final = integer()
PROSE: Final = string(16 * 1024)
NAME: Final = string(256, r"[^\x00-\x1f\x7f]+", "a name without control characters")
WORD: Final = string(64, r"[a-z][a-z0-9_]*", "a word of a-z, 0-9 and _")
COUNTS: Final = mapping(NAME, integer(), 64)
SIZES: Final = mapping(WORD, BYTES, 64)
ANYTHING: Final = json(8, 4000, 16 * 1024)

HEAD: Final = record(
    {
        "v": integer(1, 1000),
        "run": NAME,
        "seq": integer(),
        "att": integer(0, 10**6),
        "t": SECONDS,
        "rt": number(0, 1e11),
        "kind": string(64, r"[a-z][a-z0-9_.]*", "a word of a-z, 0-9, _ and ."),
        "step": STEPS,
    },
    required=("run", "seq", "att", "t", "kind"),
)
"""What every event begins with."""

_PLAN: Final = record(
    {"steps": STEPS, "lr": array(number(), 10_000), "lr_steps": array(STEPS, 10_000)},
    same_length=[("lr", "lr_steps"), ("lr_steps", "lr")],
)
_PREDICTED: Final = record(
    {"peak_instant": WORD, "peak_bytes": BYTES, "instants": mapping(WORD, SIZES, 64)}
)
_START: Final = record(
    {
        "source": WORD,
        "tool": string(256),
        "lacks": array(string(256), 32),
        "meanings": mapping(NAME, string(1024), 32),
        "trainer": string(256),
        "can": array(WORD, 16),
        "config": ANYTHING,
        "versions": mapping(NAME, string(256), 64),
        "hardware": record(
            {
                "device": NAME,
                "cpu": string(256),
                "gpu": string(256),
                "cores": integer(),
                "threads": integer(),
                "memory_bytes": BYTES,
                "gpu_bytes": BYTES,
                "processes": integer(1, 10**6),
            }
        ),
        "model": record(
            {
                "name": string(1024),
                "type": NAME,
                "config_sha256": string(64, "[0-9a-f]*", "a hash: digits from 0 to f,"),
                "num_parameters": integer(),
                "num_trained": integer(),
                "layers": integer(),
            }
        ),
        "data": COUNTS,
        "recipe": ANYTHING,
        "bytes_per_parameter": number(0, 1e6),
        "predicted": _PREDICTED,
        "plan": _PLAN,
        "price": record({"hourly": number(0, 1e9), "currency": string(16), "per": string(80)}),
        "cut": array(string(80), 64),
    }
)
_ROW: Final = record(
    {
        "place": string(1024),
        "tokens": integer(),
        "trained": integer(),
        "cut": integer(),
        "before": integer(),
        "after": integer(),
        "parts": array(
            record(
                {"as": enum("read", "trained", "end"), "texts": array(string(256), 1024)},
                required=("as", "texts"),
            ),
            1024,
        ),
        "loss": METRIC,
    },
    required=("place", "tokens", "parts"),
)
"""One row near what is trained of it; `trained` is missing where that is not known. A text of ""
is a token that goes on with the character of the one before; `before` and `after` count tokens that
are not told, `cut` those that were dropped.
"""
_LOSS: Final = record(
    {"place": string(1024), "tokens": integer(), "answer": integer()},
    required=("place", "tokens", "answer"),
)
"""What truncation dropped of a row, and how much of that is of its answer."""
_ROWS: Final = record(
    {
        "how": string(1024),
        "counts": COUNTS,
        "trained_ratio": number(0, 1),
        "repeated_first": string(1024),
        "truncated": array(_LOSS, 16),
        "dropped": array(_LOSS, 16),
        "notes": array(
            record(
                {"text": string(1024), "rows": integer(), "first": string(1024)},
                required=("text", "rows"),
            ),
            16,
        ),
        "ends": array(
            record(
                {"text": string(256), "token": integer(), "rows": integer()},
                required=("text", "rows"),
            ),
            16,
        ),
        "lengths": record(
            {
                "shortest": integer(),
                "median": integer(),
                "nine_in_ten": integer(),
                "longest": integer(),
                "from": array(integer(), 64),
                "rows": array(integer(), 64),
            },
            required=("shortest", "median", "nine_in_ten", "longest"),
            same_length=[("from", "rows"), ("rows", "from")],
        ),
        "padding": record(
            {"ratio": number(0, 1), "sequences": integer(), "packed": BOOLEAN},
            required=("ratio", "sequences"),
        ),
        "template_ratio": number(0, 1),
        "held_out": record({"rows": integer(), "trained": integer()}, required=("rows", "trained")),
        "first": array(_ROW, 16),
        "scored": record(
            {
                "rows": integer(),
                "mean": METRIC,
                "hardest": array(_ROW, 16),
                "easiest": array(_ROW, 16),
            },
            required=("rows", "mean"),
        ),
        "cut": array(string(80), 64),
    }
)
_MEANINGS: Final = mapping(NAME, string(1024), 32)
_MEASURES: Final = record(
    {"m": mapping(NAME, METRIC, 256), "meanings": _MEANINGS, "cut": array(string(80), 64)}
)
_GPU_INDEX: Final = string(3, r"[0-9]{1,3}", "the number of a GPU")
_SYSTEM: Final = record(
    {
        "m": mapping(NAME, METRIC, 256),
        "throttle": mapping(_GPU_INDEX, array(WORD, 16), 64),
        "cut": array(string(80), 64),
    }
)
_SAID: Final = string(2048)
_POST_MORTEM: Final = record(
    {
        "doing": WORD,
        "step": STEPS,
        "micro_batch": integer(0, 10**6),
        "micro_batches": integer(0, 10**6),
        "batch": record({"rows": integer(), "length": integer(), "loss_tokens": integer()}),
        "instant": WORD,
        "asked_bytes": BYTES,
        "held": record(
            {
                "name": string(256),
                "total_bytes": BYTES,
                "free_bytes": BYTES,
                "allocated_bytes": BYTES,
                "reserved_bytes": BYTES,
                "largest_free_bytes": BYTES,
            }
        ),
        "predicted": SIZES,
        "measured": SIZES,
        "beyond": record({"component": WORD, "predicted_bytes": BYTES, "measured_bytes": BYTES}),
        "others": array(record({"pid": integer(), "name": string(256), "size_bytes": BYTES}), 16),
        "budget_bytes": BYTES,
        "facts": array(record({"name": string(80), "text": _SAID}, required=("name", "text")), 16),
        "advice": _SAID,
        "settings": array(
            record(
                {
                    "options": string(512),
                    "peak_bytes": BYTES,
                    "time_ratio": number(0, 1e6),
                    "fits": BOOLEAN,
                    "note": string(512),
                    "text": _SAID,
                },
                required=("options", "text"),
            ),
            8,
        ),
    }
)
"""Why memory ran out (`gpu_runner.memory.out_of_memory`): `facts`, `advice`, `settings` show."""

ANSWER: Final = record(
    {"text": PROSE, "ended": BOOLEAN, "pieces": array(string(1024), 4096), "model": string(300)},
    required=("text", "ended"),
)
"""What a model wrote, token by token, and whether it ended by itself."""

_BLENDED: Final = record(
    {
        "alpha": number(0, 1),
        "name": NAME,
        "sets": mapping(
            NAME,
            record(
                {
                    "loss": METRIC,
                    "kl": any_of(METRIC, NULL),
                    "exact": any_of(integer(), NULL),
                    "of": any_of(integer(), NULL),
                    "change": any_of(
                        record(
                            {"value": METRIC, "interval": array(METRIC, 2)},
                            required=("value", "interval"),
                        ),
                        NULL,
                    ),
                },
                required=("loss",),
            ),
            64,
        ),
    },
    required=("alpha", "sets"),
)
"""One model between θ₀ and the trained one; what is on no curve has a `name`."""

EVENTS: Final[dict[str, Shape]] = {
    "run.start": _START,
    "predicted": record(
        {"predicted": _PREDICTED, "bytes_per_parameter": number(0, 1e6)}, required=("predicted",)
    ),
    "metrics": _MEASURES,
    "sys": _SYSTEM,
    "mem": record(
        {"instant": WORD, "components": SIZES, "total_bytes": BYTES, "source": string(64)},
        required=("instant", "total_bytes"),
    ),
    "eval": record(
        {
            "suite": NAME,
            "loss": METRIC,
            "delta": METRIC,
            "baseline": METRIC,
            "tokens": integer(),
            "kl": METRIC,
            "examples": string(64, "[0-9a-f]*", "a fingerprint: digits from 0 to f,"),
            "row_losses": array(METRIC, 256),
            "row_right": string(256, "[01]*", "of each row 1 if it is right, else 0,"),
            "exact": record(
                {
                    "right": integer(),
                    "does_not_stop": integer(),
                    "wrong": integer(),
                    "of": integer(),
                    "interval": array(number(0, 1), 2),
                }
            ),
            "change": array(METRIC, 2),
        },
        required=("suite", "loss"),
    ),
    "drift": record(
        {"layers": mapping(NAME, METRIC, 1024), "total": METRIC, "cut": array(string(80), 64)}
    ),
    "rows": _ROWS,
    "sample": record(
        {"prompt": PROSE, "text": PROSE, "when": enum("before", "after"), "cut": ANYTHING},
        required=("prompt", "text"),
    ),
    "answer": record(
        {
            "prompt": PROSE,
            "asked": integer(),
            "temperature": number(0, 5),
            "seed": integer(),
            "before": ANSWER,
            "after": ANSWER,
            "cut": ANYTHING,
        },
        required=("prompt", "after"),
    ),
    "checkpoint": record(
        {"path": string(1024), "bytes": BYTES, "sha256": string(64), "best": BOOLEAN}
    ),
    "alert": record(
        {"level": enum("info", "warn", "error"), "text": PROSE, "cut": ANYTHING}, required=("text",)
    ),
    "beat": record(
        {
            "expect_next_in": number(0, 1e9),
            "paused": BOOLEAN,
            "heard": integer(),
            "doing": string(100),
            "done": number(0, 1),
        }
    ),
    "run.resume": record({"from_step": STEPS, "plan": _PLAN}, required=("from_step",)),
    "run.end": record(
        {
            "status": enum(*STATUSES),
            "reason": PROSE,
            "summary": ANYTHING,
            "post_mortem": _POST_MORTEM,
            "cut": ANYTHING,
        },
        required=("status",),
    ),
    "blend": record(
        {
            "how": string(1024),
            "points": array(_BLENDED, 256),
            "chosen": any_of(number(0, 1), NULL),
            "reason": string(1024),
            "begins": BOOLEAN,
        },
        required=("how", "points"),
    ),
}
"""What each kind of event holds beside `HEAD`."""

assert EVENTS.keys() == KINDS.keys()

_SHAPES: Final[dict[str, Shape]] = {
    kind: {
        **shape,
        "properties": HEAD["properties"] | shape["properties"],
        "required": [*HEAD["required"], *shape["required"]],
    }
    for kind, shape in EVENTS.items()
}
STEPPED: Final = ("metrics", "mem", "eval", "drift")
"""Kinds on the axis of steps, which does not run backwards within an attempt."""
AFTER_THE_END: Final = ("run.resume", "alert", "beat", "sys", "blend")
"""Kinds that may follow the end of an attempt: a writer that closes reports what it dropped, and
the trained model is blended later."""


def read_line(line: str | bytes) -> Checked:
    """Return the event in a line of `events.jsonl`, given without its newline. Never raises."""
    parsed = read(line, MAX_LINE_LENGTH, "the line")
    return parsed if parsed.problem else read_event(parsed.value)


def read_event(value: object) -> Checked:
    """Return the event in a parsed value; of an unknown kind, its head alone."""
    kind = value.get("kind") if isinstance(value, dict) else None
    shape = _SHAPES.get(kind) if isinstance(kind, str) else None
    return check(HEAD if shape is None else shape, value, "the line")


@dataclass(slots=True)
class LogOrder:
    """The state of a log after its latest event: decides whether an event may come next."""

    run: str = ""
    seq: int = -1
    attempt: int = 0
    step: int = 0
    started: bool = False
    over: bool = False

    def accept(self, event: dict[str, Any]) -> str:
        """Take `event` (as `read_line` returns it) as the next; return why it cannot be, or "".

        A repeated event is no fault: it passes and changes nothing.
        """
        if event["seq"] <= self.seq:
            return ""
        kind, step = event["kind"], event.get("step", self.step)
        resumed = event["att"] > self.attempt or kind == "run.resume"
        problem = self._problem(event, step, resumed)
        if problem:
            return problem
        self.run, self.seq, self.attempt = event["run"], event["seq"], event["att"]
        self.started = self.started or kind == "run.start"
        self.over = kind == "run.end" or (self.over and not resumed)
        if resumed or kind in STEPPED:
            self.step = step
        return ""

    def _problem(self, event: dict[str, Any], step: int, resumed: bool) -> str:
        kind = event["kind"]
        if self.run and event["run"] != self.run:
            return "run differs from that of the lines before"
        if event["att"] < self.attempt:
            return f"att is {event['att']:,}; the log had come to attempt {self.attempt:,}"
        if kind == "run.start" and self.started:
            return "kind is run.start; a run starts once"
        if self.over and not resumed and kind not in AFTER_THE_END:
            return f"kind is {kind}; the run had ended and was not resumed"
        if kind in STEPPED and not resumed and step < self.step:
            return f"step is {step:,}; the log had come to step {self.step:,}"
        return ""
