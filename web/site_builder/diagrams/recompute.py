"""Recomputation half-way through backward: what each layer saved, dropped and recomputes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from site_builder.diagrams.canvas import render, short
from site_builder.formats import gb, percent
from unfrozen.job import Job
from unfrozen.job.recipe import Recipe
from unfrozen.memory.instants import Step
from unfrozen.model.catalogue import find
from unfrozen.plan.flops import flops

MODEL: Final = find("meta-llama/Llama-2-7b-hf")
KINDS: Final = {
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
HEIGHT: Final = 96.0


def draw_recompute() -> str:
    """The diagram."""
    layers = MODEL.model.architecture.layers
    at = layers // 2
    rows = [_row(kind, layers, at) for kind in KINDS]
    return render("recompute.html.j2", rows=rows, height=HEIGHT, at=at, layers=layers)


def _row(kind: str, layers: int, at: int) -> dict[str, Any]:
    job = Job.read({"model": MODEL.config, "recipe": {"checkpointing": kind}})
    part = Step(job.model, job.recipe).micro_batch
    again = flops(job).recompute / flops(replace(job, recipe=Recipe())).total
    kept, layer, made = part.kept, part.layer, part.recomputed(0)
    title, words = KINDS[kind]
    bars = []
    for index in range(layers):  # 0 is the layer nearest the input
        x, width = short(100 * (index + 0.12) / layers), short(76 / layers)
        tall = HEIGHT * min(1.0, kept / layer)
        if index < at - 1:
            state = "waiting"
        elif index == at - 1:
            state = "turn"
        else:
            state = "done"
        y, rest = short(HEIGHT - tall), short(HEIGHT - tall)
        bars.append(
            {"x": x, "width": width, "state": state, "y": y, "height": short(tall), "rest": rest}
        )
    held = at * kept + made
    price = f"{percent(again)} more arithmetic" if again else "no extra arithmetic"
    return {
        "title": title,
        "words": words,
        "bars": bars,
        "most": gb(layers * kept),
        "each": gb(kept),
        "price": price,
        "says": (
            f"{title}: {layers} layers save {gb(kept)} each. Half-way back, {at} of them still "
            f"do, and with the layer being computed {gb(held)} are resident; {price}."
        ),
    }
