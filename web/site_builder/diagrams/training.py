"""Diagrams of training: number formats, the loss mask of a chat, packing, regularization.

`rows.json` holds tokens as the runner's encoder makes them, written by docs/encoded_rows.py: the
site builder does not import the runner.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from site_builder.diagrams import coordinate, render
from site_builder.formats import NO_BREAK, percent
from unfrozen.lab.pulls import (
    IMPORTANCE,
    PULLS,
    START,
    TARGET,
    Point,
    Pull,
    minimum,
    old_loss,
    strength_for,
)
from unfrozen.number_formats import FORMATS, WEIGHT_DEVIATION, NumberFormat
from unfrozen.units import format_power

# --- formats ------------------------------------------------------------------------------------
UPDATE: Final = 2e-5
"""The size of a step at a usual fine-tuning rate, drawn to the scale of the number line."""
GAPS: Final = 5
"""Length of the number line around 0.02, in gaps of bf16; each tick is a representable number."""
MAX_TICKS: Final = 100
WIDEST_BITS: Final = 32


def _formats() -> str:
    bf16 = next(found for found in FORMATS if found.name == "bf16")
    gap = bf16.gap(WEIGHT_DEVIATION)
    low = int(WEIGHT_DEVIATION / gap) * gap - gap
    high = low + GAPS * gap
    rows = [_format_row(found, low, high) for found in FORMATS]
    width = coordinate(100 * UPDATE / (high - low))
    ruler = {"width": width, "text": f"a step of {format_number(UPDATE)}"}
    return render("formats.html.j2", rows=rows, ruler=ruler, low=f"{low:.4f}", high=f"{high:.4f}")


def format_number(value: float) -> str:
    """Return a positive number of any size: "448", "65,504", "3.4 × 10³⁸"."""
    if 1e-3 <= value < 1e6:
        return f"{value:.3g}" if value < 1 else f"{value:,.0f}"
    return format_power(value, 1, space=NO_BREAK)


def _format_row(found: NumberFormat, low: float, high: float) -> dict[str, Any]:
    gap = found.gap(WEIGHT_DEVIATION)
    solid = (high - low) / gap > MAX_TICKS
    numbers = [] if solid else found.between(low, high)
    count = f"{len(numbers)}{NO_BREAK}numbers"
    if solid:
        count = f"{(high - low) / gap:,.0f}{NO_BREAK}numbers"
    elif not numbers:
        below, above = math.floor(low / gap) * gap, math.ceil(high / gap) * gap
        count = f"none: the next are {format_number(below)} and {format_number(above)}"
    fields = (("sign", 1), ("exponent", found.exponent_bits), ("mantissa", found.mantissa_bits))
    parts, start = [], 0
    for name, bits in fields:
        cells = "".join(f"M{start + i + 0.06:g},0h.88v1h-.88z" for i in range(bits))
        x = coordinate(100 * (start + bits / 2) / WIDEST_BITS)
        parts.append({"name": name, "bits": bits, "cells": cells, "x": x})
        start += bits
    return {
        "name": found.name,
        "parts": parts,
        "alt": (
            f"{found.bits} bits: 1 of sign, {found.exponent_bits} of exponent, "
            f"{found.mantissa_bits} of mantissa"
        ),
        "largest": format_number(found.largest),
        "smallest": format_number(found.smallest),
        "gap": format_number(gap),
        "solid": solid,
        "ticks": [coordinate(100 * (number - low) / (high - low)) for number in numbers],
        "count": count,
    }


# --- row and packing ----------------------------------------------------------------------------
BAR_HEIGHT: Final = 16


@cache
def read_sequences() -> dict[str, Any]:
    """Return a chat, token by token, and the token counts of one step's examples."""
    text = Path(__file__).with_name("rows.json").read_text(encoding="utf-8")
    sequences: dict[str, Any] = json.loads(text)
    return sequences


def _row() -> str:
    lines: list[list[dict[str, Any]]] = [[]]
    for text, trained in read_sequences()["chat"]:
        lines[-1].append({"text": text.replace("\n", "\\n"), "trained": trained})
        if text.endswith("\n"):
            lines.append([])
    return render("row.html.j2", lines=[line for line in lines if line])


