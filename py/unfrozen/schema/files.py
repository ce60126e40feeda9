"""Small files that a person or a program may have written, and the answers of a server of runs.

The server is ours, but the names, folders and logs that it reports are not: one entry that does not
fit its shape is shown as unreadable, and the rest of the list stays.
"""

from __future__ import annotations

from typing import Final

from unfrozen.schema.event_log import ANSWER as WRITTEN
from unfrozen.schema.event_log import BYTES, NAME, PROSE, SECONDS, SIZES, STEPS, WORD
from unfrozen.schema.shapes import (
    BOOLEAN,
    METRIC,
    NULL,
    Shape,
    any_of,
    array,
    integer,
    json,
    mapping,
    number,
    record,
    string,
)

STARTED: Final[Shape] = record(
    {
        "name": NAME,
        "verb": WORD,
        "run": NAME,
        "logged": BYTES,
        "pid": integer(1, 2**31 - 1),
        "born": SECONDS,
        "at": SECONDS,
    },
    required=("name", "verb", "run", "logged", "pid", "born", "at"),
)
"""`started.json`: which process the page started last, when it was born, and of which run it is,
with the bytes that earlier attempts had logged.
"""

COMMANDS: Final[Shape] = record(
    {
        "v": integer(1, 1000),
        "run": NAME,
        "att": integer(0, 10**6),
        "seq": integer(),
        "paused": BOOLEAN,
        "save": integer(),
        "look": integer(),
        "ask": integer(),
        "stop": BOOLEAN,
    },
    required=("v", "run", "att", "seq", "paused", "save", "look", "ask", "stop"),
)
"""`commands.json`: what is wanted of a run."""

QUESTION: Final[Shape] = record(
    {
        "v": integer(1, 1000),
        "run": NAME,
        "att": integer(0, 10**6),
        "seq": integer(),
        "prompt": string(4000),
        "tokens": integer(1, 256),
        "temperature": number(0, 5),
        "seed": integer(),
    },
    required=("v", "run", "att", "seq", "prompt", "tokens", "temperature", "seed"),
)
"""`question.json`: what a live run is asked."""

_DIGEST: Final = string(64, r"[0-9a-f]*", "a hexadecimal digest")
_LOSSES: Final = mapping(NAME, METRIC, 1000)
_ANSWERS: Final = mapping(NAME, array(integer(), 3), 1000)
_LOSS: Final = any_of(METRIC, NULL)

STATE: Final[Shape] = record(
    {
        "state": record(
            {
                "step": STEPS,
                "tokens": integer(),
                "skipped": integer(),
                "skipped_in_a_row": integer(),
                "loss_scale": number(0, 2.0**40),
                "steady_steps": integer(),
            },
            required=("step", "tokens", "skipped", "skipped_in_a_row"),
        ),
        "history": record(
            {
                "first": _LOSSES,
                "latest": _LOSSES,
                "latest_step": STEPS,
                "first_exact": _ANSWERS,
                "latest_exact": _ANSWERS,
                "first_rows": mapping(NAME, array(METRIC, 256), 1000),
                "measured": mapping(WORD, SIZES, 64),
                "peak_bytes": BYTES,
                "drift": METRIC,
                "samples": array(array(PROSE, 3), 1000),
                "seconds": number(0, 1e11),
                "best_step": STEPS,
                "best_loss": _LOSS,
                "looks_since_best": integer(),
                "load": array(array(number(0, 1), 4096), 4096),
            }
        ),
        "version": integer(1, 10**6),
        "origins": record(
            {
                "model": _DIGEST,
                "data": _DIGEST,
                "suites": mapping(NAME, _DIGEST, 1000),
                "choices": mapping(NAME, json(4, 10_000, 64 * 1024 * 1024), 1000),
                "computed": mapping(NAME, string(256), 64),
                "sets": mapping(
                    NAME,
                    record(
                        {"sha256": _DIGEST, "weight": number(0, 1e6)}, required=("sha256", "weight")
                    ),
                    1000,
                ),
            },
            required=("model", "data", "suites", "choices", "computed", "sets"),
        ),
    },
    required=("state", "history", "origins"),
)
"""`state.json` of a checkpoint: where the run stood, what it remembered of itself, and what it is
made of.
"""

_FOLDER: Final = string(1024)
"""The name of a folder: control characters are shown as signs by who draws it."""

_SCORE: Final = record(
    {"loss": METRIC, "delta": METRIC, "right": integer(), "of": integer()}, required=("loss",)
)
RUN: Final[Shape] = record(
    {
        "id": _FOLDER,
        "status": WORD,
        "model": string(1024),
        "step": STEPS,
        "steps": STEPS,
        "started": SECONDS,
        "updated": SECONDS,
        "bytes": BYTES,
        "problem": PROSE,
        "data": string(256),
        "tool": string(256),
        "task": _SCORE,
        "general": _SCORE,
        "peak_bytes": BYTES,
        "predicted_bytes": BYTES,
    },
    required=("id", "status", "model", "step", "steps", "started", "updated", "bytes"),
)
"""One entry of `GET /api/runs`."""

_STARTED: Final = record(
    {
        "name": _FOLDER,
        "verb": WORD,
        "at": SECONDS,
        "alive": BOOLEAN,
        "run": any_of(_FOLDER, NULL),
        "lines": array(PROSE, 100),
    },
    required=("name", "at", "alive", "run", "lines"),
)

ANSWER: Final[Shape] = record(
    {
        "allowed": BOOLEAN,
        "seq": integer(),
        "started": any_of(_STARTED, NULL),
        "prompt": string(100_000),
        "before": WRITTEN,
        "after": WRITTEN,
    }
)
"""An answer of `/api/control` or to a command: may this page change anything,
the number of the command, how the last start stands, what two models answered.
"""
