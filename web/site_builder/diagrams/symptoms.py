"""The logs of runs that go wrong, each as a small picture.

Runs were recorded by docs/experiments/record_symptoms.py; that of a model which learns and forgets
is a recording of the page. Losses are on a logarithmic scale; one that is not finite is a gap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from site_builder.diagrams import coordinate, render
from site_builder.formats import rate
from site_builder.measurements import read_events, read_json

Points = list[tuple[int, float | None]]
HEIGHT: Final = 104
BAR_ROOM: Final = 40
ANSWERS: Final = {"right": "right", "does_not_stop": "do not stop", "wrong": "wrong"}
"""Kinds of answers, and their names in the picture."""


def panels() -> list[dict[str, Any]]:
    """Return the panels, in the order of the chapter's sections."""
    found = read_json("symptoms.json")
    loss = {name: _read_points(run["points"]) for name, run in found["loss"].items()}
    return [
        {
            "title": "The loss is flat",
            "anchor": "the-loss-is-flat",
            "text": f"Training loss in nats a token, at a rate of {rate(1e-6)}.",
            **_lines(loss["flat"], loss["usual"]),
        },
        {
            "title": "The loss leaps, or is NaN",
            "anchor": "the-loss-leaps-or-is-nan",
            "text": "Training loss in nats a token, at a rate of 1.",
            **_lines(loss["leaping"], loss["usual"]),
        },
        {
            "title": "It learns and forgets",
            "anchor": "it-learns-and-forgets",
            "text": "Held-out loss in nats a token: what it knew (solid), its task (dashed).",
            **_lines(_evaluated("general"), _evaluated("task")),
        },
        {
            "title": "It does not stop",
            "anchor": "it-does-not-stop",
            "text": "Held-out answers of the task, by whether they are right and end.",
            **_answers(found["stops"]),
        },
        {
            "title": "Out of memory",
            "anchor": "out-of-memory",
            "text": "In the first step, in the second or after an hour: each has its own cause.",
            "drawn": "two-steps",
        },
        {
            "title": "It is slow",
            "anchor": "it-is-slow",
            "text": "Trained tokens a second.",
            **_speeds(found["tokens_per_second"]),
        },
    ]


def _read_points(given: Sequence[Sequence[Any]]) -> Points:
    return [(step, value if isinstance(value, float) else None) for step, value in given]


def _evaluated(suite: str) -> Points:
    """Return the held-out loss of a set by step, in the recording of the demo model."""
    found = (e for e in read_events("demo") if e["kind"] == "eval" and e["suite"] == suite)
    return [(event["step"], event["loss"]) for event in found]


def _lines(wrong: Points, usual: Points) -> dict[str, Any]:
    """Return two lines over the steps, with a tick for each power of ten."""
    finite = [value for _, value in (*wrong, *usual) if value is not None]
    low, high = math.floor(math.log10(min(finite))), math.ceil(math.log10(max(finite)))
    last = max(step for step, _ in (*wrong, *usual))

    def y(value: float) -> float:
        return HEIGHT * (high - math.log10(value)) / (high - low)

    first, end = (value for value in (wrong[0][1], wrong[-1][1]))
    ends = "becomes not a number" if end is None else f"ends at {end:.3g}"
    return {
        "lines": [
            {"kind": "usual", "path": _path(usual, last, y)},
            {"kind": "wrong", "path": _path(wrong, last, y)},
        ],
        "ticks": [
            {"y": coordinate(y(10.0**power)), "label": f"{10.0**power:,.9g}"}
            for power in range(low, high + 1, 1 + (high - low) // 4)
        ],
        "x": f"step {last}",
        "alt": f"The solid line begins at {first:.3g} and {ends}, in {last} steps.",
    }


def _path(points: Points, last: int, y: Callable[[float], float]) -> str:
    """Return a line through the finite points; after a gap it begins anew."""
    parts, pen = [], "M"
    for step, value in points:
        if value is not None:
            parts.append(f"{pen}{coordinate(1000 * step / last)},{coordinate(y(value))}")
        pen = "M" if value is None else "L"
    return "".join(parts)


def _answers(stops: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bar of answers with the end token in the loss, and one without."""
    titles = {"usual": "end in the loss", "endless": "end not in the loss"}
    bars, sentences = [], []
    for index, (name, title) in enumerate(titles.items()):
        counts = stops[name]["exact"]
        parts, x = [], 0.0
        for kind in ANSWERS:
            width = 100 * counts[kind] / counts["of"]
            parts.append({"kind": kind, "x": coordinate(x), "width": coordinate(width)})
            x += width
        found = ", ".join(f"{counts[kind]} {text}" for kind, text in ANSWERS.items())
        bars.append({"label": f"{title}: {_largest(counts)}", "parts": parts, "y": _bar_y(index)})
        sentences.append(f"{title}: of {counts['of']}, {found}")
    return {"bars": bars, "alt": "; ".join(sentences)}


def _largest(counts: Mapping[str, int]) -> str:
    kind = max(ANSWERS, key=lambda name: counts[name])
    return f"{counts[kind]} of {counts['of']} {ANSWERS[kind]}"


def _speeds(speeds: Mapping[str, float]) -> dict[str, Any]:
    most = max(speeds.values())
    bars = [
        {
            "label": f"{title}: {speed:,}",
            "y": _bar_y(index),
            "parts": [
                {"kind": "speed", "x": "0", "width": coordinate(100 * speed / most)},
            ],
        }
        for index, (title, speed) in enumerate(speeds.items())
    ]
    said = "; ".join(f"{title}, {speed:,} tokens a second" for title, speed in speeds.items())
    return {"bars": bars, "alt": said}


def _bar_y(index: int) -> int:
    return 20 + index * BAR_ROOM


DIAGRAMS: Final[dict[str, Callable[[], str]]] = {
    "symptoms": lambda: render("symptoms.html.j2", panels=panels(), height=HEIGHT)
}