def _packing() -> str:
    examples = read_sequences()["step"]
    longest = max(example["tokens"] for example in examples)
    tokens = sum(example["tokens"] for example in examples)
    positions = longest * len(examples)
    assert read_sequences()["parts"] == [list(range(len(examples)))], "the text says one sequence"
    padded = [
        _bar(example, 0, longest) | {"y": index * BAR_HEIGHT + 2}
        for index, example in enumerate(examples)
    ]
    packed = list(_packed(examples, longest))
    return render(
        "packing.html.j2",
        padded=padded,
        packed=packed,
        height=BAR_HEIGHT * len(examples),
        packed_height=BAR_HEIGHT * (packed[-1]["line"] + 1),
        padded_text=(
            f"Padded: {len(examples)} examples of {longest} positions, {positions:,} in all, "
            f"{percent(1 - tokens / positions)} of them padding"
        ),
        packed_text=(
            f"Packed: one sequence of {tokens:,} positions, none of them padding; "
            "to the same scale, it goes on in the next line"
        ),
    )


def _bar(example: dict[str, int], start: int, scale: int) -> dict[str, Any]:
    """Return the positions of the prompt, the trained tokens and the padding, in per cent."""
    prompt = example["tokens"] - example["trained"]
    return {
        "x": coordinate(100 * start / scale),
        "prompt": coordinate(100 * prompt / scale),
        "middle": coordinate(100 * (start + prompt) / scale),
        "trained": coordinate(100 * example["trained"] / scale),
        "end": coordinate(100 * (start + example["tokens"]) / scale),
        "rest": coordinate(100 * (1 - (start + example["tokens"]) / scale)),
    }


def _packed(examples: Sequence[dict[str, int]], scale: int) -> Iterator[dict[str, Any]]:
    """Yield the stretches of one sequence, broken into lines of `scale` positions.

    `seam` is set where an example begins.
    """
    start = 0
    for example in examples:
        trained = example["trained"]
        for length, is_trained in ((example["tokens"] - trained, False), (trained, True)):
            end = start + length
            seam = not is_trained and start > 0
            while start < end:
                line, place = divmod(start, scale)
                size = min(end - start, scale - place)
                yield {
                    "line": line,
                    "y": line * BAR_HEIGHT + 2,
                    "x": coordinate(100 * place / scale),
                    "width": coordinate(100 * size / scale),
                    "trained": is_trained,
                    "seam": seam,
                }
                start, seam = start + size, False


# --- pulls --------------------------------------------------------------------------------------
TASK_LOSS: Final = 0.2
"""The task loss at which the three regularizers are compared."""
LEFT, RIGHT, LOW, HIGH = -0.5, 3.3, -0.4, 3.4
SIDE: Final = 360.0
RINGS: Final = (0.1, 0.4, 0.9)
STRENGTHS: Final = tuple(10 ** (tenths / 10) for tenths in range(-25, 36))


def _pulls() -> str:
    reach = math.sqrt(2 * TASK_LOSS)
    return render(
        "pulls.html.j2",
        side=SIDE,
        rings=[_ring(loss) for loss in RINGS],
        circle=_at(TARGET) | {"r": coordinate(reach * SIDE / (RIGHT - LEFT))},
        target=_at(TARGET),
        start=_at(START),
        zero=_at((0.0, 0.0)),
        pulls=[_pull(name, index) for index, name in enumerate(PULLS)],
        task_loss=TASK_LOSS,
    )


def _pull(name: Pull, index: int) -> dict[str, Any]:
    """Return the path of the optimum as the regularizer grows, and its end at `TASK_LOSS`."""
    path = [_at(minimum(name, strength)) for strength in STRENGTHS]
    end = minimum(name, strength_for(name, TASK_LOSS))
    line = "M" + "L".join(f"{p['x']},{p['y']}" for p in [_at(TARGET), *path])
    return {
        "name": name,
        "index": index,
        "path": line,
        "end": _at(end),
        "old": f"{old_loss(end):.2f}",
        "far": f"{math.dist(end, START):.2f}",
    }


def _ring(loss: float) -> dict[str, str]:
    """Return the ellipse on which the old skills have lost `loss`."""
    radii = [math.sqrt(2 * loss / f) * SIDE / (RIGHT - LEFT) for f in IMPORTANCE]
    return _at(START) | {"rx": coordinate(radii[0]), "ry": coordinate(radii[1])}


def _at(point: Point) -> dict[str, str]:
    x = (point[0] - LEFT) / (RIGHT - LEFT) * SIDE
    y = (HIGH - point[1]) / (HIGH - LOW) * SIDE
    return {"x": coordinate(x), "y": coordinate(y)}


DIAGRAMS: Final[dict[str, Callable[[], str]]] = {
    "formats": _formats,
    "row": _row,
    "packing": _packing,
    "pulls": _pulls,
}
