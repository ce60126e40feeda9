"""A plan as plain data, as text, and beside measurements.

Here is the plain data, with fixed keys: what `plan --json` prints.

Reading order:

- `shapes` — the shapes of a job and of every answer, as JSON Schemas
- `text` — a plan as text for a terminal
- `accuracy` — measured peaks and speeds beside the plan
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.hardware import GPUS, Gpu
from unfrozen.job import Job
from unfrozen.memory.explain import peak_rank
from unfrozen.plan import VERDICTS, Plan
from unfrozen.plan.advice import advise
from unfrozen.plan.record import chance_of
from unfrozen.plan.solve import min_gpus
from unfrozen.units import gib

__all__ = ["ADVISED_JOBS", "answer", "on_all_gpus"]


ADVISED_JOBS: Final = 100
"""Lists of more jobs than this are answered without advice, which takes ten plans a job."""


def answer(planned: Plan, *, with_advice: bool = True) -> dict[str, object]:
    """Return a plan as plain data; sizes are in GiB where the key says so, else in bytes.

    `band` is of the device memory, in GiB. `chance` is the probability that the job runs on its
    GPU, no higher than published runs support, `verdict` the word for it, and `fits` whether it is
    as high as a margin must be. `family` is "exact" where the model's tensors are transformers'
    own, "traced" where it built them for this plan, "bounded" where they are estimated;
    `task` is there for a model that no command here trains: what it is, and what was planned of it.
    `framework` is there where the job names one: what it set, why, and the source; `holder` where
    GPUs hold different layers: the rank that the plan describes, of how many.
    """
    a = planned.job.model.architecture
    return {
        "allocated_gib": gib(planned.allocated_bytes),
        "reserved_gib": gib(planned.reserved_bytes),
        "device_gib": gib(planned.device_bytes),
        "peak_instant": planned.peak_instant,
        "instants": planned.instants,
        "fits": planned.fits,
        "chance": chance_of(planned),
        "verdict": planned.verdict,
        "min_gpus": min_gpus(planned),
        "band": list(planned.band_gib),
        "family": a.counted,
        "advice": [entry.as_json() for entry in advise(planned)] if with_advice else [],
        **({"task": a.task} if a.task else {}),
        **framework_json(planned.job),
        **_peak_rank_json(planned),
    }


def framework_json(job: Job) -> dict[str, object]:
    """Return {"framework": {"name", "words"}}; empty where the job names none."""
    if job.framework is None:
        return {}
    words = [word._asdict() for word in job.framework.defaults]
    return {"framework": {"name": job.framework.name, "words": words}}


def _peak_rank_json(planned: Plan) -> dict[str, object]:
    found = peak_rank(planned.job)
    return {} if found is None else {"holder": asdict(found)}


def on_all_gpus(planned: Plan) -> list[dict[str, Any]]:
    """Return a record for each GPU: its capacity, what the job needs there, and the headroom, in
    GiB.

    Needs are None where the GPU lacks a precision of the job; `fits` is False then.
    """
    return [_on_gpu(planned, gpu) for gpu in GPUS]


def _on_gpu(planned: Plan, gpu: Gpu) -> dict[str, Any]:
    holds = gib(gpu.capacity_bytes)
    found: dict[str, Any] = {"gpu": gpu.name, "capacity_gib": holds}
    try:
        moved = replace(planned, job=planned.job.on(gpu))
    except PlanError as error:
        nothing = {"device_gib": None, "headroom_gib": None, "fits": False, "min_gpus": 0}
        return found | nothing | {"verdict": VERDICTS[-1], "lacks": error.bound}
    return found | {
        "device_gib": gib(moved.device_bytes),
        "headroom_gib": holds - gib(moved.safe_bytes),
        "fits": moved.fits,
        "verdict": moved.verdict,
        "min_gpus": min_gpus(moved),
        "lacks": None,
    }
