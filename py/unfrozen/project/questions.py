"""A question as it is asked: a job as plain data, GPUs like "8xH100", data and money.

What a reader leaves open is what an expert would set: FlashAttention where the GPU has bf16, else
autocast in fp16, and sequences as long as the rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.frameworks.registry import LAUNCHED
from unfrozen.hardware import GPUS, counted
from unfrozen.job import Job, read_gpu
from unfrozen.plan import Plan, plan_job
from unfrozen.plan.layouts import LAID_OUT, MOST_GPUS, Layout, step_sequences
from unfrozen.plan.step_time import step_time
from unfrozen.project.best import OnePlan, PlannedRun, TrainingProject, Work, find, packs_rows
from unfrozen.project.changes import SETTINGS, Variant, ways
from unfrozen.training_data import Data

_BATCH: Final = ("micro_batch", "grad_accum")
_MEMORY: Final = re.compile(
    r"\s*(?:\d+\s*[x×]\s*|one\s+|an?\s+)?(\d+)\s*gi?b(\s+(card|gpu)s?)?\s*", re.I
)
"""A GPU of which the memory alone is said."""


def read_gpus(text: str) -> tuple[int | None, str | None]:
    """Return how many GPUs, and their name, as far as a text says them: "8xH100", "2 rtx 3090",
    "4090", "64".

    Raises PlanError for another text, and for a number that cannot be searched.
    """
    count, name = counted(text)
    if not text.strip():
        bound = "it must be a number, with the GPU's name or without"
        raise PlanError("gpus", text, bound, "for example 8xH100")
    if size := _MEMORY.fullmatch(text):
        alike = [gpu.name for gpu in GPUS if gpu.nominal_gb == int(size[1])]
        bound = f"it says how much memory, which {len(alike)} GPUs of the table have"
        raise PlanError("gpus", text, bound, f"name the card, such as {', '.join(alike[:8])}")
    cards = [gpu.name for gpu in GPUS if not name and str(count) in gpu.name.split()]
    if cards:
        raise PlanError("gpus", text, "it may be a GPU or a number", f"for example {cards[0]}")
    if count is not None and not 1 <= count <= MOST_GPUS:
        raise PlanError(
            "gpus", count, f"plans are searched for 1 … {MOST_GPUS:,} GPUs", "correct it"
        )
    return count, read_gpu(name).name if name else None


def check_open(given: Mapping[str, Any]) -> None:
    """Raises PlanError where a job says what one plan searches: the first such key."""
    searched = {"cluster": LAID_OUT - {"gpus"}, "recipe": frozenset({"checkpointing"})}
    for part, keys in searched.items():
        found = given.get(part) or {}
        for key in found if isinstance(found, Mapping) else ():
            if key in keys:
                bound = "one plan searches it"
                remedy = "drop it, or plan this job without --data, --gpus and --budget"
                raise PlanError(f"{part}.{key}", found[key], bound, remedy)


def with_gpus(given: Mapping[str, Any], text: str | None) -> tuple[dict[str, Any], int]:
    """Return a job on the GPUs of a text, and their number: else that of the job's cluster, else 1.

    Raises PlanError where the job, or an option, names another GPU or number.
    """
    job, cluster = dict(given), given.get("cluster") or {}
    own = cluster.get("gpus") if isinstance(cluster, Mapping) else None
    count, name = (None, None) if text is None else read_gpus(text)
    if name is not None:
        named = job.get("gpu")
        if named is not None and read_gpu(named) != read_gpu(name):
            raise PlanError("gpus", text, f"gpu says {named}", "name one of them")
        job["gpu"] = name
    if count is None:
        return job, own if isinstance(own, int) else 1
    if own is not None and own != count:
        raise PlanError("gpus", text, f"cluster.gpus says {own}", "name one of them")
    return job, count


def question(
    given: Mapping[str, Any],
    gpus: int,
    data: Data | None,
    *,
    sequences: int | None = None,
    framework: str = "",
    price: float | None = None,
    names: tuple[str, str] = ("MODEL", "FILE.jsonl"),
) -> TrainingProject:
    """Return the question of a job as plain data. Raises PlanError as `Job.read` does."""
    asked = dict(given.get("recipe") or {})
    offload = (given.get("cluster") or {}).get("offload")
    cluster = {} if offload is None else {"offload": offload}
    cluster |= {"sharding": "zero3"} if offload == "params" else {}
    plain = {**given, "cluster": cluster, "recipe": asked}
    job = Job.read(plain)
    if task := job.model.architecture.task:
        bound = f"no command here trains it: {task[:1].lower()}{task[1:].rstrip('.')}"
        raise PlanError("model", job.model.architecture.model_type, bound, "plan it by --gpu alone")
    lora = {f"lora_{name}" for name in asked.get("lora") or {}}
    if job.gpu is not None:
        replace(job, cluster=replace(job.cluster, gpus=gpus)).on(job.gpu)  # refuses too many
    left = SETTINGS - asked.keys() - cluster.keys() - lora
    if "whole_experts" in left and job.recipe.method == "qlora" and job.framework is None:
        asked["whole_experts"] = job.model.architecture.experts is not None
    if "attention" in left and (job.gpu is None or job.gpu.flash):
        asked["attention"] = "flash"
    if data is not None and "seq_len" in left:
        positions = job.model.architecture.positions
        asked["seq_len"] = data.length(positions, packed=packs_rows(job))
        if job.recipe.completion_len:  # after a prompt
            asked["seq_len"] += asked.setdefault("completion_len", job.recipe.completion_len)
    job = Job.read(plain | {"recipe": asked})
    if job.framework is not None and not framework:
        framework = LAUNCHED.get(job.framework.name, "")
    if sequences is None and any(key in asked for key in _BATCH):
        sequences = step_sequences(job, gpus)
    return TrainingProject(job, gpus, data, sequences, framework, price, left, names)


def runnable_plan(planned: Plan, given: Mapping[str, Any], name: str) -> OnePlan:
    """Return the plan of a job that names its layout: that where it fits and a framework runs it,
    else another of as many GPUs, or adapters. `name` is what commands call the model. Raises
    PlanError for more GPUs or sequences than are searched.
    """
    job, names = planned.job, (name, "FILE.jsonl")
    gpus = job.cluster.gpus
    sequences = max(gpus, step_sequences(job, gpus))  # or each GPU has none of its own
    asked = question(given, gpus, None, sequences=sequences, names=names)
    for way in ways(job, Variant(), asked.framework, asked.left) if planned.fits else ():
        with suppress(PlanError):
            if way.takes and way.name and (run := plan_job(way.takes(way.job))).fits:
                layout = Layout(run.job, run.device_bytes, step_time(run.job), way.name)
                return OnePlan(asked, PlannedRun(layout, asked))
    found = Work(find(asked, beside=False)).finish()
    return found if found.first else Work(find(asked)).finish()  # adapters may fit
