"""Diagrams of memory: through two steps, layer by layer under recomputation, GPU by GPU under ZeRO.

The line across `step` is the memory left for tensors once the driver has its part and blocks are
rounded; the run ends where the second step crosses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

from site_builder.diagrams import coordinate, render
from site_builder.example_jobs import SECOND_STEP_OOM, tensor_room_bytes
from site_builder.formats import gb, percent
from unfrozen.job import Job
from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.classic import states_bytes
from unfrozen.memory.instants import Step
from unfrozen.memory.states import per_gpu_bytes
from unfrozen.model.catalogue import find
from unfrozen.plan.flops import flops
from unfrozen.plan.timeline import PHASES, Turn, timeline
from unfrozen.units import GB

# --- step ---------------------------------------------------------------------------------------
COMPONENTS: Final = (
    *("params", "master", "moments", "grads"),
    *("activations", "logits_loss", "workspace"),
)
"""From the bottom of the stack to its top."""
PLOT_WIDTH: Final = 1000.0
PLOT_HEIGHT: Final = 260.0
AXIS_GB: Final = 35
TICK_GB: Final = 10
PHASE_LABELS: Final = {
    "forward": ("Forward", "Fwd"),
    "backward": ("Backward", "Back"),
    "update": ("Update", "Upd."),
}


def crossing_seconds(turns: list[Turn], room: float) -> float:
    """Return when the room is first exceeded; StopIteration if it never is."""
    for before, after in pairwise(turns):
        if before.total <= room < after.total:
            share = (room - before.total) / (after.total - before.total)
            return before.seconds + share * (after.seconds - before.seconds)
    raise StopIteration("no turn exceeds the room")


def _step() -> str:
    job = Job.read(SECOND_STEP_OOM)
    turns = timeline(job)
    end, room = turns[-1].seconds, tensor_room_bytes(job)
    dies = crossing_seconds(turns, room)
    assert _peak(turns, 1) < room
    assert job.gpu is not None
    index, moment = _interpolate(turns, dies)
    return render(
        "step.html.j2",
        height=PLOT_HEIGHT,
        names=COMPONENTS,
        lived=_areas([*turns[: index + 1], moment], end),
        lost=_areas([moment, *turns[index + 1 :]], end),
        marks=[{"y": _y(size * GB), "label": f"{size}"} for size in range(0, AXIS_GB, TICK_GB)],
        room={"y": _y(room), "label": f"{job.gpu.name}: {gb(room)}"},
        dies={"x": coordinate(100 * dies / end), "y": _y(room)},
        phases=_phases(turns, end),
        middle=coordinate(100 * next(t.seconds for t in turns if t.step == 2) / end),
        made_y=_y(_highest(turns, 1, "update").total),
        rows=_table_rows(turns),
        alt=(
            f"Memory through two steps of {gb(turns[0].held['params'])} of weights, stacked by "
            f"component. The first step peaks at {gb(_peak(turns, 1))}, below the GPU's "
            f"{gb(room)}; the second, with moments, would need {gb(_peak(turns, 2))}."
        ),
    )


def _highest(turns: list[Turn], step: int, phase: str) -> Turn:
    """Return the turn of a phase that holds most."""
    found = (turn for turn in turns if (turn.step, turn.phase) == (step, phase))
    return max(found, key=lambda turn: turn.total)


def _peak(turns: list[Turn], step: int) -> int:
    return max(turn.total for turn in turns if turn.step == step)


def _height(size: float) -> float:
    return PLOT_HEIGHT * (1 - size / (AXIS_GB * GB))


def _y(size: float) -> str:
    return coordinate(_height(size))


def _areas(turns: list[Turn], end: float) -> list[dict[str, str]]:
    """Return one closed shape for each component, stacked from the bottom."""
    xs = [PLOT_WIDTH * turn.seconds / end for turn in turns]
    below = [0.0] * len(turns)
    areas = []
    for name in COMPONENTS:
        above = [low + turn.held.get(name, 0) for low, turn in zip(below, turns, strict=True)]
        edge = zip(xs, map(_height, above), strict=True)
        floor = zip(reversed(xs), map(_height, reversed(below)), strict=True)
        if above != below:
            areas.append({"name": name, "path": _polygon([*edge, *floor])})
        below = above
    return areas


def _polygon(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{coordinate(x)},{coordinate(y)}" for x, y in points) + "z"


def _interpolate(turns: list[Turn], seconds: float) -> tuple[int, Turn]:
    """Return the index of the last turn before a moment, and what is held at that moment."""
    index = next(i for i, (a, b) in enumerate(pairwise(turns)) if a.seconds <= seconds < b.seconds)
    before, after = turns[index], turns[index + 1]
    share = (seconds - before.seconds) / (after.seconds - before.seconds)
    held = {
        name: round((1 - share) * before.held.get(name, 0) + share * after.held.get(name, 0))
        for name in {**before.held, **after.held}
    }
    return index, Turn(after.step, after.phase, seconds, held)


def _phases(turns: list[Turn], end: float) -> list[dict[str, Any]]:
    """Return start and middle of each phase of each step, in per cent, with its labels."""
    found, start = [], 0.0
    for step in (1, 2):
        for phase in PHASES:
            last = max(t.seconds for t in turns if (t.step, t.phase) == (step, phase))
            long, brief = PHASE_LABELS[phase]
            x, middle = coordinate(100 * start / end), coordinate(50 * (start + last) / end)
            found.append({"x": x, "middle": middle, "long": long, "brief": brief})
            start = last
    return found


def _table_rows(turns: list[Turn]) -> list[dict[str, Any]]:
    """Return the highest turn of each phase of both steps, by component, as a table."""
    found = []
    for step in (1, 2):
        for phase in PHASES:
            top = _highest(turns, step, phase)
            cells = [gb(top.held[name]) if name in top.held else "–" for name in COMPONENTS]
            label = f"Step {step}, {PHASE_LABELS[phase][0].lower()}"
            found.append({"label": label, "cells": cells, "total": gb(top.total)})
    return found


# --- recompute ----------------------------------------------------------------------------------
RECOMPUTE_MODEL: Final = find("meta-llama/Llama-2-7b-hf")
RECOMPUTE_HEIGHT: Final = 72.0
CHECKPOINTING: Final = {
    "none": ("None", "Every layer saves all that its backward pass will read."),
    "selective": (
        "Selective",
        "Every second matmul is saved, and what is cheap to recompute is not.",
    ),
    "full": (
        "Full",
        "A layer saves its input; the rest is recomputed when its turn comes.",
    ),
}


def _recompute() -> str:
    rows = [_recompute_row(kind) for kind in CHECKPOINTING]
    return render("recompute.html.j2", rows=rows, height=RECOMPUTE_HEIGHT)


def _recompute_row(kind: str) -> dict[str, Any]:
    """Return the layers half-way through backward, the one nearest the input first."""
    job = Job.read({"model": RECOMPUTE_MODEL.config, "recipe": {"checkpointing": kind}})
    layers = job.model.architecture.layers
    waiting = layers // 2
    part = Step(job.model, job.recipe).micro_batch
    again = flops(job).recompute / flops(replace(job, recipe=Recipe())).total
    saved = part.kept
    title, text = CHECKPOINTING[kind]
    tall = RECOMPUTE_HEIGHT * min(1.0, saved / part.layer)
    bars = [
        {
            "x": coordinate(100 * (index + 0.12) / layers),
            "width": coordinate(76 / layers),
            "state": ("waiting", "turn", "done")[(index >= waiting - 1) + (index >= waiting)],
            "height": coordinate(tall),
            "rest": coordinate(RECOMPUTE_HEIGHT - tall),
        }
        for index in range(layers)
    ]
    held = waiting * saved + part.recomputed(0)
    price = f"{percent(again)} more arithmetic" if again else "no extra arithmetic"
    return {
        "title": title,
        "text": text,
        "bars": bars,
        "most": gb(layers * saved),
        "price": price,
        "alt": (
            f"{title}: {layers} layers save {gb(saved)} each. Half-way back, {waiting} of them "
            f"still do, and with the layer being computed {gb(held)} are resident; {price}."
        ),
    }


# --- zero ---------------------------------------------------------------------------------------
ZERO_PARAMETERS: Final = 7e9
ZERO_GPUS: Final = 4
ZERO_HEIGHT: Final = 144.0
ZERO_BANDS: Final = {"params": ("params",), "grads": ("grads",), "moments": ("master", "moments")}
"""Three bands, drawn from the bottom; the optimizer's is master copy and moments together."""
ZERO_LABELS: Final = {
    "params": "Weights",
    "grads": "Gradients",
    "moments": "Optimizer: master copy and moments",
}
ZERO_TITLES: Final = ("Nothing sharded", "Optimizer sharded", "Gradients, too", "Weights, too")


