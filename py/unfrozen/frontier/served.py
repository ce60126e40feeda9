"""What a server of runs answers its page: the list of runs, and what the page may change.

The server is ours, but names, folders and logs that it tells of are anybody's: an entry that is not
as it must be stands for itself, never for the list.
"""

from __future__ import annotations

from typing import Final

from unfrozen.frontier.kinds import BYTES, PROSE, SECONDS, STEPS, WORD
from unfrozen.frontier.shapes import (
    FLAG,
    NOTHING,
    Shape,
    either,
    listed,
    mapped,
    number,
    record,
    text,
    whole,
)

_FOLDER: Final = text(1024)
"""The name of a folder, or of a recipe: control characters are shown as signs by who draws it."""

RUN: Final[Shape] = record(
    {
        "id": _FOLDER,
        "status": WORD,
        "model": text(1024),
        "step": STEPS,
        "steps": STEPS,
        "started": SECONDS,
        "updated": SECONDS,
        "bytes": BYTES,
        "problem": PROSE,
    },
    needs=("id", "status", "model", "step", "steps", "started", "updated", "bytes"),
)
"""One entry of `GET /api/runs`."""

RECIPE: Final[Shape] = record(
    {
        "name": _FOLDER,
        "problem": PROSE,
        "numbers": mapped(
            WORD,
            record(
                {
                    "value": either(number(), NOTHING),
                    "low": number(),
                    "high": number(),
                    "whole": FLAG,
                },
                needs=("value", "low", "high", "whole"),
            ),
            64,
        ),
    },
    needs=("name", "problem", "numbers"),
)
"""One recipe of `GET /api/control`, its numbers with their bounds."""

_STARTED: Final = record(
    {
        "name": _FOLDER,
        "at": SECONDS,
        "alive": FLAG,
        "run": either(_FOLDER, NOTHING),
        "code": either(whole(-(2**31), 2**31), NOTHING),
        "lines": listed(PROSE, 100),
    },
    needs=("name", "at", "alive", "run", "code", "lines"),
)

ANSWERED: Final[Shape] = record(
    {"allowed": FLAG, "seq": whole(), "started": either(_STARTED, NOTHING)}
)
"""An answer of `/api/control` or to a command, without its recipes: may this page change anything,
the number of the command, how the last start stands.
"""
