"""Small files that a person or a program may have written: what each must hold."""

from __future__ import annotations

from typing import Final

from unfrozen.frontier.kinds import BYTES, NAME, PROSE, SECONDS, SIZES, STEPS, WORD
from unfrozen.frontier.shapes import (
    FLAG,
    MEASURED,
    Shape,
    either,
    json,
    listed,
    mapped,
    number,
    record,
    text,
    whole,
)

STARTED: Final[Shape] = record(
    {"name": NAME, "pid": whole(1, 2**31 - 1), "born": SECONDS, "at": SECONDS},
    needs=("name", "pid", "born", "at"),
)
"""`started.json`: which process the page started last, and when it was born."""

ORDERS: Final[Shape] = record(
    {
        "v": whole(1, 1000),
        "run": NAME,
        "att": whole(0, 10**6),
        "seq": whole(),
        "paused": FLAG,
        "save": whole(),
        "look": whole(),
        "stop": FLAG,
    },
    needs=("v", "run", "att", "seq", "paused", "save", "stop"),
)
"""`orders.json`: what is wanted of a run."""

_DIGEST: Final = text(64, r"[0-9a-f]*", "a hexadecimal digest")
_LOSSES: Final = mapped(NAME, MEASURED, 1000)
_LOSS: Final = either(MEASURED, {"type": "nothing", "is": "null"})

STATE: Final[Shape] = record(
    {
        "state": record(
            {
                "step": STEPS,
                "tokens": whole(),
                "skipped": whole(),
                "skipped_in_a_row": whole(),
            },
            needs=("step", "tokens", "skipped", "skipped_in_a_row"),
        ),
        "history": record(
            {
                "first": _LOSSES,
                "latest": _LOSSES,
                "measured": mapped(WORD, SIZES, 64),
                "peak_bytes": BYTES,
                "drift": MEASURED,
                "samples": listed(listed(PROSE, 3), 1000),
                "seconds": number(0, 1e11),
                "best_step": STEPS,
                "best_loss": _LOSS,
                "looks_since_best": whole(),
                "load": listed(listed(number(0, 1), 4096), 4096),
            }
        ),
        "version": whole(1, 10**6),
        "origins": record(
            {
                "model": _DIGEST,
                "data": _DIGEST,
                "suites": mapped(NAME, _DIGEST, 1000),
                "choices": mapped(NAME, json(4, 10_000, 64 * 1024 * 1024), 1000),
                "computed": mapped(NAME, text(256), 64),
                "sets": mapped(
                    NAME,
                    record(
                        {"sha256": _DIGEST, "weight": number(0, 1e6)}, needs=("sha256", "weight")
                    ),
                    1000,
                ),
            },
            needs=("model", "data", "suites", "choices", "computed"),
        ),
    },
    needs=("state", "history"),
)
"""`state.json` of a checkpoint: where the run stood, what it remembered of itself, and what it is
made of.
"""

_CHOICE: Final = either(
    text(4096),
    number(),
    FLAG,
    listed(either(text(4096), number(), FLAG), 1000),
    mapped(NAME, json(3, 1000), 1000),
)

RECIPE: Final[Shape] = mapped(NAME, _CHOICE, 1000)
"""A `run.toml` once it is parsed: choices, or tables of them; what each may be, its config says."""
