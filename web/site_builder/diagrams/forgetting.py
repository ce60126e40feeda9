"""Diagrams of forgetting: ways to learn one task, each a path through what was learned and kept.

A path is the mean of the runs of web/measurements/lab.json at each evaluation.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import mean
from typing import Final, NamedTuple

from site_builder.diagrams import coordinate, render
from site_builder.formats import percent
from site_builder.measurements import mean_path, read_methods

LEARNED: Final = 0.8
"""The share of the task's held-out rows at which methods are compared: all shown reach it."""
SHOWN: Final = (
    ("ewc", "EWC"),
    ("replay", "20% replay"),
    ("longer", "lower, longer"),
    ("held", "L2-SP"),
    ("layer-0", "layer 0 frozen"),
    ("own", "own texts, 20%"),
    ("plain", "default"),
    ("lora", "LoRA, r = 8"),
)
LOWEST: Final = 0.6
"""The share of rows kept at the lower edge."""
KEPT_MARKS: Final = (1.0, 0.9, 0.8, 0.7, LOWEST)
LEARNED_MARKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
HEIGHT: Final = 280
WIDTH: Final = 1000
TOP: Final = 10
LINE: Final = 17
"""Pixels from label to label, so that none lies on another."""


class Point(NamedTuple):
    """An evaluation: after how many steps, and the shares of rows learned and kept."""

    step: float
    learned: float
    kept: float


def path_of(method: str) -> list[Point]:
    """Return the mean path of a method over its seeds; kept is a share of what was right before."""
    found = mean_path(method)
    of_task, before = read_methods()["plain"][0]["exact"]["task"][0], found[0][2]
    return [Point(step, task / sum(of_task), kept / before) for step, task, kept in found]


def at_equal_learning(path: list[Point]) -> Point | None:
    """Return where a path first reaches LEARNED, between two evaluations; None if it never does."""
    for one, other in pairwise(path):
        if one.learned < LEARNED <= other.learned:
            share = (LEARNED - one.learned) / (other.learned - one.learned)
            return Point(*(a + share * (b - a) for a, b in zip(one, other, strict=True)))
    return None


def way_back() -> list[Point]:
    """Return the mean points from after training back to before it, θ₀ + α(θ* − θ₀)."""
    first = read_methods()["plain"][0]
    rows, known = sum(first["exact"]["task"][0]), first["exact"]["general"][0][0]
    points = [
        Point(0, mean_back(alpha, "task") / rows, mean_back(alpha, "general") / known)
        for alpha in first["back"]
    ]
    return [path_of("plain")[-1], *points, path_of("plain")[0]]


def mean_back(alpha: str, suite: str) -> float:
    """Return the mean number of right rows of a set at α, after the default run."""
    return float(mean(run["back"][alpha][suite] for run in read_methods()["plain"]))


def frontier() -> str:
    """Return the paths, a label at each end, and the same as a table."""
    paths = {name: path_of(name) for name, _ in SHOWN}
    ends = sorted(SHOWN, key=lambda shown: -paths[shown[0]][-1].kept)
    labels, low = [], float(-LINE)
    for name, label in ends:
        low = max(y_of(paths[name][-1].kept), low + LINE)
        labels.append({"name": name, "text": label, "y": coordinate(low)})
    rows = [_row(label, paths[name]) for name, label in ends]
    return render(
        "frontier.html.j2",
        height=HEIGHT,
        width=WIDTH,
        lines=[{"name": name, "points": _points(path)} for name, path in paths.items()],
        back=_points(way_back()),
        labels=labels,
        marks=[{"y": coordinate(y_of(kept)), "text": percent(kept)} for kept in KEPT_MARKS],
        columns=[{"x": coordinate(100 * at), "text": percent(at)} for at in LEARNED_MARKS],
        level=coordinate(WIDTH * LEARNED),
        level_text=percent(LEARNED),
        rows=rows,
    )


def y_of(kept: float) -> float:
    """Return where a share of rows kept lies, in pixels from the top."""
    return TOP + (HEIGHT - TOP) * (1 - kept) / (1 - LOWEST)


def _points(path: list[Point]) -> str:
    return " ".join(
        f"{coordinate(WIDTH * point.learned)},{coordinate(y_of(point.kept))}" for point in path
    )


def _row(label: str, path: list[Point]) -> dict[str, str]:
    equal, end = at_equal_learning(path), path[-1]
    return {
        "label": label,
        "steps": f"{equal.step:.0f}" if equal else "never",
        "equal": percent(equal.kept) if equal else "–",
        "learned": percent(end.learned),
        "kept": percent(end.kept),
    }


DIAGRAMS: Final = {"frontier": frontier}
