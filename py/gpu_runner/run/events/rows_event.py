"""The `rows` event: what is trained, as `unfrozen data` shows it, in a line of at most 16 KiB.

Two are written: what the rows are, when a run begins; and what θ₀ makes of some of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, Final

from gpu_runner.data import preview
from gpu_runner.data.dataset import Note, RowSet
from gpu_runner.data.encode import Encoder, pad_token
from gpu_runner.model.blocks import as_written
from gpu_runner.plan.plan import RunPlan
from gpu_runner.plan.shown.preview import what_is_trained
from gpu_runner.train.evaluate import row_losses
from unfrozen.training.order import spread

FIRST: Final = 3  # rows that are shown
SCORED: Final = 16  # rows that θ₀ is asked about
EXTREME: Final = 3  # of those, the hardest and the easiest that are shown
MOST_BYTES: Final = 12 * 1024
MOST_NOTES: Final = 12
_TOKENS: Final = (160, 80, 40, 20, 8)  # of a row, the first that leaves the line short enough
_LONGEST: Final = 64  # characters of a token, a place; of a remark four times as many


def payload(plan: RunPlan) -> dict[str, Any]:
    """What the rows of a run are: how many, how long, what is special, and the first of them."""
    rows, encoder, config = plan.train, plan.encoder, plan.config
    ends = preview.stops(rows, encoder)
    again, where = preview.repeated(rows)
    lengths = preview.lengths(rows)
    ratio, sequences = preview.padding(rows, config.micro_batch, config.grad_accum, config.seed)
    sets = rows.sets()
    told = {
        "how": _short(what_is_trained(config, rows, encoder), 8 * _LONGEST),
        "counts": {
            "rows": len(rows.examples),
            "read": sum(one.rows_read for one in sets),
            "tokens": rows.tokens,
            "trained": rows.trainable_tokens,
            "replayed": rows.replayed_rows,
            "repeated": again,
            "endless": preview.endless(ends, encoder),
            "cut": sum(one.cut_rows for one in sets),
            "cut_tokens": sum(one.cut_tokens for one in sets),
            "untrained": sum(one.untrainable_rows for one in sets),
            "bad": sum(len(one.bad_rows) for one in sets),
        },
        "trained_ratio": rows.trainable_tokens / rows.tokens,
        "repeated_first": _end_of(where),
        "notes": [_note(note) for note in _notes(sets)[:MOST_NOTES]],
        "ends": [
            {"text": _short(one.text), "token": one.token, "rows": one.rows} for one in ends[:3]
        ],
        "lengths": {
            "shortest": lengths.shortest,
            "median": lengths.median,
            "nine_in_ten": lengths.nine_in_ten,
            "longest": lengths.longest,
            "from": lengths.starts,
            "rows": lengths.bars,
        },
        "padding": {"ratio": ratio, "sequences": sequences, "packed": plan.feed.packed},
    }
    first = range(min(FIRST, len(rows.examples)))
    return _fitted(told, "first", lambda most: [row(rows, encoder, n, most) for n in first])


def scored(plan: RunPlan, model: Any) -> dict[str, Any]:
    """What `model` makes of some training rows, before it is trained: the hardest, the easiest."""
    rows, encoder = plan.train, plan.encoder
    chosen = spread(len(rows.examples), SCORED)
    examples = [rows.examples[index] for index in chosen]
    with as_written(model), plan.autocast():
        losses = row_losses(model, examples, pad_token(plan.tokenizer), plan.device)
    ranked = sorted(zip(losses, chosen, strict=True), reverse=True)
    most = min(EXTREME, len(ranked) // 2)
    told: dict[str, Any] = {"rows": len(ranked), "mean": sum(losses) / len(losses)}

    def extreme(tokens: int) -> dict[str, Any]:
        hard, easy = ranked[:most], ranked[::-1][:most]
        return {
            **told,
            **{
                name: [{**row(rows, encoder, n, tokens), "loss": loss} for loss, n in some]
                for name, some in (("hardest", hard), ("easiest", easy))
            },
        }

    return _fitted({}, "scored", extreme)


def row(rows: RowSet, encoder: Encoder, index: int, most: int) -> dict[str, Any]:
    """One row, of a long one `most` tokens near its first answer."""
    example = rows.examples[index]
    spoken = preview.spoken(encoder, rows.rows[index], example, most, most // 2)
    kinds = [
        ("end" if place in spoken.ends else "trained" if learned else "read", _short(text))
        for place, (text, learned) in enumerate(spoken.tokens)
    ]
    return {
        "place": _end_of(rows.places[index]),
        "tokens": len(example.ids),
        "trained": example.trainable_tokens,
        "cut": example.cut_tokens,
        "before": spoken.before,
        "after": spoken.after,
        "parts": [
            {"as": kind, "texts": [text for _, text in some]}
            for kind, some in groupby(kinds, key=lambda pair: pair[0])
        ],
    }


def _notes(sets: Iterable[RowSet]) -> list[Note]:
    return sorted((note for one in sets for note in one.notes), key=lambda note: -note.rows)


def _note(note: Note) -> dict[str, Any]:
    text = _short(note.text, 4 * _LONGEST)
    return {"text": text, "rows": note.rows, "first": _end_of(note.first)}


def _short(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _end_of(place: str) -> str:
    """Where a row is: of a path its end, which names the file and the row."""
    most = 4 * _LONGEST
    name = place.rpartition("/")[2] if place.startswith("/") else place
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _fitted(told: dict[str, Any], name: str, shown: Callable[[int], Any]) -> dict[str, Any]:
    """What is told and what is shown under `name`, with as many tokens as the line has room for."""
    for most in _TOKENS:
        whole = {**told, name: shown(most)}
        if len(json.dumps(whole)) <= MOST_BYTES:
            return whole
    return told
