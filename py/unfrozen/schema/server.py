"""The answers of a server of runs to its page: the list of runs, and what the page may change.

The server is ours, but the names, folders and logs that it reports are not: one entry that does not
fit its shape is shown as unreadable, and the rest of the list stays.
"""

from __future__ import annotations

from typing import Final

from unfrozen.schema.event_log import ANSWER as WRITTEN
from unfrozen.schema.event_log import BYTES, PROSE, SECONDS, STEPS, WORD
from unfrozen.schema.files import MOST_NOTE, MOST_TAGS, TAG
from unfrozen.schema.shapes import (
    BOOLEAN,
    METRIC,
    NULL,
    Shape,
    any_of,
    array,
    integer,
    mapping,
    number,
    record,
    string,
)

_FOLDER: Final = string(1024)
"""The name of a folder, or of a recipe: control characters are shown as signs by who draws it."""

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
        "tags": array(TAG, MOST_TAGS),
        "note": string(MOST_NOTE),
        "archived": BOOLEAN,
    },
    required=("id", "status", "model", "step", "steps", "started", "updated", "bytes"),
)
"""One entry of `GET /api/runs`."""

RECIPE: Final[Shape] = record(
    {
        "name": _FOLDER,
        "problem": PROSE,
        "numbers": mapping(
            WORD,
            record(
                {
                    "value": any_of(number(), NULL),
                    "low": number(),
                    "high": number(),
                    "whole": BOOLEAN,
                },
                required=("value", "low", "high", "whole"),
            ),
            64,
        ),
    },
    required=("name", "problem", "numbers"),
)
"""One recipe of `GET /api/control`, its numbers with their bounds."""

_STARTED: Final = record(
    {
        "name": _FOLDER,
        "at": SECONDS,
        "alive": BOOLEAN,
        "run": any_of(_FOLDER, NULL),
        "code": any_of(integer(-(2**31), 2**31), NULL),
        "lines": array(PROSE, 100),
    },
    required=("name", "at", "alive", "run", "code", "lines"),
)

ANSWER: Final[Shape] = record(
    {
        "allowed": BOOLEAN,
        "seq": integer(),
        "started": any_of(_STARTED, NULL),
        "key": string(64),
        "id": _FOLDER,
        "bytes": BYTES,
        "prompt": string(100_000),
        "before": WRITTEN,
        "after": WRITTEN,
    }
)
"""An answer of `/api/control` or to a command, without its recipes: may this page change anything,
the number of the command, a run in the trash, how the last start stands, what two models answered.
"""