def _zero() -> str:
    stages = [_zero_stage(number, name) for number, name in enumerate(SHARDINGS)]
    return render("zero.html.j2", stages=stages, labels=ZERO_LABELS)


def _bands(states: dict[str, int]) -> dict[str, int]:
    return {band: sum(states[name] for name in names) for band, names in ZERO_BANDS.items()}


def _zero_stage(number: int, sharding: str) -> dict[str, Any]:
    states = states_bytes(ZERO_PARAMETERS)
    whole = _bands(states)
    held = _bands(per_gpu_bytes(states, Cluster(gpus=ZERO_GPUS, sharding=sharding)))
    sharded = [n for n in held if held[n] < whole[n]]
    names = ", ".join(ZERO_LABELS[name].partition(":")[0].lower() for name in sharded)
    each = gb(sum(held.values()))
    boxes, outlines = [], []
    for gpu in range(ZERO_GPUS):
        x, width = coordinate(100 * (gpu + 0.06) / ZERO_GPUS), coordinate(88 / ZERO_GPUS)
        bottom = ZERO_HEIGHT
        for name, size in whole.items():
            band = ZERO_HEIGHT * size / sum(whole.values())
            part = band * held[name] / size
            below = bottom - (part * gpu if name in sharded else 0.0)
            box = {"name": name, "x": x, "width": width}
            boxes.append(box | {"y": coordinate(below - part), "height": coordinate(part)})
            if name in sharded:
                outlines.append(box | {"y": coordinate(bottom - band), "height": coordinate(band)})
            bottom -= band
    return {
        "number": number,
        "title": ZERO_TITLES[number],
        "each": each,
        "alt": f"{ZERO_GPUS} GPUs with {each} each; sharded: {names or 'nothing'}.",
        "boxes": boxes,
        "outlines": outlines,
    }


DIAGRAMS: Final[dict[str, Callable[[], str]]] = {
    "step": _step,
    "recompute": _recompute,
    "zero": _zero,
}
