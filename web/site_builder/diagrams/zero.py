"""What ZeRO leaves on each of four GPUs, stage by stage: weights, gradients, optimizer state."""

from __future__ import annotations

from typing import Any, Final

from site_builder.diagrams.canvas import render, short
from site_builder.formats import gb
from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.memory.classic import states_bytes
from unfrozen.memory.states import per_gpu_bytes

PARAMETERS: Final = 7e9
GPUS: Final = 4
HEIGHT: Final = 176.0
BANDS: Final = {"params": ("params",), "grads": ("grads",), "moments": ("master", "moments")}
"""Three bands, drawn from the bottom: the optimizer's is master copy and moments together."""
WORDS: Final = {
    "params": "Weights",
    "grads": "Gradients",
    "moments": "Optimizer: master copy and moments",
}
TITLES: Final = ("Nothing sharded", "Optimizer sharded", "Gradients, too", "Weights, too")


def draw_zero() -> str:
    """The diagram."""
    whole = _bands(states_bytes(PARAMETERS))
    stages = [_stage(number, name, whole) for number, name in enumerate(SHARDINGS)]
    return render("zero.html.j2", stages=stages, height=HEIGHT, words=WORDS)


def _bands(states: dict[str, int]) -> dict[str, int]:
    return {band: sum(states[name] for name in names) for band, names in BANDS.items()}


def _stage(number: int, sharding: str, whole: dict[str, int]) -> dict[str, Any]:
    cluster = Cluster(gpus=GPUS, sharding=sharding)
    held = _bands(per_gpu_bytes(states_bytes(PARAMETERS), cluster))
    sharded = [WORDS[name].partition(":")[0].lower() for name in held if held[name] < whole[name]]
    each = gb(sum(held.values()))
    says = f"{GPUS} GPUs with {each} each; sharded: {', '.join(sharded) or 'nothing'}."
    boxes, outlines = [], []
    for gpu in range(GPUS):
        x, width = short(100 * (gpu + 0.06) / GPUS), short(88 / GPUS)
        bottom = HEIGHT
        for name, size in whole.items():
            band = HEIGHT * size / sum(whole.values())
            part = band * held[name] / size
            below = bottom - (part * gpu if held[name] < size else 0.0)
            box = {"x": x, "width": width, "y": short(below - part), "height": short(part)}
            boxes.append(box | {"name": name})
            if held[name] < size:
                outlines.append(box | {"y": short(bottom - band), "height": short(band)})
            bottom -= band
    title = TITLES[number]
    return {
        "number": number,
        "title": title,
        "each": each,
        "says": says,
        "boxes": boxes,
        "outlines": outlines,
    }
