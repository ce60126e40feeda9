"""What each kind of event holds: a shape for every one, and the words they share."""

from __future__ import annotations

from typing import Final

from unfrozen.events import KINDS, STATUSES
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
        "tool": text(256),
        "lacks": listed(text(256), 32),
        "meanings": mapped(NAME, text(1024), 32),
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
        "price": record({"hourly": number(0, 1e9), "currency": text(16), "per": text(80)}),
        "cut": listed(text(80), 64),
    }
)
_ROW: Final = record(
    {
        "place": text(1024),
        "tokens": whole(),
        "trained": whole(),
        "cut": whole(),
        "before": whole(),
        "after": whole(),
        "parts": listed(
            record(
                {"as": word("read", "trained", "end"), "texts": listed(text(256), 1024)},
                needs=("as", "texts"),
            ),
            1024,
        ),
        "loss": MEASURED,
    },
    needs=("place", "tokens", "trained", "parts"),
)
"""One row near what is trained of it. A text of "" is a token that goes on with the character of
the one before; `before` and `after` count tokens that are not told, `cut` those that were dropped.
"""
_ROWS: Final = record(
    {
        "how": text(1024),
        "counts": COUNTS,
        "trained_ratio": number(0, 1),
        "repeated_first": text(1024),
        "notes": listed(
            record(
                {"text": text(1024), "rows": whole(), "first": text(1024)}, needs=("text", "rows")
            ),
            16,
        ),
        "ends": listed(
            record({"text": text(256), "token": whole(), "rows": whole()}, needs=("text", "rows")),
            16,
        ),
        "lengths": record(
            {
                "shortest": whole(),
                "median": whole(),
                "nine_in_ten": whole(),
                "longest": whole(),
                "from": listed(whole(), 64),
                "rows": listed(whole(), 64),
            },
            needs=("shortest", "median", "nine_in_ten", "longest"),
            long=[("from", "rows"), ("rows", "from")],
        ),
        "padding": record(
            {"ratio": number(0, 1), "sequences": whole(), "packed": FLAG},
            needs=("ratio", "sequences", "packed"),
        ),
        "first": listed(_ROW, 16),
        "scored": record(
            {
                "rows": whole(),
                "mean": MEASURED,
                "hardest": listed(_ROW, 16),
                "easiest": listed(_ROW, 16),
            },
            needs=("rows", "mean"),
        ),
        "cut": listed(text(80), 64),
    }
)
_MEASURES: Final = record({"m": mapped(NAME, MEASURED, 256), "cut": listed(text(80), 64)})
_CARD: Final = text(3, r"[0-9]{1,3}", "the number of a card")
_SYSTEM: Final = record(
    {
        "m": mapped(NAME, MEASURED, 256),
        "throttle": mapped(_CARD, listed(WORD, 16), 64),
        "cut": listed(text(80), 64),
    }
)
_SAID: Final = text(2048)
_POST_MORTEM: Final = record(
    {
        "doing": WORD,
        "step": STEPS,
        "micro_batch": whole(0, 10**6),
        "micro_batches": whole(0, 10**6),
        "batch": record({"rows": whole(), "length": whole(), "loss_tokens": whole()}),
        "instant": WORD,
        "asked_bytes": BYTES,
        "held": record(
            {
                "name": text(256),
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
        "others": listed(record({"pid": whole(), "name": text(256), "size_bytes": BYTES}), 16),
        "budget_bytes": BYTES,
        "facts": listed(record({"name": text(80), "text": _SAID}, needs=("name", "text")), 16),
        "advice": _SAID,
        "settings": listed(
            record(
                {
                    "options": text(512),
                    "peak_bytes": BYTES,
                    "time_ratio": number(0, 1e6),
                    "fits": FLAG,
                    "note": text(512),
                    "text": _SAID,
                },
                needs=("options", "text"),
            ),
            8,
        ),
    }
)
"""Why memory ran out; see `gpu_runner.oom`. What is shown is `facts`, `advice` and `settings`."""

EVENTS: Final[dict[str, Shape]] = {
    "run.start": _START,
    "predicted": record(
        {"predicted": _PREDICTED, "bytes_per_parameter": number(0, 1e6)}, needs=("predicted",)
    ),
    "metrics": _MEASURES,
    "sys": _SYSTEM,
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
    "rows": _ROWS,
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
        {
            "status": word(*STATUSES),
            "reason": PROSE,
            "summary": ANYTHING,
            "post_mortem": _POST_MORTEM,
            "cut": ANYTHING,
        },
        needs=("status",),
    ),
}
"""What each kind of event holds beside `HEAD`."""

assert EVENTS.keys() == KINDS.keys()
