"""Two steps through time: why the first one fits and the second one dies.

A model and a GPU a reader may have. The line is the memory left for tensors once the driver
has its part and blocks are rounded; where the second step crosses it, the run ends.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

from site_builder.diagrams.canvas import polygon, render, short
from site_builder.formats import gb
from unfrozen.job import Job
from unfrozen.memory.overhead import CONTEXT_BYTES, ROUNDING
from unfrozen.model.catalogue import find
from unfrozen.plan.timeline import PHASES, Turn, timeline
from unfrozen.units import GB

JOB: Final = {
    "model": find("meta-llama/Llama-3.2-1B").config,
    "recipe": {"micro_batch": 2, "seq_len": 2048},
    "gpu": "RTX 4090",
}
NAMES: Final = ("params", "master", "moments", "grads", "activations", "logits_loss", "workspace")
WIDTH: Final = 1000.0
HEIGHT: Final = 320.0
TOP_GB: Final = 35
STEP_GB: Final = 10
PHASE_WORDS: Final = {
    "forward": ("Forward", "Fwd"),
    "backward": ("Backward", "Back"),
    "update": ("Update", "Upd."),
}


def room_bytes(job: Job) -> float:
    """Bytes that tensors may take on the job's GPU."""
    assert job.gpu is not None
    return (job.gpu.capacity_bytes - CONTEXT_BYTES) / (1 + ROUNDING)


def crossing(turns: list[Turn], room: float) -> float:
    """The second at which the room is first exceeded; StopIteration if it never is."""
    for before, after in pairwise(turns):
        if before.total <= room < after.total:
            share = (room - before.total) / (after.total - before.total)
            return before.seconds + share * (after.seconds - before.seconds)
    raise StopIteration("no turn exceeds the room")


def draw_step() -> str:
    """The diagram."""
    job = Job.read(JOB)
    turns = timeline(job)
    end, room = turns[-1].seconds, room_bytes(job)
    dies = crossing(turns, room)
    assert max(turn.total for turn in turns if turn.step == 1) < room
    assert job.gpu is not None
    return render(
        "step.html.j2",
        height=HEIGHT,
        names=NAMES,
        lived=_areas(_until(turns, dies), end),
        lost=_areas(_from(turns, dies), end),
        marks=[{"y": _y(size * GB), "label": f"{size}"} for size in range(0, TOP_GB, STEP_GB)],
        room={"y": _y(room), "words": f"{job.gpu.name}: {gb(room)}"},
        dies={"x": short(100 * dies / end), "y": _y(room)},
        phases=_phases(turns, end),
        middle=short(100 * next(t.seconds for t in turns if t.step == 2) / end),
        made_y=_y(_last_of(turns, 1).total),
        rows=_rows(turns),
        says=(
            f"Memory through two steps of {gb(turns[0].held['params'])} of weights, stacked by "
            f"component. The first step peaks at {gb(_peak(turns, 1))}, below the GPU's "
            f"{gb(room)}; the second, with moments, would need {gb(_peak(turns, 2))}."
        ),
    )


def _last_of(turns: list[Turn], step: int) -> Turn:
    """The update of a step at its highest, gradients not yet freed."""
    return max((t for t in turns if (t.step, t.phase) == (step, "update")), key=lambda t: t.total)


def _peak(turns: list[Turn], step: int) -> int:
    return max(turn.total for turn in turns if turn.step == step)


def _y(size: float) -> str:
    return short(HEIGHT * (1 - size / (TOP_GB * GB)))


def _areas(turns: list[Turn], end: float) -> list[dict[str, str]]:
    """One closed shape for each component, stacked from the bottom."""
    below = [0.0] * len(turns)
    areas = []
    for name in NAMES:
        above = [low + turn.held.get(name, 0) for low, turn in zip(below, turns, strict=True)]
        xs = [WIDTH * turn.seconds / end for turn in turns]
        edge = [(x, HEIGHT * (1 - y / (TOP_GB * GB))) for x, y in zip(xs, above, strict=True)]
        floor = [(x, HEIGHT * (1 - y / (TOP_GB * GB))) for x, y in zip(xs, below, strict=True)]
        if above != below:
            areas.append({"name": name, "path": polygon([*edge, *reversed(floor)])})
        below = above
    return areas


def _between(turns: list[Turn], seconds: float) -> tuple[int, Turn]:
    """Where a moment falls, and what is held then."""
    index = next(i for i, (a, b) in enumerate(pairwise(turns)) if a.seconds <= seconds < b.seconds)
    before, after = turns[index], turns[index + 1]
    share = (seconds - before.seconds) / (after.seconds - before.seconds)
    names = {**before.held, **after.held}
    held = {
        name: round((1 - share) * before.held.get(name, 0) + share * after.held.get(name, 0))
        for name in names
    }
    return index, Turn(after.step, after.phase, seconds, held)


def _until(turns: list[Turn], seconds: float) -> list[Turn]:
    index, moment = _between(turns, seconds)
    return [*turns[: index + 1], moment]


def _from(turns: list[Turn], seconds: float) -> list[Turn]:
    index, moment = _between(turns, seconds)
    return [moment, *turns[index + 1 :]]


def _phases(turns: list[Turn], end: float) -> list[dict[str, Any]]:
    """Each phase of each step: where it begins and its middle, in per cent, and its words."""
    found, start = [], 0.0
    for step in (1, 2):
        for phase in PHASES:
            last = max(t.seconds for t in turns if (t.step, t.phase) == (step, phase))
            long, brief = PHASE_WORDS[phase]
            middle = short(50 * (start + last) / end)
            found.append(
                {"x": short(100 * start / end), "middle": middle, "long": long, "brief": brief}
            )
            start = last
    return found


def _rows(turns: list[Turn]) -> list[dict[str, Any]]:
    """The highest turn of each phase of both steps, by component, for readers of a table."""
    found = []
    for step in (1, 2):
        for phase in PHASES:
            ours = [turn for turn in turns if (turn.step, turn.phase) == (step, phase)]
            top = max(ours, key=lambda turn: turn.total)
            cells = [gb(top.held[name]) if name in top.held else "–" for name in NAMES]
            label = f"Step {step}, {PHASE_WORDS[phase][0].lower()}"
            found.append({"label": label, "cells": cells, "total": gb(top.total)})
    return found
