"""Every control of the planner as the page draws it: where it stands now, and what it offers."""

from __future__ import annotations

from typing import Final

from unfrozen.hardware.gpus import GPUS
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.planner.keys import FLAGS, LORA, OWN, RECIPE, YIELDS
from unfrozen.planner.knobs import GROUPS, SLIDERS, Knob
from unfrozen.planner.state import (
    State,
    as_text,
    job_without,
    setting,
    unused_keys,
)
from unfrozen.units import format_count, gib, sig3

_COUNTS: Final = (
    "lora_rank",
    "projection_rank",
    "lisa_layers",
    "checkpoint_every",
    "grad_accum",
    "tensor_parallel",
    "context_parallel",
    "shard_size",
    "pipeline_parallel",
    "pipeline_chunks",
    "expert_parallel",
    "expert_tensor_parallel",
    "dropout",
    "tokens",
    "price",
)


def sliders(state: State, job: Job | None) -> list[dict[str, object]]:
    """The three sliders; `steps` are their stops, `texts` what a screen reader says at each."""
    yielded = {key: as_text(getattr(job.recipe, key)) for key in YIELDS - state.keys() if job}
    return [
        {
            "key": key,
            "label": label,
            "unit": "" if unit == label.lower() else unit,
            "value": yielded.get(key, setting(state, key)),
            "steps": [str(step) for step in steps],
            "texts": [f"{step:,} {unit}" for step in steps],
        }
        for key, (label, unit, steps) in SLIDERS.items()
    ]


def groups(state: State, job: Job | None) -> list[dict[str, object]]:
    """The settings in their groups; `job` tells what each comes out as if it is left alone."""
    return [
        {"label": label, "knobs": [_knob_json(knob, state, job) for knob in knobs]}
        for label, knobs in GROUPS
    ]


def _knob_json(knob: Knob, state: State, job: Job | None) -> dict[str, object]:
    automatic = _automatic(knob, job_without(knob.key, state, job))
    kind = "flag" if knob.key in FLAGS else "choice" if knob.choices else "text"
    plain: dict[str, object] = {
        "key": knob.key,
        "label": knob.label,
        "help": knob.help,
        "kind": kind,
        "off": knob.key in unused_keys(state),
        "value": setting(state, knob.key),
    }
    if kind == "flag":
        return plain | {"value": setting(state, knob.key) or automatic}
    if kind == "choice":
        first = {"value": "", "label": f"{automatic} (default)" if automatic else "default"}
        rest = [{"value": value, "label": label} for value, label in knob.choices.items()]
        return plain | {"options": [first, *rest]}
    numeric = knob.key in _COUNTS
    if knob.key == "tokens" and setting(state, "tokens").isdecimal():
        plain["value"] = f"{int(setting(state, 'tokens')):,}"
    return plain | {"placeholder": automatic, "numeric": numeric}


def _automatic(knob: Knob, job: Job | None) -> str:
    """What the job makes of a setting that the reader left alone, in the control's words."""
    if job is None or knob.key in OWN:
        return ""
    if knob.key in LORA:
        found: object = getattr(job.recipe.lora, knob.key.removeprefix("lora_"), None)
    else:
        found = getattr(job.recipe if knob.key in RECIPE else job.cluster, knob.key)
    if found is None and "null" not in knob.choices:
        return ""
    return knob.choices.get(as_text(found), as_text(found))


def models() -> list[dict[str, str]]:
    """The catalogue: hub id and size of every model."""
    return [
        {"value": hub_id, "size": format_count(published.num_parameters)}
        for hub_id, published in CATALOGUE.items()
    ]


def cards() -> list[dict[str, str]]:
    """Every card with what a program can use of it, and none."""
    known = [
        {"value": gpu.name, "label": f"{gpu.name} · {sig3(gib(gpu.capacity_bytes))} GiB"}
        for gpu in GPUS
    ]
    return [*known, {"value": "", "label": "no card: sizes alone"}]
