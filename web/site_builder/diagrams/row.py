"""Rows as the runner's encoder makes them: which tokens are trained, and what packing saves.

`rows.json` holds them, made by docs/encoded_rows.py: the site builder does not import the runner.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from site_builder.diagrams.canvas import render, short
from site_builder.formats import percent

ROW_HEIGHT: Final = 16


@cache
def encoded() -> dict[str, Any]:
    """The chat, token by token, the counts of a step's rows, and which of them share a sequence."""
    text = Path(__file__).with_name("rows.json").read_text(encoding="utf-8")
    rows: dict[str, Any] = json.loads(text)
    return rows


def draw_row() -> str:
    """A chat of two turns, its trained tokens marked."""
    lines: list[list[dict[str, Any]]] = [[]]
    for text, trained in encoded()["chat"]:
        lines[-1].append({"text": text.replace("\n", "\\n"), "trained": trained})
        if text.endswith("\n"):
            lines.append([])
    return render("row.html.j2", lines=[line for line in lines if line])


def draw_packing() -> str:
    """The rows of one step, padded to the longest and packed one after the other."""
    step = encoded()["step"]
    longest = max(row["tokens"] for row in step)
    tokens, positions = sum(row["tokens"] for row in step), longest * len(step)
    assert encoded()["parts"] == [list(range(len(step)))], "the text says one sequence"
    padded = [
        _bar(row, 0, longest) | {"y": index * ROW_HEIGHT + 2, "longest": "100"}
        for index, row in enumerate(step)
    ]
    packed, start = [], 0
    for row in step:
        packed.append(_bar(row, start, tokens))
        start += row["tokens"]
    return render(
        "packing.html.j2",
        padded=padded,
        packed=packed,
        height=ROW_HEIGHT * len(step),
        says_padded=(
            f"Padded: {len(step)} rows of {longest} positions, {positions:,} in all, "
            f"{percent(1 - tokens / positions)} of them padding"
        ),
        says_packed=f"Packed: one sequence of {tokens:,} positions, none of them padding",
    )


def _bar(row: dict[str, int], start: int, scale: int) -> dict[str, Any]:
    """Where a row's prompt and its trained tokens stand, in per cent; the trained ones are last."""
    prompt = row["tokens"] - row["trained"]
    return {
        "x": short(100 * start / scale),
        "prompt": short(100 * prompt / scale),
        "middle": short(100 * (start + prompt) / scale),
        "trained": short(100 * row["trained"] / scale),
        "end": short(100 * (start + row["tokens"]) / scale),
        "rest": short(100 * (1 - (start + row["tokens"]) / scale)),
    }
